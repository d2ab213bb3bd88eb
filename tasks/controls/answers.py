"""Answers of a decoder, or of a guesser, scored against the concepts that were shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.stats import rankdata

from tasks.artifacts.metrics import Score
from tasks.runtime.params import Params
from tasks.scores.concept import concept_ranking
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER
from tasks.scores.score import agreement, columns_of, score
from tasks.statistics.permutation import Level, exchanges, permutation_p_value, units_of
from tasks.statistics.resampling import Estimate, Resampling, Statistic, Values, Weights, mean
from tasks.statistics.verdicts import beats_chance, missed, probability

MIN_UNITS = 4
"""Fewer have too few orders for a p-value below 0.05."""

Hits = Float[np.ndarray, "n_trials n_stimuli"]
"""What the answer for a trial scores if the stimulus had been that of the column."""


class ControlParams(Params):
    """How intervals and p-values of controls are made.

    Attributes
    ----------
    n_shuffles : int
        Shuffles whose mean is the shuffled-EEG control.
    prestimulus_end_s : float
        Relative to picture onset: what comes later cannot be known to the prestimulus control.
    n_time_segments : int
        Stretches of time that a recording without blocks is cut into.
    n_pseudo_labels : int
        Times that labels are drawn for blocks.
    high_pass_hz : tuple[float, ...]
        What the high-pass sweep takes off, rising.
    bottlenecks : tuple[int, ...]
        Dimensions that are left of a prediction, rising.
    n_resamples, n_permutations : int
        Of the bootstrap over stimuli and of stimuli.
    confidence : float
        Of intervals.
    seed : int
        Of everything random.
    """

    n_shuffles: PositiveInt
    prestimulus_end_s: float
    n_time_segments: int = Field(ge=2)
    n_pseudo_labels: PositiveInt
    high_pass_hz: tuple[PositiveFloat, ...]
    bottlenecks: tuple[PositiveInt, ...] = Field(min_length=1)
    n_resamples: PositiveInt
    n_permutations: PositiveInt
    confidence: float = Field(gt=0, lt=1)
    seed: NonNegativeInt


def concept_hits(held_out: HeldOut) -> Hits:
    """Return 1 where the concept that is named from a trial is that of a stimulus."""
    names = held_out.candidates()
    ranking = concept_ranking(held_out, held_out.kinds(OBJECT_TIER), names)
    shown = shown_stimuli(held_out.trials)
    columns = columns_of(shown["concept"].tolist(), names, "the candidate concepts")
    return ranking.for_stimuli(columns).recall(1)


def encoder_score(held_out: HeldOut, params: ControlParams) -> Score:
    """Score the encoder itself: the share of trials whose concept it names; chance is one of the candidates."""
    found = score_hits(held_out.trials, concept_hits(held_out), params)
    found = found.model_copy(update={"chance": 1 / len(held_out.candidates())})
    return judged(
        found,
        f"The encoder names the concept in {in_words(found)} of the trials",
        "what it goes by is what the controls ask",
    )


def score_guesses(held_out: HeldOut, guesses: Sequence[str], params: ControlParams) -> Score:
    """Score one guessed concept per trial."""
    shown = shown_stimuli(held_out.trials)
    return score_hits(held_out.trials, agreement(guesses, shown["concept"].tolist()), params)


def score_hits(trials: pd.DataFrame, hits: Hits, params: ControlParams) -> Score:
    """Score answers against what was shown; chance is what they score for permuted stimuli, on average."""
    return score(hits, resampling_of(trials, params), chance=None)


def score_labels(
    trials: pd.DataFrame,
    answers: Sequence[str],
    truth: Sequence[str],
    params: ControlParams,
    level: Level,
    within: Sequence[str],
) -> Score:
    """Score answers about trials, such as their block; chance from exchanging the truth within groups.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the stimulus of each trial, which the bootstrap draws, and the column of the level.
    answers, truth : Sequence[str]
        One each per trial.
    level : str
        What is exchanged: the units to which the truth was given.
    """
    said, actual = np.asarray(answers), np.asarray(truth)
    orders = exchanges(trials, level, within, params.n_permutations, params.seed)
    permuted = np.array([float((said == actual[order]).mean()) for order in orders])
    right = np.asarray(said == actual, np.float64)
    resampling = resampling_of(trials, params)
    estimate = resampling.estimate(right, mean, (0.0, 1.0))
    return _tested(
        estimate, permuted, float(permuted.mean()), trials, level, resampling, unit="share"
    )


def score_correlation(
    trials: pd.DataFrame,
    found: Float[np.ndarray, " n_trials"],
    truth: Float[np.ndarray, " n_trials"],
    params: ControlParams,
    level: Level,
    within: Sequence[str],
) -> Score:
    """Score a rank correlation within groups, whose chance is 0; p-value from exchanging the truth.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the stimulus of each trial, which the bootstrap draws, and the column of the level.
    found, truth : Float[np.ndarray, "n_trials"]
        One each per trial.
    level : str
        What is exchanged: the units that share the truth, or what else could make both alike.
    """
    a, b = _ranks(found, within), _ranks(truth, within)
    norm = float(np.sqrt((a @ a) * (b @ b)))
    if norm == 0:  # nothing varies within groups
        return Score(value=0.0, n=len(a), chance=0.0, low=-1.0, high=1.0, unit="correlation")
    orders = exchanges(trials, level, within, params.n_permutations, params.seed)
    permuted = np.array([float(a @ b[order]) / norm for order in orders])
    resampling = resampling_of(trials, params)
    estimate = resampling.estimate(a * b, _correlation(a, b), (-1.0, 1.0))
    return _tested(estimate, permuted, 0.0, trials, level, resampling, unit="correlation")


def _correlation(a: Float[np.ndarray, " n_trials"], b: Float[np.ndarray, " n_trials"]) -> Statistic:
    """Return the statistic that makes a correlation of the products of trials."""

    def statistic(products: Values, weights: Weights | None) -> Float[np.ndarray, " n"]:
        rows = np.ones((1, len(a))) if weights is None else weights
        scales = np.sqrt((rows @ a**2) * (rows @ b**2))
        found = np.divide(rows @ products, scales, out=np.zeros(len(rows)), where=scales > 0)
        return np.asarray(found[0] if weights is None else found)

    return statistic


def _tested(
    estimate: Estimate,
    permuted: Float[np.ndarray, " n_permutations"],
    chance: float,
    trials: pd.DataFrame,
    level: Level,
    resampling: Resampling,
    unit: str,
) -> Score:
    enough = units_of(trials, level).max(initial=0) + 1 >= MIN_UNITS
    p_value = permutation_p_value(estimate.value, permuted, higher_is_better=True)
    return Score(
        **vars(estimate),
        n=len(trials),
        chance=chance,
        p_value=p_value if enough else None,
        exchanged=level if enough else "",
        unit=unit,
        resampled=resampling.resampled,
    )


def _ranks(
    values: Float[np.ndarray, " n_trials"], within: Sequence[str]
) -> Float[np.ndarray, " n_trials"]:
    """Return ranks within groups, centred and of the same spread in each."""
    of, ranks = np.asarray(within), np.zeros(len(values))
    for group in np.unique(of):
        own = rankdata(values[of == group])
        ranks[of == group] = (own - own.mean()) / len(own)
    return ranks


def resampling_of(trials: pd.DataFrame, params: ControlParams) -> Resampling:
    """Draw bootstrap samples and permutations of the stimuli of some trials.

    Of stimuli alone: to draw subjects too would widen intervals, and an alarm that errs on the quiet side is
    none.
    """
    stimuli = shown_stimuli(trials)["stimulus_id"].tolist()
    return Resampling.draw(
        columns_of(trials["stimulus_id"].tolist(), stimuli, "the scored stimuli"),
        len(stimuli),
        n_resamples=params.n_resamples,
        n_permutations=params.n_permutations,
        confidence=params.confidence,
        seed=params.seed,
    )


def shown_stimuli(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one trial of each stimulus, in the order of their ids."""
    return trials.drop_duplicates("stimulus_id").sort_values("stimulus_id")


def in_words(found: Score) -> str:
    """Say a score beside what guessing scores."""
    return f"{found.value:.3f} (chance {found.chance:.3f})"


def judged(found: Score, said: str, above: str) -> Score:
    """Add the sentence that fits: above chance, and what that means, or what can be said instead.

    Without a test nothing is said to be above chance.

    Parameters
    ----------
    said, above : str
        What was found, without a stop, and what it means if it is above chance.
    """
    told = found.p_value is not None and beats_chance(found)
    end = f": {above} ({probability(found)})" if told else f"; {missed(found)}"
    return found.model_copy(update={"verdict": f"{said}{end}."})
