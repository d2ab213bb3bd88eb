"""Square matrices of concepts as one small picture each, under labels that the page draws."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
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
        "Each row is a concept that was shown, each column one that was named. A full diagonal is right; the "
        "fuller a cell, the larger its share of the row.",
        _labels(names),
        _picture(pd.DataFrame(shares)),
        csv_uri(counts.to_csv(lineterminator="\n")),
        f"Named right most often: {best}; least often: {worst}.",
    )


def dissimilarity_matrices(folder: Path) -> list[Heatmap]:
    """Return how unlike the concepts are to the encoder, and to their captions; none where it was not measured.

    Parameters
    ----------
    folder : Path
        Plots of `explain`; its ``concept_dissimilarity.csv`` has one row per pair: concept, other, eeg, captions.
    """
    path = folder / "concept_dissimilarity.csv"
    if not path.exists():
        return []
    pairs = pd.read_csv(path)
    names = list(dict.fromkeys(pairs["concept"]))
    return [
        Heatmap(
            f"dissimilarity_{column}",
            title,
            f"For each two concepts, one less the correlation of their mean vectors{source}. The paler a cell, the "
            "more alike the two are.",
            _labels(names),
            _picture(_square(pairs, column, names)),
            csv_uri(_square(pairs, column, names, scaled=False).to_csv(lineterminator="\n")),
            "Both matrices have the order of a clustering, in which groups of like concepts form pale squares.",
        )
        for column, title, source in (
            ("eeg", "RDM of the encoder", " from the EEG of held-out trials"),
            (
                "captions",
                "RDM of the true captions",
                " in CLIP, which the encoder should arrive at",
            ),
        )
    ]


def _square(
    pairs: pd.DataFrame, column: str, names: Sequence[str], scaled: bool = True
) -> pd.DataFrame:
    square = pairs.pivot_table(index="concept", columns="other", values=column)
    square = square.reindex(index=pd.Index(names), columns=pd.Index(names))
    return square / (square.to_numpy().max() or 1.0) if scaled else square


def _labels(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names) if len(names) <= MAX_LABELS else ()


def _picture(values: pd.DataFrame) -> str:
    """Return values from 0 to 1 as a data URI: full ink at 1, nothing at 0."""
    cells = np.zeros((*values.shape, 4), np.uint8)
    cells[..., :3] = INK
    cells[..., 3] = np.round(255 * np.clip(values.to_numpy(), 0, 1))
    buffer = io.BytesIO()
    Image.fromarray(cells).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
