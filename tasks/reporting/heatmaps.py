"""Square matrices of concepts as one small picture each, under labels that the page draws."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tasks.reporting.score_rows import csv_uri

INK = (31, 111, 208)
"""Colour of the largest value; it fades to nothing, so that it stands on paper and on a dark page."""
MAX_LABELS = 60
"""More rows than these have no room for names."""


@dataclass(frozen=True)
class Heatmap:
    """A square matrix.

    Attributes
    ----------
    name, title, caption
        Name of the CSV, and what is seen.
    rows, columns
        What lies along the two sides.
    labels
        Names of the rows, which are those of the columns; none where there are too many.
    picture, uri
        The matrix as a picture of one pixel per cell, and as CSV.
    description
        What a reader who sees no picture needs.
    """

    name: str
    title: str
    caption: str
    rows: str
    columns: str
    labels: tuple[str, ...]
    picture: str
    uri: str
    description: str


def confusion_matrix(folder: Path) -> Heatmap | None:
    """Return how often each concept is taken for each, or None where that was not counted.

    Parameters
    ----------
    folder : Path
        Plots of `evaluate`; its ``confusion.csv`` has one row per trial: actual, predicted.
    """
    path = folder / "confusion.csv"
    if not path.exists():
        return None
    answers = pd.read_csv(path)
    names = sorted({*answers["actual"], *answers["predicted"]})
    counts = pd.crosstab(answers["actual"], answers["predicted"]).reindex(
        index=names, columns=names, fill_value=0
    )
    shares = counts.to_numpy(np.float64) / np.maximum(
        counts.to_numpy().sum(axis=1, keepdims=True), 1
    )
    diagonal = dict(zip(names, np.diag(shares), strict=True))
    shown = [name for name in names if counts.loc[name].sum()]
    best, worst = max(shown, key=diagonal.__getitem__), min(shown, key=diagonal.__getitem__)
    return Heatmap(
        "confusion_matrix",
        "Confusion matrix",
        "Each row is a concept that was shown, each column one that was named. A dark diagonal is right; the darker "
        "a cell, the larger its share of the row.",
        "shown",
        "named",
        _labels(names),
        _picture(shares),
        csv_uri(counts.to_csv(lineterminator="\n")),
        f"Named right most often: {best}; least often: {worst}.",
    )


def dissimilarity_matrix(folder: Path) -> Heatmap | None:
    """Return how unlike the concepts are to the encoder, or None where that was not measured.

    Parameters
    ----------
    folder : Path
        Plots of `explain`; its ``concept_dissimilarity.csv`` has one row per pair: concept, other, eeg, captions.
    """
    path = folder / "concept_dissimilarity.csv"
    if not path.exists():
        return None
    pairs = pd.read_csv(path)
    names = list(dict.fromkeys(pairs["concept"]))
    values = (
        pairs.pivot_table(index="concept", columns="other", values="eeg")
        .loc[names, names]
        .to_numpy(np.float64)
    )
    return Heatmap(
        "concept_dissimilarity",
        "RDM: which concepts look alike to the encoder",
        "For each two concepts, one less the correlation of their mean vectors from the EEG of held-out trials. "
        "Light: alike. Concepts that are alike stand next to each other.",
        "concept",
        "concept",
        _labels(names),
        _picture(values / (np.nanmax(values) or 1.0)),
        csv_uri(path.read_text()),
        "Concepts in the order of a clustering, so that groups of like ones form light squares on the diagonal.",
    )


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names) if len(names) <= MAX_LABELS else ()


def _picture(values: NDArray[np.float64]) -> str:
    """Return values from 0 to 1 as a data URI: full ink at 1, nothing at 0."""
    cells = np.zeros((*values.shape, 4), np.uint8)
    cells[..., :3] = INK
    cells[..., 3] = np.round(255 * np.clip(values, 0, 1))
    buffer = io.BytesIO()
    Image.fromarray(cells).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
