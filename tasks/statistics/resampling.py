"""Intervals, permutation controls and p-values for trials that share stimuli.

Trials of one stimulus are not independent: they show the same picture. Bootstrap and permutations
therefore draw whole stimuli (their groups), never single trials. Nor are trials of one subject: where
there are enough subjects, the bootstrap draws them too, independently of the stimuli, and a trial counts as
often as its stimulus times its subject was drawn (the pigeonhole bootstrap; Owen 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics). It errs on the wide side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.runtime.errors import PerceptError

MIN_SUBJECTS = 3
"""Fewer give no interval over subjects."""
STIMULI, BOTH = "stimuli", "stimuli and subjects"

Values = Float[np.ndarray, "*n_rows n_trials"]
Weights = Float[np.ndarray, "n_resamples n_trials"]
Statistic = Callable[[Values, Weights | None], Float[np.ndarray, " n"]]
"""Reduces trials to one number, for each row of values or, with weights, each row of weights."""


def mean(values: Values, weights: Weights | None = None) -> Float[np.ndarray, " n"]:
    """Return the mean of each row, or of one row of values under each row of weights."""
    if weights is None:
        return np.asarray(values.mean(axis=-1))
    return np.asarray(weights @ values / weights.sum(axis=1))


def median(values: Values, weights: Weights | None = None) -> Float[np.ndarray, " n"]:
    """Return the lower median: the smallest value with half of the trials at or below it."""
    if weights is None:
        middle = (values.shape[-1] - 1) // 2
        return np.asarray(np.partition(values, middle, axis=-1)[..., middle])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[:, order], axis=1)
    return np.asarray(values[order[np.argmax(below >= below[:, -1:] / 2, axis=1)]])


@dataclass(frozen=True)
class Estimate:
    """A number with the interval in which it lies.

    Attributes
    ----------
    value, low, high : float
        The number and the bounds of its interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampling:
    """Bootstrap samples and permutations of the stimuli of some trials, drawn once for all scores.

    Attributes
    ----------
    own : Int[np.ndarray, "n_trials"]
        Column of each trial's own stimulus in a score matrix.
    weights : Float[np.ndarray, "n_resamples n_trials"]
        How often each trial is in a bootstrap sample of stimuli.
    permutations : Int[np.ndarray, "n_permutations n_stimuli"]
        Permutations of the stimuli.
    confidence : float
        Share of the distribution inside an interval.
    resampled : str
        What the bootstrap samples are drawn of: ``stimuli``, or ``stimuli and subjects``.
    """

    own: Int[np.ndarray, " n_trials"]
    weights: Float[np.ndarray, "n_resamples n_trials"]
    permutations: Int[np.ndarray, "n_permutations n_stimuli"]
    confidence: float
    resampled: str = STIMULI

    @classmethod
    def draw(
        cls,
        own: Int[np.ndarray, " n_trials"],
        n_stimuli: int,
        *,
        n_resamples: int,
        n_permutations: int,
        confidence: float,
        seed: int,
        subjects: Sequence[str] | None = None,
    ) -> Resampling:
        """Draw bootstrap samples of stimuli and permutations of the stimuli that have trials.

        Parameters
        ----------
        own : Int[np.ndarray, "n_trials"]
            Column of each trial's own stimulus.
        n_stimuli : int
            Number of columns of the score matrices; stimuli without a trial stay where they are.
        confidence : float
            Share of the distribution inside an interval.
        seed : int
            Same seed, same draws.
        subjects : Sequence[str] or None
            Subject of each trial. At least three of them are drawn beside the stimuli.

        Raises
        ------
        PerceptError
            If there is no trial.
        """
        if not len(own):
            raise PerceptError("A score needs at least one trial; found none. Check the split.")
        rng = np.random.default_rng(seed)
        shown, group = np.unique(own, return_inverse=True)
        counts = rng.multinomial(len(shown), np.full(len(shown), 1 / len(shown)), n_resamples)
        permutations = np.tile(np.arange(n_stimuli), (n_permutations, 1))
        permutations[:, shown] = rng.permuted(np.tile(shown, (n_permutations, 1)), axis=1)
        weights = counts[:, group].astype(np.float64)
        people, of = np.unique(
            np.asarray(subjects if subjects is not None else []), return_inverse=True
        )
        if len(people) < MIN_SUBJECTS:
            return cls(own, weights, permutations, confidence)
        weights = _of_subjects(weights, of, len(people), seed)
        return cls(own, weights, permutations, confidence, BOTH)

    def estimate(
        self, values: Float[np.ndarray, " n_trials"], statistic: Statistic = mean
    ) -> Estimate:
        """Reduce the values of the trials, with a percentile bootstrap interval over stimuli."""
        values = np.asarray(values, np.float64)
        return Estimate(
            float(statistic(values, None)), *self._bounds(statistic(values, self.weights))
        )

    def permuted(
        self, matrix: Float[np.ndarray, "n_trials n_stimuli"], statistic: Statistic = mean
    ) -> Float[np.ndarray, " n_permutations"]:
        """Score each trial's prediction against the stimulus that a permutation puts in its place.

        Parameters
        ----------
        matrix : Float[np.ndarray, "n_trials n_stimuli"]
            What the prediction of a trial would score if the stimulus had been that of the column.
        statistic : Statistic
            Reduces the trials to one number.

        Returns
        -------
        Float[np.ndarray, "n_permutations"]
            The score under each permutation: what predictions that know nothing of the EEG reach.
        """
        if statistic is mean:  # trials of one stimulus move together: add them up beforehand
            totals = np.zeros((matrix.shape[1], matrix.shape[1]))
            np.add.at(totals, self.own, matrix)
            sums = totals[np.arange(len(totals)), self.permutations].sum(axis=1)
            return np.asarray(sums / len(self.own))
        return statistic(matrix[np.arange(len(self.own)), self.permutations[:, self.own]], None)

    def control(self, permuted: Float[np.ndarray, " n_permutations"]) -> Estimate:
        """Return the mean of permuted scores and the interval which holds most of them."""
        return Estimate(float(permuted.mean()), *self._bounds(permuted))

    def _bounds(self, samples: Float[np.ndarray, " n_samples"]) -> tuple[float, float]:
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(samples, [tail, 1 - tail])
        return float(low), float(high)


def _of_subjects(
    weights: Weights, of: Int[np.ndarray, " n_trials"], n_subjects: int, seed: int
) -> Weights:
    """Multiply the weights of trials with how often their subjects are drawn, never leaving none."""
    rng = np.random.default_rng([seed, n_subjects])
    drawn = np.zeros_like(weights)
    left = np.arange(len(weights))
    while len(left):
        times = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), len(left))
        drawn[left] = weights[left] * times[:, of]
        left = left[drawn[left].sum(axis=1) == 0]
    return drawn


def own_values(
    matrix: Float[np.ndarray, "n_trials n_stimuli"], own: Int[np.ndarray, " n_trials"]
) -> Float[np.ndarray, " n_trials"]:
    """Return what each trial scores against its own stimulus."""
    return np.asarray(matrix[np.arange(len(own)), own])
