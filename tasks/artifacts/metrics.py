"""Scores on disk: JSON for `dvc metrics`, each number beside what it must be compared with."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_json

COUNTED = "counted"
"""Stands where an interval would mean nothing: every one was looked at, none is estimated."""
DERIVED = "derived"
"""Stands where a number follows from other scores, whose intervals are theirs."""
PERMUTATIONS = "permutations"
"""Stands where an interval is that of permuted stimuli."""


class Score(BaseModel):
    """One score. ``None`` says that the number does not exist, never that it was forgotten.

    Attributes
    ----------
    value
        The score itself.
    n
        How many trials, stimuli or pictures it rests on.
    chance
        What guessing scores.
    ceiling
        What the best possible decoder, or the true captions, score on the same trials.
    low, high
        Bounds of the 95 % confidence interval.
    control, control_low, control_high
        The same score for shuffled EEG, with its interval.
    p_value
        Of the permutation test against chance.
    exchanged
        What the permutation test exchanged, for instance ``stimuli``; empty: there is no such test.
    p_holm, n_tests
        The same p-value, adjusted after Holm over a family of tests that ask one question, and its size.
    resampled
        What the interval was made of: ``stimuli``, ``stimuli of one subject``, for instance ``stimuli and 3
        subjects``, ``subjects``, ``halves of the pictures`` or ``of the stimuli``, ``permutations``, the ``range`` of
        a few runs or pairs. ``counted`` and ``derived``: the number needs none. Empty: there is none.
    lower_is_better
        True of distances such as KID and FID.
    unit
        For instance ``share``, ``rank``, ``distance``, ``correlation``.
    verdict
        What the score shows, in one plain sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    n: int
    chance: float | None = None
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None
    control: float | None = None
    control_low: float | None = None
    control_high: float | None = None
    p_value: float | None = None
    exchanged: str = ""
    p_holm: float | None = None
    n_tests: int | None = None
    resampled: str = ""
    lower_is_better: bool = False
    unit: str = "share"
    verdict: str = ""


def write_scores(path: Path, scores: Mapping[str, Score]) -> None:
    """Write named scores as JSON, sorted by name, in six significant digits.

    Processors sum in different orders, which shows from the seventh digit on: rounded, the same
    study gives the same file on any machine.
    """
    write_json(path, {name: _rounded(score) for name, score in scores.items()})


def _rounded(score: Score) -> dict[str, object]:
    fields = score.model_dump().items()
    return {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in fields}


def read_scores(path: Path) -> dict[str, Score]:
    """Read named scores.

    Raises
    ------
    PerceptError
        If the file does not exist.
    """
    if not path.exists():
        raise PerceptError(f"{path} must exist; it does not. Run `dvc repro {path}` to make it.")
    return {name: Score.model_validate(row) for name, row in json.loads(path.read_text()).items()}
