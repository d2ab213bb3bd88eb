"""The figures of the stage `audit`, and the tables behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.analysis.control_registry import ENCODER
from tasks.analysis.evidence import Finding
from tasks.analysis.figures import PALETTE, STYLE, draw_scores, save, write_csv

COMPARED = (
    ENCODER, "shuffled_eeg", "noise_eeg", "subject_only", "label_permutation",
    "label_permutation_within_blocks", "class_prior", "subject_prior", "prestimulus",
    "time_of_recording", "block_structure",
)  # fmt: skip
"""Controls that answer the same question as the encoder, so that their scores stand on one axis."""


def draw_controls(folder: Path, found: Mapping[str, Finding]) -> None:
    """Draw the encoder's score beside its controls, and every curve; write both as tables.

    Parameters
    ----------
    folder : Path
        Where `controls.png`, `controls.csv` and a pair of files for each curve go.
    found : Mapping[str, Finding]
        Name to finding.
    """
    compared = {
        name.replace("_", " ").replace("eeg", "EEG"): found[name].score
        for name in COMPARED
        if name in found
    }
    draw_scores(folder / "controls.png", compared, "share of trials whose concept is named")
    columns = ["value", "n", "chance", "low", "high", "p_value", "verdict"]
    rows = [{"control": n} | f.score.model_dump(include=set(columns)) for n, f in found.items()]
    write_csv(pd.DataFrame(rows)[["control", *columns]], folder / "controls.csv")
    for name, finding in found.items():
        if finding.curve is not None:
            write_csv(finding.curve, folder / f"{name}.csv")
            draw_curve(folder / f"{name}.png", finding)


def draw_curve(path: Path, finding: Finding) -> None:
    """Draw the curve of a finding, with its interval where there is one and the chance level.

    Parameters
    ----------
    path : Path
        A PNG file.
    finding : Finding
        With a curve.
    """
    curve = finding.curve
    if curve is None:
        return
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axis = figure.subplots()
        for place, (series, rows) in enumerate(curve.groupby("series", sort=False)):
            _draw_series(axis, str(series), rows, place)
        axis.set_ylim(0, 1.1 * float(np.nanmax(curve.get("high", curve["value"]))) or 1.0)
        axis.set_xlabel(finding.x_label)
        axis.set_ylabel(finding.y_label)
        if len(axis.get_legend_handles_labels()[0]) > 1:
            axis.legend()
        save(figure, path)


def _draw_series(axis: Axes, series: str, rows: pd.DataFrame, place: int) -> None:
    style = ("-", "--", ":")[place % 3]
    x, value = rows["x"].to_numpy(), rows["value"].to_numpy(float)
    if "low" in rows:
        low, high = rows["low"].to_numpy(float), rows["high"].to_numpy(float)
        spread = np.clip([value - low, high - value], 0, None)
        axis.errorbar(x, value, yerr=spread, fmt="none", ecolor=PALETTE[place], alpha=0.5)
    axis.plot(x, value, "o", ls=style, c=PALETTE[place], ms=5, label=series)
