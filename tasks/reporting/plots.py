"""What other stages drew: their figures, and the numbers behind them as tables and charts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.artifacts.pictures import open_rgb
from tasks.reporting.charts import Chart, line_chart
from tasks.reporting.formats import sentence
from tasks.reporting.tables import Table, table

WIDE = 1.7
"""Figures at least so much wider than high take a row of their own."""

N_CONFUSIONS = 12
N_SUSPECTS = 12
N_PAIRS = 12

TITLES: Mapping[str, tuple[str, str]] = {
    "controls": ("Controls", "What is left of the score when the EEG says nothing of the picture."),
    "high_pass": (
        "High-pass sweep",
        "A small decoder trained anew on epochs without their slow part.",
    ),
    "time_to_training": (
        "Accuracy by time to training",
        "Drift would name trials better that are near in time to a training trial of their concept.",
    ),
    "errors_follow_time": (
        "Mistakes in order of presentation",
        "Drift would take concepts for those that were shown at about the same time.",
    ),
    "neighbours": (
        "Neighbours in the stream",
        "Overlapping responses, or concepts in a row, would name the pictures before or after.",
    ),
    "picture_similarity": (
        "Accuracy by likeness to training",
        "How much of the score rests on pictures like those of training.",
    ),
    "bottleneck": (
        "Bottleneck",
        "The score when only a few dimensions of a prediction are let through.",
    ),
    "repetitions": ("Repetitions", "The score of predictions averaged over presentations."),
    "scalp_maps_by_tier": (
        "Scalp maps by tier",
        "Where the EEG speaks to the heads of each tier; above, where a study knows it, the truth.",
    ),
    "scalp_maps_by_kind": ("Scalp maps by kind", "One map per projection head."),
    "scalp_maps_over_time": (
        "Scalp maps over time",
        "Where and when the EEG speaks to the heads of each tier. The colours of a row share one scale.",
    ),
    "saliency_by_region": (
        "Saliency by region",
        "Share of each region in the map of each tier, per channel.",
    ),
    "saliency_over_time": (
        "Saliency over time",
        "When the EEG speaks to the heads of each tier.",
    ),
    "saliency_over_time_by_head": (
        "Saliency over time, head by head",
        "The same for each projection head; bands are intervals over subjects.",
    ),
    "tsne_of_heads": (
        "Predicted vectors in a plane (t-SNE)",
        "Each dot is what one head says of one trial. Distances between far groups mean nothing.",
    ),
}
"""Stem of a figure's file to its title and caption."""


@dataclass(frozen=True)
class Figure:
    """A picture file with its title and caption."""

    title: str
    caption: str
    path: Path
    is_wide: bool


def figures(folder: Path) -> list[Figure]:
    """Return the PNG files in ``folder``, known ones first; none if nothing was drawn.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    stems = sorted(path.stem for path in folder.glob("*.png"))
    ordered = [stem for stem in TITLES if stem in stems]
    ordered += [stem for stem in stems if stem not in TITLES]
    return [_figure(folder / f"{stem}.png") for stem in ordered]


def recall_chart(folder: Path) -> Chart | None:
    """Return recall at every number of guesses, or None where it was not measured.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    curves = _numbers(folder / "recall.csv")
    if curves is None or curves["k"].nunique() < 2:
        return None
    return line_chart(
        "Share of trials whose first k guesses hold the right one, by k",
        [
            (
                f"{sentence(str(name))} out of {rows['n_items'].iloc[0]}",
                rows["k"].to_numpy(np.float64),
                rows["value"].to_numpy(np.float64),
            )
            for name, rows in curves.groupby("score", sort=False)
        ],
    )


