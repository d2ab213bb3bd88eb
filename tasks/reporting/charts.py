"""Geometry of the line charts that the page draws as inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.reporting.formats import number, sentence

LEFT, RIGHT, TOP, BOTTOM = 44.0, 468.0, 12.0, 196.0
"""Edges of the frame, in the 480 by 246 units of the drawing."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Tick:
    """One labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: its name, its points as SVG wants them, and the value at its end."""

    label: str
    points: str
    last: str


@dataclass(frozen=True)
class Chart:
    """One chart of curves that share an axis.

    Attributes
    ----------
    title, x_label
        What is drawn, and what lies along the horizontal axis.
    lines
        The curves.
    bands
        The interval about each curve that has one, as the corners of an area.
    levels
        Heights of dashed lines across the chart, with what they mean.
    x_ticks, y_ticks
        Labelled places.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    bands: tuple[str, ...]
    levels: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def description(self) -> str:
        """The chart in words."""
        ends = [f"{line.label} ends at {line.last}" for line in self.lines]
        levels = [f"the dashed line is {level.label}" for level in self.levels]
        return f"{self.title}. {'; '.join(ends + levels)}."


@dataclass(frozen=True)
class _Axis:
    """Round numbers that span the data, and where they lie on the page."""

    ticks: Numbers
    start: float
    end: float

    def place(self, values: Numbers) -> Numbers:
        """Return where ``values`` lie."""
        low, high = self.ticks[0], self.ticks[-1]
        scaled: Numbers = self.start + (values - low) / (high - low) * (self.end - self.start)
        return scaled

    def labelled(self) -> tuple[Tick, ...]:
        """Return the ticks with their labels."""
        places = self.place(self.ticks)
        return tuple(
            Tick(round(float(place), 1), f"{tick:g}")
            for place, tick in zip(places, self.ticks, strict=True)
        )


Curve = tuple[str, Numbers, Numbers]
"""Label, x and y."""
Band = tuple[Numbers, Numbers, Numbers]
"""x, lower and upper bound."""


def training_charts(log: pd.DataFrame) -> tuple[Chart, ...]:
    """Return one chart of the losses and one of the shares that training logged.

    Parameters
    ----------
    log : pandas.DataFrame
        A column ``epoch`` and one numeric column per curve.
    """
    if "epoch" not in log or len(log) < 2:
        return ()
    numeric = log.select_dtypes("number").columns
    losses = [column for column in numeric if "loss" in column]
    shares = [column for column in numeric if "recall" in column or "accuracy" in column]
    epochs = log["epoch"].to_numpy(np.float64)
    charts = (("Loss by epoch", losses), ("Validation score by epoch", shares))
    return tuple(
        line_chart(
            title, [(sentence(c), epochs, log[c].to_numpy(np.float64)) for c in columns], "epoch"
        )
        for title, columns in charts
        if columns
    )


def line_chart(
    title: str,
    curves: Sequence[Curve],
    x_label: str = "",
    bands: Sequence[Band] = (),
    levels: Mapping[str, float] | None = None,
) -> Chart:
    """Lay curves out in one frame whose y axis holds zero.

    Parameters
    ----------
    title : str
        What is drawn against what.
    curves : Sequence[tuple[str, numpy.ndarray, numpy.ndarray]]
        Label, x and y of each; NaN is left out.
    bands : Sequence[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]]
        x, lower and upper bound of each interval; without NaN.
    levels : Mapping[str, float] or None
        What a line across the chart means, and its height.
    """
    levels = levels or {}
    x = np.concatenate([curve[1] for curve in curves])
    y = np.concatenate(
        [*(c[2] for c in curves), *(side for b in bands for side in b[1:]), [*levels.values()]]
    )
    whole = bool(np.all(x == np.round(x)))  # there is no presentation and a half
    x_axis = _Axis(_ticks(x.min(), x.max(), 1.0 if whole else 0.0), LEFT, RIGHT)
    y_axis = _Axis(_ticks(min(0.0, np.nanmin(y)), np.nanmax(y)), BOTTOM, TOP)
    return Chart(
        title,
        x_label,
        tuple(_line(curve, x_axis, y_axis) for curve in curves),
        tuple(
            _points(x_axis, y_axis, np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
            for x, low, high in bands
        ),
        tuple(
            Tick(round(float(y_axis.place(np.array(at))), 1), name) for name, at in levels.items()
        ),
        x_axis.labelled(),
        y_axis.labelled(),
    )


def curve_chart(path: Path, title: str, x_label: str, levels: Mapping[str, float]) -> Chart | None:
    """Return the curves of a CSV with their intervals; None where it is not there.

    Parameters
    ----------
    path : Path
        Columns series, x, value and, where known, low and high; x are numbers.
    levels : Mapping[str, float]
        As in `line_chart`.
    """
    if not path.exists():
        return None
    table = pd.read_csv(path)
    numbers = {
        str(name): {
            column: rows[column].to_numpy(np.float64)
            for column in table.columns
            if column != "series"
        }
        for name, rows in table.groupby("series", sort=False)
    }
    bands = [
        (c["x"], c["low"], c["high"])
        for c in numbers.values()
        if "low" in c and not np.isnan(c["low"]).any()
    ]
    curves = [(sentence(name), c["x"], c["value"]) for name, c in numbers.items()]
    return line_chart(title, curves, x_label, bands, levels)


def _line(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> Line:
    label, x, y = curve
    known = ~np.isnan(y)
    points = _points(x_axis, y_axis, x[known], y[known])
    last = number(float(y[known][-1]), "") if known.any() else number(None, "")
    return Line(label, points, last)


def _points(x_axis: _Axis, y_axis: _Axis, x: Numbers, y: Numbers) -> str:
    places = zip(x_axis.place(x), y_axis.place(y), strict=True)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)


def _ticks(low: float, high: float, at_least: float = 0.0) -> Numbers:
    """Return at most eight round numbers that span ``low`` to ``high``, so far apart at least."""
    span = (high - low) or 1.0
    power = 10.0 ** np.floor(np.log10(span))
    step = max(at_least, next(power * f for f in (0.2, 0.5, 1.0, 2.0) if span / (power * f) <= 6))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    ticks: Numbers = np.arange(first, max(last, first + 1) + 1) * step
    return ticks
