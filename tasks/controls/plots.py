"""The figures of the stage `audit`, and the tables behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tasks.controls.evidence import Finding
from tasks.controls.registry import ENCODER
from tasks.scores.figures import draw_curve, draw_scores, write_csv

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
            draw_curve(folder / f"{name}.png", finding.curve, finding.x_label, finding.y_label)