def confusion_table(folder: Path) -> Table | None:
    """Return the concepts most often taken for another, or None where that was not counted.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    answers = _numbers(folder / "confusion.csv")
    if answers is None:
        return None
    wrong = answers[answers["actual"] != answers["predicted"]]
    counts = wrong.groupby(["actual", "predicted"]).size().rename("n_trials").reset_index()
    shown = answers.groupby("actual").size().rename("n_shown").reset_index()
    counts = counts.merge(shown, on="actual", validate="many_to_one")
    counts = counts.sort_values(
        ["n_trials", "actual", "predicted"], ascending=[False, True, True]
    ).head(N_CONFUSIONS)
    columns = {
        "actual": ("Shown", ""),
        "predicted": ("Taken for", ""),
        "n_trials": ("Trials", "count"),
        "n_shown": ("Trials of the concept", "count"),
    }
    caption = "The most frequent mistakes of the decoder."
    return None if counts.empty else table("confusions", caption, counts, columns)


def region_table(folder: Path) -> Table | None:
    """Return the share of each region in each tier's map, or None where there are no maps.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    regions = _numbers(folder / "saliency_by_region.csv")
    if regions is None:
        return None
    columns = {
        "tier": ("Tier", ""),
        "region": ("Region", ""),
        "share": ("Share of saliency", "share"),
        "low": ("Interval over subjects, from", "share"),
        "high": ("to", "share"),
        "lowest_subject": ("Lowest subject", "share"),
        "highest_subject": ("Highest subject", "share"),
        "planted_share": ("Planted share", "share"),
    }
    caption = (
        "Share of each region in the map of each tier. Shares are of means per channel, so that "
    )
    caption += "large regions have no advantage."
    return table("regions", caption, regions, columns)


def spaces_table(folder: Path) -> Table | None:
    """Return which networks of published scores have their weights here; None where that was not said.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    spaces = _numbers(folder / "feature_spaces.csv")
    if spaces is None:
        return None
    columns = {
        "network": ("Network", ""),
        "scores": ("Scores that need it", ""),
        "state": ("Here", ""),
        "param": ("Param of evaluate.feature_weights", ""),
    }
    caption = (
        "Networks behind scores of published work. Weights are never downloaded: a score whose weights are not "
        "named is not made, and a stand-in (CLIP, the judge) bears its own name."
    )
    return table("feature_spaces", caption, spaces, columns)


def overlap_table(folder: Path) -> Table | None:
    """Return the pairs of heads that overlap most, or None where heads were not compared.

    Parameters
    ----------
    folder : Path
        What the stage drew into.
    """
    pairs = _numbers(folder / "head_overlap.csv")
    if pairs is None:
        return None
    shown = pairs.sort_values("cka", ascending=False).head(N_PAIRS)
    columns = {
        "kind": ("Head", ""),
        "other_kind": ("Other head", ""),
        "cka": ("Overlap of heads (CKA)", "correlation"),
        "caption_cka": ("Of their true captions", "correlation"),
        "subspace_overlap": ("Of their ten strongest directions", "correlation"),
    }
    caption = (
        "The pairs of heads that overlap most. Heads that overlap far more than the captions they learn from have "
        "collapsed."
    )
    return table("head_overlap", caption, shown, columns)


def _figure(path: Path) -> Figure:
    width, height = open_rgb(path).size
    title, caption = TITLES.get(path.stem, (sentence(path.stem), ""))
    return Figure(title, caption, path, width >= WIDE * height)


def _numbers(path: Path) -> pd.DataFrame | None:
    return pd.read_csv(path) if path.exists() else None


def suspect_table(folder: Path) -> Table | None:
    """Return captions that name objects which nothing else speaks for; None without any.

    The first of each picture come first, for the kinds of one picture tend to invent the same.

    Parameters
    ----------
    folder : Path
        Plots of the stage `check_captions`.
    """
    path = folder / "suspected_hallucinations.csv"
    if not path.exists():
        return None
    frame = pd.read_csv(path)
    if frame.empty:
        return None
    pictures = frame["caption_id"].str.rpartition("_")[0]
    again = frame.groupby([pictures, "objects"]).cumcount()
    frame = frame.iloc[np.argsort(again, kind="stable")]
    columns = {
        "caption_id": ("Caption", ""),
        "objects": ("Not supported", ""),
        "text": ("What it says", ""),
    }
    shown = table("", "Captions that name an object which nothing else speaks for.", frame, columns)
    return replace(shown, name="suspected_hallucinations", rows=shown.rows[:N_SUSPECTS])
