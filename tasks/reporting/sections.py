"""The sections of the page, in order. A new one is a template and one line in `SECTIONS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tasks.language.prompts import Tier
from tasks.reporting.accuracy import accuracy_charts, confidences, subject_rows
from tasks.reporting.cards import Sample
from tasks.reporting.charts import training_charts
from tasks.reporting.definitions import TERMS, caption_source, provenance
from tasks.reporting.design import design_caution, design_warning
from tasks.reporting.failures import failure_families
from tasks.reporting.glossary import OVERALL
from tasks.reporting.heatmaps import confusion_matrix, dissimilarity_matrices
from tasks.reporting.images import thumbnails
from tasks.reporting.plots import (
    confusion_table,
    figures,
    overlap_table,
    recall_chart,
    region_table,
    spaces_table,
    suspect_table,
)
from tasks.reporting.recordings import recording_figures
from tasks.reporting.score_rows import control_families, csv_uri, grouped, scores_csv
from tasks.reporting.study import Study
from tasks.reporting.summary import facts, limits, result, title
from tasks.reporting.tables import caption_examples, channel_table, quality_table, subject_table
from tasks.reporting.trial_data import trial_data
from tasks.reporting.verdict import lights, tiles, verdict


@dataclass(frozen=True)
class Selection:
    """How much of the study is shown: the params of the stage."""

    max_trials: int
    page_size: int
    top_row_pictures: int
    caption_examples: int
    thumbnail_px: int
    seed: int


@dataclass(frozen=True)
class Shown:
    """What a section is made from: the study, the trials that were drawn, and how much is shown."""

    study: Study
    sample: Sample
    selection: Selection


Content = Mapping[str, object]
"""Names that the templates use, and what they stand for."""


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes
    ----------
    anchor, name
        Where links point to, and what the navigation says. ``templates/{anchor}.html.j2`` holds a
        ``<section id="{anchor}">``.
    content
        Gives the names that the template uses; no two sections use the same.
    """

    anchor: str
    name: str
    content: Callable[[Shown], Content]


def _result(shown: Shown) -> Content:
    drawn = [card for card in shown.sample.cards if card.decoded is not None]
    return {
        "title": title(shown.study),
        "strip": drawn[: shown.selection.top_row_pictures],
        "verdict": verdict(shown.study),
        "tiles": tiles(shown.study),
        "lights": lights(shown.study),
        "caution": design_caution(shown.study),
        "result": result(shown.study),
        "limits": limits(shown.study),
        "facts": facts(shown.study),
    }


def _trust(shown: Shown) -> Content:
    return {
        "controls": control_families(shown.study.audit),
        "overall": OVERALL,
        "audit_uri": csv_uri(scores_csv(shown.study.audit)),
        "audit_figures": figures(shown.study.plots.audit),
    }


def _figures(shown: Shown) -> Content:
    study = shown.study
    confusion = confusion_matrix(study.plots.evaluate)
    return {
        "by_subject": subject_rows(study),
        "accuracy_charts": accuracy_charts(study),
        "recall_chart": recall_chart(study.plots.evaluate),
        "heatmaps": [
            *([] if confusion is None else [confusion]),
            *dissimilarity_matrices(study.plots.explain),
        ],
        "confusions": confusion_table(study.plots.evaluate),
    }


def _scores(shown: Shown) -> Content:
    study = shown.study
    return {
        "scores": grouped(study.evaluate),
        "design_warning": design_warning(study),
        "scores_uri": csv_uri(scores_csv(study.evaluate, design_caution(study))),
        "evaluate_figures": figures(study.plots.evaluate),
        "spaces": spaces_table(study.plots.evaluate),
    }


def _pictures(shown: Shown) -> Content:
    return {
        "sample": shown.sample,
        "trial_data": trial_data(
            shown.sample,
            thumbnails(shown.selection.thumbnail_px),
            confidences(shown.study.plots.evaluate),
        ),
        "seed": shown.selection.seed,
        "page_size": shown.selection.page_size,
        "tiers": list(Tier),
        "concepts": sorted({card.concept for card in shown.sample.cards}),
        "subjects": sorted({card.subject for card in shown.sample.cards}),
    }


def _failures(shown: Shown) -> Content:
    return {"failures": failure_families(shown.study)}


def _captions(shown: Shown) -> Content:
    selection = shown.selection
    return {
        "examples": caption_examples(shown.study, selection.caption_examples, selection.seed),
        "caption_source": caption_source(shown.study),
    }


def _checks(shown: Shown) -> Content:
    study = shown.study
    return {
        "appraised": grouped(study.check_captions),
        "check_captions_uri": csv_uri(scores_csv(study.check_captions)),
        "suspects": suspect_table(study.plots.check_captions),
    }


def _scalp(shown: Shown) -> Content:
    study = shown.study
    return {
        "explain": grouped(study.explain),
        "explain_uri": csv_uri(scores_csv(study.explain)),
        "explain_figures": figures(study.plots.explain),
        "regions": region_table(study.plots.explain),
        "overlap": overlap_table(study.plots.explain),
        "channels": channel_table(study),
    }


def _quality(shown: Shown) -> Content:
    log = shown.study.training_log
    return {
        "quality": quality_table(shown.study),
        "recording_figures": recording_figures(shown.study.averages),
        "n_recordings": len(shown.study.recordings),
        "subject_table": subject_table(shown.study),
        "charts": training_charts(log),
        "training_uri": csv_uri(log.to_csv(index=False, lineterminator="\n")),
    }


def _reading(shown: Shown) -> Content:
    return {"terms": TERMS, "provenance": provenance(shown.study)}


SECTIONS: tuple[Section, ...] = (
    Section("result", "Result", _result),
    Section("trust", "Can this be trusted?", _trust),
    Section("figures", "Figures", _figures),
    Section("pictures", "Pictures", _pictures),
    Section("scores", "Scores", _scores),
    Section("failures", "How it fails", _failures),
    Section("captions", "Captions", _captions),
    Section("checks", "Caption checks", _checks),
    Section("scalp", "Scalp", _scalp),
    Section("quality", "Recordings", _quality),
    Section("reading", "How to read this", _reading),
)
"""All sections, in the order of the page."""
