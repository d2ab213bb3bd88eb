"""How far two runs of one commit may differ: processors round differently, and some decisions hang on it.

Processors add numbers in different orders and differ in the last digits of a sum. Training makes these
differences larger, until here and there a trial whose two best answers are nearly equal is answered
differently. Scores of the same commit on two processors therefore agree within a tolerance, which
`tolerance` defines once for all: for `percept ci-report`, for the README's table, for what `make repro`
says at its end and for the tests on processors. `benchmarks/processors.py` measures what it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.artifacts.metrics import Score

SHARE = 0.2
"""Of half the width of a score's interval."""
ANSWERS = 2
"""Trials, pictures or captions that may be answered differently, whatever the interval says."""
RELATIVE = 0.02
"""Share of the size of a number, where it is not a share of answers."""

PARTS: Mapping[str, tuple[str, str]] = {
    "value": ("low", "high"),
    "low": ("low", "high"),
    "high": ("low", "high"),
    "chance": ("low", "high"),
    "ceiling": ("low", "high"),
    "control": ("control_low", "control_high"),
    "control_low": ("control_low", "control_high"),
    "control_high": ("control_low", "control_high"),
}
"""The numbers of a score that are compared, and the interval that says how sure each of them is."""


def tolerance(score: Score, part: str = "value") -> float:
    """Return how far a number of a score may lie from the same number of a run on another processor.

    The sum of a tenth of its interval's width and an absolute part: two answers of the ``n`` for a
    share, 2 % of the number for anything else.

    Parameters
    ----------
    part
        A key of `PARTS`.
    """
    value, low, high = (getattr(score, name) for name in (part, *PARTS[part]))
    width = 0.0 if low is None or high is None else abs(high - low)
    absolute = ANSWERS / max(score.n, 1) if score.unit == "share" else RELATIVE * abs(value or 0.0)
    return SHARE * width / 2 + absolute


def apart(one: Score, other: Score) -> float:
    """Return the largest difference of two scores in units of the tolerance: above 1 they do not agree.

    It is infinite where one of them has a number that the other lacks.

    Parameters
    ----------
    one, other
        The same score of two runs, in either order.
    """
    return max(_apart(one, other, part) for part in PARTS)


def _apart(one: Score, other: Score, part: str) -> float:
    first, second = getattr(one, part), getattr(other, part)
    if first == second:
        return 0.0
    if first is None or second is None:
        return float("inf")
    allowed = max(tolerance(one, part), tolerance(other, part))
    return abs(first - second) / allowed if allowed else float("inf")
