"""Geometry of the line charts that the page draws as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.reporting.formats import number, sentence

LEFT, RIGHT, TOP, BOTTOM = 44.0, 468.0, 12.0, 196.0

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
    """One chart of curves that share an axis."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def description(self) -> str:
        """The chart in words."""
        ends = "; ".join(f"{line.label} ends at {line.last}" for line in self.lines)
        return f"{self.title}. {ends}."


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
        line_chart(title, [(sentence(c), epochs, log[c].to_numpy(np.float64)) for c in columns])
        for title, columns in charts
        if columns
    )


def line_chart(title: str, curves: Sequence[Curve]) -> Chart:
    """Lay curves out in one frame whose y axis holds zero.

    Parameters
    ----------
    title : str
        What is drawn against what.
    curves : Sequence[tuple[str, numpy.ndarray, numpy.ndarray]]
        Label, x and y of each; NaN is left out.
    """
    x, y = (np.concatenate([curve[i] for curve in curves]) for i in (1, 2))
    x_axis = _Axis(_ticks(x.min(), x.max()), LEFT, RIGHT)
    y_axis = _Axis(_ticks(min(0.0, np.nanmin(y)), np.nanmax(y)), BOTTOM, TOP)
    lines = tuple(_line(curve, x_axis, y_axis) for curve in curves)
    return Chart(title, lines, x_axis.labelled(), y_axis.labelled())


def _line(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> Line:
    label, x, y = curve
    known = ~np.isnan(y)
    places = zip(x_axis.place(x[known]), y_axis.place(y[known]), strict=True)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    last = number(float(y[known][-1]), "") if known.any() else number(None, "")
    return Line(label, points, last)


def _ticks(low: float, high: float) -> Numbers:
    """Return at most eight round numbers that span ``low`` to ``high``."""
    span = (high - low) or 1.0
    power = 10.0 ** np.floor(np.log10(span))
    step = next(power * f for f in (0.2, 0.5, 1.0, 2.0) if span / (power * f) <= 6)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    ticks: Numbers = np.arange(first, max(last, first + 1) + 1) * step
    return ticks
