"""What every score must say of itself."""

from tasks.artifacts.metrics import COUNTED, DERIVED, Score


def is_qualified(score: Score) -> bool:
    """Tell whether a score says how sure it is: an interval, a p-value, or that it needs none."""
    known = score.low is not None and score.high is not None
    return known or score.p_value is not None or score.resampled in (COUNTED, DERIVED)
