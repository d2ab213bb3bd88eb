"""ERP and spectrum of each recording, drawn from the averages of `preprocess`."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.artifacts.contracts.averages import ERP, SPECTRUM
from tasks.scores.figures import DPI, PALETTE, STYLE

MAX_RECORDINGS = 12
"""Drawn at most: the page stays small, and the table holds the rest."""


@dataclass(frozen=True)
class RecordingFigure:
    """Mean epoch and spectrum of one recording, as a picture in a data URI."""

    recording: str
    description: str
    uri: str
    width: int
    height: int


def recording_figures(averages: pd.DataFrame) -> list[RecordingFigure]:
    """Draw the first recordings, one line per channel.

    Parameters
    ----------
    averages : pandas.DataFrame
        Rows of the contract AVERAGES.
    """
    recordings = [(str(name), own) for name, own in averages.groupby("recording_id")]
    return [_draw(name, own) for name, own in recordings[:MAX_RECORDINGS]]


def _draw(name: str, averages: pd.DataFrame) -> RecordingFigure:
    erp, spectrum = (
        averages[averages["curve"] == curve].pivot_table(
            index="at", columns="channel", values="value", observed=True
        )
        for curve in (ERP, SPECTRUM)
    )
    with rc_context(STYLE):
        figure = Figure(figsize=(5.4, 2.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, erp, "s after picture onset", "mean (unit of epochs)")
        left.axvline(0, c="black", lw=0.8, ls=":")
        power = erp.std(axis=1)
        left.plot(erp.index, power, c=PALETTE[5], lw=1.6, label="global field power")
        left.legend(fontsize="small", loc="upper right")
        _lines(right, spectrum, "Hz", "power (dB)")
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=DPI, metadata={"Software": None})
    peak = power[power.index > 0]
    after = (
        f" Its global field power is largest {1000 * float(peak.index[int(peak.argmax())]):.0f} ms after onset."
        if len(peak)
        else ""
    )
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return RecordingFigure(
        name, f"ERP and spectrum of {name}, a line per channel.{after}", uri, width, height
    )


def _lines(axis: Axes, curves: pd.DataFrame, x_label: str, y_label: str) -> None:
    axis.plot(curves.index, curves.to_numpy(np.float64), c=PALETTE[0], lw=0.5, alpha=0.4)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
