"""The page: a study in, one self-contained HTML document out."""

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.language.prompts import Tier
from tasks.reporting.cards import Sample, draw_sample
from tasks.reporting.charts import training_charts
from tasks.reporting.design import design_warning
from tasks.reporting.formats import plural, sentence
from tasks.reporting.glossary import OVERALL
from tasks.reporting.images import embed, thumbnails
from tasks.reporting.plots import confusion_table, figures, recall_chart, region_table
from tasks.reporting.reading import TERMS, caption_source, provenance
from tasks.reporting.scores import control_rows, csv_uri, grouped, scores_csv
from tasks.reporting.study import Study
from tasks.reporting.summary import facts, headlines, limits, result, title
from tasks.reporting.tables import caption_examples, channel_table, quality_table, subject_table

SECTIONS: tuple[tuple[str, str], ...] = (
    ("result", "Result"),
    ("trust", "Can this be trusted?"),
    ("scores", "Scores"),
    ("pictures", "Pictures"),
    ("captions", "Captions"),
    ("scalp", "Scalp"),
    ("quality", "Recordings"),
    ("reading", "How to read this"),
)
"""Anchor and name of each section, in order."""


@dataclass(frozen=True)
class Selection:
    """How much of the study is shown: the params of the stage."""

    max_trials: int
    page_size: int
    strip_trials: int
    caption_examples: int
    thumbnail_px: int
    seed: int


def render_page(study: Study, selection: Selection) -> str:
    """Return the report as HTML; every text is escaped, every picture is inside.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    selection : Selection
        How much of it is shown.
    """
    sample = draw_sample(study, selection.max_trials, selection.seed)
    content = _opening(study, sample, selection.strip_trials)
    content |= _scores(study)
    content |= _trials(study, sample, selection)
    content |= _background(study)
    return _environment(selection.thumbnail_px).get_template("report.html.j2").render(content)


def _environment(thumbnail_px: int) -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thumbnail": thumbnails(thumbnail_px),
        "embed": embed,
        "plural": plural,
        "sentence": sentence,
    }
    return environment


def _opening(study: Study, sample: Sample, n_strip: int) -> dict[str, object]:
    drawn = [card for card in sample.cards if card.decoded is not None]
    return {
        "title": title(study),
        "sections": SECTIONS,
        "strip": drawn[:n_strip],
        "headlines": headlines(study),
        "result": result(study),
        "limits": limits(study),
        "facts": facts(study),
    }


def _scores(study: Study) -> dict[str, object]:
    return {
        "controls": control_rows(study.audit),
        "overall": OVERALL,
        "audit_uri": csv_uri(scores_csv(study.audit)),
        "audit_figures": figures(study.plots.audit),
        "scores": grouped(study.evaluate),
        "design_warning": design_warning(study),
        "scores_uri": csv_uri(scores_csv(study.evaluate)),
        "evaluate_figures": figures(study.plots.evaluate),
        "explain": grouped(study.explain),
        "explain_uri": csv_uri(scores_csv(study.explain)),
        "recall_chart": recall_chart(study.plots.evaluate),
        "confusions": confusion_table(study.plots.evaluate),
        "explain_figures": figures(study.plots.explain),
        "regions": region_table(study.plots.explain),
        "channels": channel_table(study),
    }


def _trials(study: Study, sample: Sample, selection: Selection) -> dict[str, object]:
    return {
        "sample": sample,
        "seed": selection.seed,
        "page_size": selection.page_size,
        "tiers": list(Tier),
        "subjects": sorted({card.subject for card in sample.cards}),
        "examples": caption_examples(study, selection.caption_examples, selection.seed),
        "caption_source": caption_source(study),
    }


def _background(study: Study) -> dict[str, object]:
    return {
        "quality": quality_table(study),
        "subject_table": subject_table(study),
        "charts": training_charts(study.training_log),
        "training_uri": csv_uri(study.training_log.to_csv(index=False, lineterminator="\n")),
        "terms": TERMS,
        "provenance": provenance(study),
    }
