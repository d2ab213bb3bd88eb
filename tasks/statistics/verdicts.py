"""What a score shows, in one of three states that its interval and its p-value never contradict.

A score is told from chance only if its p-value, corrected where several tests were one question, is below
`SIGNIFICANCE` and its interval lies on the good side of chance. A test that missed shows no absence: the
effect is either bounded ("at most"), where the interval is narrow enough for that to say something, or
nothing can be told, and the power of the test says why.
"""

from __future__ import annotations

from collections.abc import Mapping

from scipy.stats import norm

from tasks.artifacts.metrics import Score
from tasks.statistics.permutation import SIGNIFICANCE

BETTER, WORSE, NOT_TOLD = "better than chance", "worse than chance", "not told from chance"
RELEVANT: Mapping[str, float] = {"share": 0.05, "correlation": 0.1}
"""By unit, the smallest effect that would matter: an upper bound beyond it does not say "little"."""
USUAL_POWER = 0.8
Z_95 = 1.96
"""Standard errors to either side of a 95 % interval."""


def deciding(found: Score) -> float | None:
    """Return the p-value that decides: the corrected one, where there is one."""
    return found.p_value if found.p_holm is None else found.p_holm


def reading(found: Score) -> str:
    """Say where a score lies, seen from chance; empty where its interval or chance is unknown."""
    if found.low is None or found.high is None or found.chance is None:
        return ""
    p_value = deciding(found)
    above, below = found.low > found.chance, found.high < found.chance
    good, bad = (below, above) if found.lower_is_better else (above, below)
    if good and (p_value is None or p_value < SIGNIFICANCE):
        return BETTER
    return WORSE if bad and (p_value is None or p_value >= SIGNIFICANCE) else NOT_TOLD


def beats_chance(found: Score, n_tests: int = 1) -> bool:
    """Tell whether a score is better than chance, by its interval and by its p-value.

    Parameters
    ----------
    found : Score
        Without an interval, a chance or a p-value the other decides alone.
    n_tests : int
        How many scores are asked at once, where their p-values are not corrected yet (Bonferroni).
    """
    corrected = found.p_value is not None and found.p_holm is None
    if corrected and n_tests > 1:
        found = found.model_copy(update={"p_holm": min(1.0, n_tests * (found.p_value or 0.0))})
    told = reading(found)
    if told:
        return told == BETTER
    p_value = deciding(found)
    return p_value is not None and p_value < SIGNIFICANCE


def missed(found: Score) -> str:
    """Say what a score that is not better than chance shows: a bound, or that nothing can be told."""
    if found.low is None or found.high is None or found.chance is None:
        return "cannot tell: there is no interval"
    said, p_value = probability(found), deciding(found)
    bound, effect = found.low if found.lower_is_better else found.high, RELEVANT.get(found.unit)
    gain = found.chance - bound if found.lower_is_better else bound - found.chance
    if p_value is not None and p_value >= SIGNIFICANCE and (effect is None or gain <= effect):
        side, which = ("least", "lower") if found.lower_is_better else ("most", "upper")
        return f"at {side} {bound:.3f} (95 % {which} bound; {said})"
    error = (found.high - found.low) / (2 * Z_95)
    level = SIGNIFICANCE / (found.n_tests or 1)
    if effect is None:
        effect = error * float(norm.isf(level) + norm.ppf(USUAL_POWER))
    power = 0.0 if p_value is None else power_of(effect, error, level)
    if p_value is not None and p_value < SIGNIFICANCE:
        said = f"{said}, but the interval is not on one side of chance"
    return f"cannot tell: {said}; power {power:.2f} at an effect of {effect:.2g}"


def power_of(effect: float, error: float, level: float) -> float:
    """Return how often a one-sided test finds an effect, by the normal approximation.

    Parameters
    ----------
    effect, error : float
        How far a score lies from chance, and its standard error; 0 where nothing is known of it, since all
        bootstrap samples were equal.
    level : float
        Share of false alarms that the test allows.
    """
    return float(norm.sf(norm.isf(level) - effect / error)) if error > 0 else 0.0


def probability(found: Score) -> str:
    """Return the p-value in words: what was exchanged, and the family over which it was corrected."""
    if found.p_value is None:
        return "no test"
    said = f"p = {found.p_value:.2g}"
    if found.p_holm is not None and (found.n_tests or 0) > 1:
        said = f"p = {found.p_holm:.2g} by Holm over {found.n_tests} tests"
    return f"{said}, {found.exchanged} exchanged" if found.exchanged else said


def against_shuffled(found: Score) -> str:
    """Say in one sentence what a score shows against the same predictions for shuffled stimuli."""
    if beats_chance(found):
        return f"Better than the same predictions for shuffled stimuli ({probability(found)})."
    return f"Not told from the same predictions for shuffled stimuli: {missed(found)}."


def said_again(before: Score, after: Score) -> Score:
    """Return a score with its sentence against shuffled stimuli, if it has one, as its correction has it."""
    sentence = after.verdict.replace(against_shuffled(before), against_shuffled(after))
    return after.model_copy(update={"verdict": sentence})
