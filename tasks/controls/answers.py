"""Answers of a decoder, or of a guesser, scored against the concepts that were shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.stats import rankdata

from tasks.artifacts.metrics import Score
from tasks.runtime.params import Params
from tasks.scores.concept import concept_ranking
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER
from tasks.scores.score import agreement, columns_of, score
from tasks.statistics.permutation import SIGNIFICANCE, permutation_p_value
from tasks.statistics.resampling import Estimate, Resampling, mean

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
    """Score the encoder itself: the share of trials whose concept it names."""
    found = score_hits(held_out.trials, concept_hits(held_out), params)
    return judged(
        found,
        f"The encoder names the concept in {found.value:.3f} of the trials (chance {found.chance:.3f}), better "
        "than any guess: what it goes by is what the controls ask.",
        f"The encoder names the concept in {found.value:.3f} of the trials (chance {found.chance:.3f}): it "
        "cannot be told from guessing.",
    )


def score_guesses(held_out: HeldOut, guesses: Sequence[str], params: ControlParams) -> Score:
    """Score one guessed concept per trial."""
    shown = shown_stimuli(held_out.trials)
    return score_hits(held_out.trials, agreement(guesses, shown["concept"].tolist()), params)


def score_hits(trials: pd.DataFrame, hits: Hits, params: ControlParams) -> Score:
    """Score answers against what was shown; chance is what they score for permuted stimuli."""
    return score(hits, resampling_of(trials, params), chance=None)


def score_labels(
    trials: pd.DataFrame,
    answers: Sequence[str],
    truth: Sequence[str],
    params: ControlParams,
    within: Sequence[str],
) -> Score:
    """Score answers about trials, such as their block; chance from permuting truth within groups.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the stimulus of each trial, which the bootstrap draws.
    answers, truth : Sequence[str]
        One each per trial.
    """
    said, actual = np.asarray(answers), np.asarray(truth)
    permuted = [
        float((said == actual[order]).mean())
        for order in _permutations(within, params.n_permutations, params.seed)
    ]
    resampling = resampling_of(trials, params)
    estimate = resampling.estimate(np.asarray(said == actual, np.float64), mean)
    found = _with_chance(estimate, np.array(permuted), len(said), unit="share")
    return found.model_copy(update={"resampled": resampling.resampled})


def score_correlation(
    trials: pd.DataFrame,
    found: Float[np.ndarray, " n_trials"],
    truth: Float[np.ndarray, " n_trials"],
    params: ControlParams,
    within: Sequence[str],
) -> Score:
    """Score a rank correlation within groups; chance from permuting truth within them.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the stimulus of each trial, which the bootstrap draws.
    found, truth : Float[np.ndarray, "n_trials"]
        One each per trial.
    """
    a, b = _ranks(found, within), _ranks(truth, within)
    norm = float(np.sqrt((a @ a) * (b @ b))) or 1.0
    permuted = [
        float(a @ b[order]) / norm
        for order in _permutations(within, params.n_permutations, params.seed)
    ]
    resampling = resampling_of(trials, params)
    products = resampling.weights @ np.stack([a * b, a * a, b * b], axis=1)
    scales = np.sqrt(products[:, 1] * products[:, 2])
    samples = np.divide(products[:, 0], scales, out=np.zeros(len(scales)), where=scales > 0)
    bounds = resampling.control(samples)
    estimate = Estimate(float(a @ b) / norm, bounds.low, bounds.high)
    scored = _with_chance(estimate, np.array(permuted), len(a), unit="correlation")
    return scored.model_copy(update={"resampled": resampling.resampled})


def _with_chance(
    estimate: Estimate, permuted: Float[np.ndarray, " n_permutations"], n: int, unit: str
) -> Score:
    p_value = permutation_p_value(estimate.value, permuted, higher_is_better=True)
    return Score(**vars(estimate), n=n, chance=float(permuted.mean()), p_value=p_value, unit=unit)


def _permutations(
    within: Sequence[str], n_permutations: int, seed: int
) -> Iterator[Int[np.ndarray, " n_trials"]]:
    groups = np.unique(np.asarray(within), return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    rng = np.random.default_rng(seed)
    for _ in range(n_permutations):
        order = np.arange(len(groups))
        for rows in members:
            order[rows] = rng.permutation(rows)
        yield order


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


def beats_chance(found: Score, n_tests: int = 1) -> bool:
    """Tell whether a score is above chance, by its interval and by its permutation p-value.

    Parameters
    ----------
    found : Score
        With an interval and a p-value.
    n_tests : int
        How many scores are asked at once; the level of the test is divided by it.
    """
    above = found.low is None or found.chance is None or found.low > found.chance
    return above and (found.p_value is None or found.p_value < SIGNIFICANCE / n_tests)


def in_words(found: Score) -> str:
    """Say a score beside what guessing scores."""
    return f"{found.value:.3f} (chance {found.chance:.3f})"


def judged(found: Score, above: str, at_chance: str) -> Score:
    """Add the sentence that fits: above chance, or not."""
    verdict = above if beats_chance(found) else at_chance
    return found.model_copy(update={"verdict": verdict})
