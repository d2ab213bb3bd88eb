"""Pictures of the analysis: the same bytes for the same numbers, readable without colour vision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasks.artifacts.metrics import Score
from tasks.runtime.files import atomic_path, write_text

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#000000")
"""After Okabe and Ito: told apart with every kind of colour vision."""

MARKERS = "o^sDvP*X"
GREY = "#B0B0B0"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
DPI = 150
MANY_POINTS = 30
"""From so many on, points of a curve are not marked."""

Maps = Mapping[str, Mapping[str, Float[np.ndarray, " n_channels"]]]


def draw_scores(path: Path, scores: Mapping[str, Score], label: str) -> None:
    """Draw scores one below the other, each with its interval and its chance.

    Parameters
    ----------
    scores : Mapping[str, Score]
        Row label to a score; the first is the one to be compared with.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(scores)), layout="constrained")
        axis = figure.subplots()
        for row, score in enumerate(scores.values()):
            colour = PALETTE[0] if row == 0 else PALETTE[1]
            if score.low is not None and score.high is not None:
                axis.plot([score.low, score.high], [row, row], c=colour, lw=2.5, alpha=0.6)
            axis.plot(score.value, row, "o", c=colour, ms=6, label=("score", "control")[row > 0])
            if score.chance is not None:
                axis.plot(score.chance, row, "|", c="black", ms=13, label="chance")
            axis.annotate(
                f"{score.value:.3f}",
                (max(score.value, score.high or 0), row),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
            )
        handles = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
        axis.legend(
            handles.values(), handles.keys(), loc="lower right", bbox_to_anchor=(1, 1), ncols=3
        )
        axis.set_yticks(range(len(scores)), labels=list(scores))
        axis.set_xlim(0, min(1.08, 1.3 * max(max(s.value, s.high or 0) for s in scores.values())))
        axis.set_ylim(len(scores) - 0.4, -0.6)
        axis.set_xlabel(label)
        save(figure, path)


def draw_curve(path: Path, curve: pd.DataFrame, x_label: str, y_label: str) -> None:
    """Draw curves, with their intervals where there are any.

    Parameters
    ----------
    curve : pandas.DataFrame
        Columns series, x, value and, where known, low and high.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axis = figure.subplots()
        if not pd.api.types.is_numeric_dtype(curve["x"]):
            curve = curve.assign(x=[fill(name, 12) for name in curve["x"]])
        for place, (series, rows) in enumerate(curve.groupby("series", sort=False)):
            draw_series(axis, str(series), rows, place)
        axis.set_ylim(0, 1.1 * float(np.nanmax(curve.get("high", curve["value"]))) or 1.0)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        if len(axis.get_legend_handles_labels()[0]) > 1:
            axis.legend()
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG without a date or a version in it."""
    FigureCanvasAgg(figure)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, metadata={"Software": None})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, atomically, with six significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def draw_series(axis: Axes, series: str, rows: pd.DataFrame, place: int) -> None:
    """Draw one series with its band; its place decides colour, dash and marker."""
    style = ("-", "--", ":")[place % 3]
    x, value = rows["x"].to_numpy(), rows["value"].to_numpy(float)
    if "low" in rows and len(rows) >= MANY_POINTS:
        axis.fill_between(x, rows["low"], rows["high"], color=PALETTE[place], alpha=0.2, lw=0)
    elif "low" in rows:
        low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
        spread = np.clip([value - low, high - value], 0, None)
        axis.errorbar(x, value, yerr=spread, fmt="none", ecolor=PALETTE[place], alpha=0.5)
    marker = "o" if len(rows) < MANY_POINTS else ""
    axis.plot(x, value, marker=marker, ls=style, c=PALETTE[place], ms=5, label=series)
