"""Tables of the report: recordings, subjects, and examples of captions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.language.prompts import KIND_NAMES, Tier
from tasks.reporting.cards import CONDITIONS
from tasks.reporting.formats import number
from tasks.reporting.glossary import condition_words
from tasks.reporting.score_rows import csv_uri
from tasks.reporting.study import Study


@dataclass(frozen=True)
class Table:
    """A table as text: the first column heads its row. The CSV behind it keeps full precision.

    Attributes
    ----------
    name, caption
        Name of the CSV, and what the table says.
    columns
        Heading of each column, and whether it holds numbers.
    rows
        Cells as text.
    uri
        The CSV as a data URI.
    """

    name: str
    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    uri: str


@dataclass(frozen=True)
class CaptionExample:
    """One stimulus and its captions by tier, each a pair of kind and text."""

    stimulus_id: str
    concept: str
    path: Path
    tiers: Mapping[Tier, tuple[tuple[str, str], ...]]


def quality_table(study: Study) -> Table:
    """Return what preprocessing found in each recording.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    columns = {
        "recording_id": ("Recording", ""),
        "n_events": ("Presentations", "count"),
        "n_kept": ("Epochs kept", "count"),
        "rejections": ("Dropped, and why", ""),
        "bad_channels": ("Bad channels", ""),
        "bad_channel_reasons": ("Why bad", ""),
        "n_ica_removed": ("ICA components removed", "count"),
        "line_noise_ratio": ("Mains hum (ratio)", "ratio"),
        "drift_uv": ("Drift (µV)", "uV"),
        "peak_to_peak_uv": ("Peak to peak (µV)", "uV"),
    }
    caption = (
        "What preprocessing found in each recording. Mains hum and drift are measured before "
        "filtering, peak to peak on the kept epochs."
    )
    return table("quality", caption, study.quality.sort_values("recording_id"), columns)


def subject_table(study: Study) -> Table:
    """Return the trials of each subject, and how often the judge sees what was shown.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    trials = study.trials
    frame = trials.groupby("subject").agg(n_trials=("kept", "size"), n_kept=("kept", "sum"))
    columns = {
        "subject": ("Subject", ""),
        "n_trials": ("Presentations", "count"),
        "n_kept": ("Epochs kept", "count"),
    }
    judged = study.judgements[study.judgements["factor"] == "concept"].merge(
        trials[["trial_id", "subject"]], on="trial_id", validate="many_to_one"
    )
    judged = judged.assign(hit=judged["judged"] == judged["actual"])
    for condition in CONDITIONS:
        hits = judged[judged["condition"] == condition].groupby("subject")["hit"]
        if hits.ngroups:
            frame[f"n_pictures_{condition}"] = hits.size()
            frame[f"judged_concept_accuracy_{condition}"] = hits.mean()
            words = condition_words(condition)
            columns[f"n_pictures_{condition}"] = (f"Pictures from {words}", "count")
            columns[f"judged_concept_accuracy_{condition}"] = ("Right object", "share")
    caption = (
        "Trials of each subject, and the share of pictures in which the judge sees what was shown."
    )
    return table("subjects", caption, frame.reset_index(), columns)


def channel_table(study: Study, n_channels: int = 8) -> Table | None:
    """Return the most salient channels of each tier, over its heads and all subjects; None without any.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    n_channels : int
        At most so many channels per tier.
    """
    if study.saliency.empty:
        return None
    means = study.saliency.groupby(["tier", "channel"])["weight"].mean().reset_index()
    weights = means.sort_values(["tier", "weight", "channel"], ascending=[True, False, True])
    rows = tuple(
        (tier.value, ", ".join(weights[weights["tier"] == tier]["channel"].head(n_channels)))
        for tier in Tier
    )
    csv = weights.to_csv(index=False, lineterminator="\n")
    caption = "Most salient channels of each tier, strongest first (mean over heads and subjects)."
    return Table("channels", caption, (("Tier", False), ("Channels", False)), rows, csv_uri(csv))


def caption_examples(study: Study, n_examples: int, seed: int) -> tuple[CaptionExample, ...]:
    """Return stimuli drawn at random, one per concept, with all their captions.

    Parameters
    ----------
    n_examples : int
        At most so many stimuli.
    """
    captioned = study.stimuli[study.stimuli["stimulus_id"].isin(study.captions["stimulus_id"])]
    order = np.random.default_rng(seed).permutation(len(captioned))
    chosen = captioned.sort_values("stimulus_id").iloc[order].drop_duplicates("concept")
    by_stimulus = dict(list(study.captions.groupby("stimulus_id")))
    return tuple(
        CaptionExample(
            row["stimulus_id"],
            row["concept"],
            Path(row["image_path"]),
            _by_tier(by_stimulus[row["stimulus_id"]]),
        )
        for row in chosen.head(n_examples).to_dict("records")
    )


def _by_tier(captions: pd.DataFrame) -> dict[Tier, tuple[tuple[str, str], ...]]:
    place = {kind: i for i, kind in enumerate(KIND_NAMES)}
    rows = sorted(captions.to_dict("records"), key=lambda row: place[row["kind"]])
    return {
        tier: tuple((row["kind"], row["text"]) for row in rows if row["tier"] == tier)
        for tier in Tier
    }


def table(
    name: str, caption: str, frame: pd.DataFrame, columns: Mapping[str, tuple[str, str]]
) -> Table:
    """Return columns of a frame as a table.

    Parameters
    ----------
    columns : Mapping[str, tuple[str, str]]
        Column to its heading and unit; no unit: text.
    """
    frame = frame[list(columns)]
    rows = tuple(
        tuple(_cell(row[column], unit) for column, (_, unit) in columns.items())
        for row in frame.to_dict("records")
    )
    csv = frame.to_csv(index=False, lineterminator="\n")
    headings = tuple((heading, unit != "") for heading, unit in columns.values())
    return Table(name, caption, headings, rows, csv_uri(csv))


def _cell(value: object, unit: str) -> str:
    if isinstance(value, str):
        return value.replace(",", ", ") or "none"
    if not isinstance(value, (int, float)) or pd.isna(value):
        return number(None, unit)
    return f"{int(value):,}" if unit == "count" else number(float(value), unit)
