"""The parts of a study: what is trained on, what is chosen by, and what is held out.

This module alone compares splits by name; everybody else asks it, so that a study without trials of one
held-out split is treated in the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
ZERO_SHOT: Final = "zero_shot"
HELD_OUT: Final = (TEST, ZERO_SHOT)
"""What no training has seen: pictures (or trials) of trained concepts, and concepts held out altogether."""
SEEN: Final = (TRAIN, VALIDATION)
SPLITS: Final = (*SEEN, *HELD_OUT)
UNUSED: Final = "none"
Split = Literal["train", "validation", "test", "zero_shot", "none"]
"""`none`: a trial that no part may use: beside the border of two parts, or of a subject or a picture left out."""


def main_split(splits: Iterable[str]) -> str | None:
    """Return the split that headlines, audit and calibration are about.

    That is `test` where the study has trials of it, and `zero_shot` where it has not, as in the official
    split of THINGS-EEG2, whose 200 test concepts were never trained.

    Parameters
    ----------
    splits
        Split of each trial, or those that there are.

    Returns
    -------
    str or None
        None where nothing is held out.
    """
    present = set(splits)
    return next((split for split in HELD_OUT if split in present), None)
