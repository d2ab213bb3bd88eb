"""Where the marks of a score lie on its axis."""

from dataclasses import dataclass

from tasks.artifacts.metrics import Score


@dataclass(frozen=True)
class Bar:
    """Places of a score's marks, in per cent of the width; None where there is no mark.

    Attributes
    ----------
    start, length
        The filled part, from zero to the value.
    value, low, high, chance, ceiling, control
        As in `Score`.
    real
        The value of the score that this one controls.
    """

    start: float
    length: float
    value: float
    low: float | None
    high: float | None
    chance: float | None
    ceiling: float | None
    control: float | None
    real: float | None


def bar(score: Score, real: float | None = None) -> Bar:
    """Lay a score out on an axis that holds zero and all its marks; shares reach from 0 to 1.

    Parameters
    ----------
    real : float or None
        The value of the score that it controls.
    """
    marks = [score.value, score.low, score.high, score.chance, score.ceiling, score.control, real]
    known = [mark for mark in marks if mark is not None]
    left, right = _axis(score.unit, min(known), max(known))

    def place(mark: float) -> float:
        """Return where a mark lies."""
        return round(100 * (mark - left) / (right - left), 2)

    zero, value = place(0.0), place(score.value)
    others = [None if mark is None else place(mark) for mark in marks[1:]]
    return Bar(min(zero, value), round(abs(value - zero), 2), value, *others)


def _axis(unit: str, lowest: float, highest: float) -> tuple[float, float]:
    """Return the ends of the axis."""
    if unit == "share" and lowest >= 0 and highest <= 1:
        return 0.0, 1.0
    if unit == "correlation":
        return (0.0 if lowest >= 0 else -1.0), 1.0
    left, right = min(lowest, 0.0), max(highest, 0.0)
    if left == right:
        return 0.0, 1.0
    margin = 0.1 * (right - left)
    return left - margin * (left < 0), right + margin * (right > 0)
