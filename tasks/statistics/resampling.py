"""Intervals, permutation controls and p-values for trials that share stimuli and subjects.

Trials of one stimulus are not independent: they show the same picture. Bootstrap and permutations
therefore draw whole stimuli (their groups), never single trials. The interval over stimuli is the percentile
interval at the levels that few stimuli need (the expanded percentile interval; Hesterberg 2015, "What
teachers should know about the bootstrap", The American Statistician 69:371, section 5).

Nor are trials of one subject independent, and subjects are few: a bootstrap of three of them covers far less
than it says. How far subjects differ is therefore taken from leaving each out (the jackknife), widened by
Student's t for so few, and joined with the interval over stimuli by the squares of the distances to the
bounds (the method of variance estimates recovery; Zou and Donner 2008, Statistics in Medicine 27:1693).
What single cells of subject and stimulus scatter is in both parts, and is taken out of the second. How often
such intervals hold the truth is measured by `benchmarks/false_alarms.py` and stands in docs/reading_scores.md.
With one subject the interval is over stimuli alone, and says nothing about other people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, t

from tasks.runtime.errors import PerceptError

MIN_SUBJECTS = 2
"""Fewer give no interval over subjects."""
STIMULI, ONE_SUBJECT = "stimuli", "stimuli of one subject"
N_CELLS_DRAWN = 200
"""Bootstrap samples of cells of subject and stimulus: enough for a variance."""
MEASURED_COVERAGE: Mapping[int, float] = {1: 0.947, 2: 0.952, 3: 0.925, 10: 0.955}
"""By subjects, the share of simulated studies whose 95 % interval held the truth, where it was least."""
MAX_CORRELATION = 1 - 1e-9
"""Fisher's z of a perfect correlation is infinite."""
NO_LIMITS = (-np.inf, np.inf)

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
        What the interval is made of: ``stimuli``, ``stimuli of one subject`` or, for instance, ``stimuli and 3
        subjects``.
    left_out : Float[np.ndarray, "n_subjects n_trials"] or None
        Weights with one subject after another left out; None: the interval is over stimuli alone.
    cells : Float[np.ndarray, "n_drawn n_trials"] or None
        How often each trial is in a bootstrap sample of cells of subject and stimulus.
    """

    own: Int[np.ndarray, " n_trials"]
    weights: Float[np.ndarray, "n_resamples n_trials"]
    permutations: Int[np.ndarray, "n_permutations n_stimuli"]
    confidence: float
    resampled: str = STIMULI
    left_out: Weights | None = None
    cells: Weights | None = None

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
            Subject of each trial; None: the interval shall be over stimuli alone.

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
            said = ONE_SUBJECT if len(people) else STIMULI
            return cls(own, weights, permutations, confidence, said)
        said = f"{STIMULI} and {len(people)} subjects"
        left_out = (np.arange(len(people))[:, None] != of).astype(np.float64)
        cells = _bootstrap(of * len(shown) + group, N_CELLS_DRAWN, seed)
        return cls(own, weights, permutations, confidence, said, left_out, cells)

    def estimate(
        self,
        values: Float[np.ndarray, " n_trials"],
        statistic: Statistic = mean,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Estimate:
        """Reduce the values of the trials, with an interval over stimuli and, where drawn, subjects.

        Parameters
        ----------
        limits : tuple[float, float]
            Between which the number must lie, and so its interval.
        """
        values = np.asarray(values, np.float64)
        value = float(statistic(values, None))
        drawn = statistic(values, self.weights)
        low, high = self._bounds(drawn, self._expanded_tail())
        reach = self._reach(values, statistic, float(drawn.var()))
        low, high = value - np.hypot(value - low, reach), value + np.hypot(high - value, reach)
        low, high = max(float(low), limits[0]), min(float(high), limits[1])
        return Estimate(value, min(value, low), max(value, high))

    def _reach(
        self, values: Float[np.ndarray, " n_trials"], statistic: Statistic, of_stimuli: float
    ) -> float:
        """Return half the interval over subjects, from the variance over stimuli too.

        The variances over stimuli S, over subjects P and over cells C all hold what single cells scatter, X;
        C holds besides it (S - X) / n_subjects and (P - X) / n_stimuli, which gives X.
        """
        if self.left_out is None or self.cells is None:
            return 0.0
        n_subjects, n_stimuli = len(self.left_out), len(np.unique(self.own))
        variance = jackknife_variance(statistic(values, self.left_out))
        if n_subjects > MIN_SUBJECTS:  # the variance of two is too uncertain to take anything away
            scatter = float(statistic(values, self.cells).var())
            scatter -= of_stimuli / n_subjects + variance / n_stimuli
            scatter /= 1 - 1 / n_subjects - 1 / n_stimuli
            variance = max(0.0, variance - max(0.0, scatter))
        return student(self.confidence, n_subjects) * float(np.sqrt(variance))

    def _expanded_tail(self) -> float:
        """Return the share of bootstrap samples beyond each bound, the smaller the fewer stimuli there are."""
        n_stimuli = len(np.unique(self.own))
        if n_stimuli < MIN_SUBJECTS:
            return (1 - self.confidence) / 2
        widening = np.sqrt(n_stimuli / (n_stimuli - 1))
        return float(norm.cdf(-widening * student(self.confidence, n_stimuli)))

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
        return Estimate(float(permuted.mean()), *self._bounds(permuted, (1 - self.confidence) / 2))

    def expected(self, matrix: Float[np.ndarray, "n_trials n_stimuli"]) -> float:
        """Return the mean over all permutations of the mean score, which needs none drawn."""
        return float(matrix[:, np.unique(self.own)].mean())

    @staticmethod
    def _bounds(samples: Float[np.ndarray, " n_samples"], tail: float) -> tuple[float, float]:
        low, high = np.quantile(samples, [tail, 1 - tail])
        return float(low), float(high)


def jackknife_variance(left_out: Float[np.ndarray, " n_subjects"]) -> float:
    """Return the variance of a number from its values with one subject after another left out."""
    return float((len(left_out) - 1) * left_out.var())


def student(confidence: float, n: int) -> float:
    """Return how many standard errors a two-sided interval from n independent things reaches."""
    return float(t.ppf((1 + confidence) / 2, n - 1))


def correlation_interval(
    value: float, left_out: Float[np.ndarray, " n_subjects"], confidence: float
) -> tuple[float, float]:
    """Return Student's interval of a correlation over subjects, made of Fisher's z and turned back.

    Parameters
    ----------
    left_out : Float[np.ndarray, "n_subjects"]
        The correlation with one subject after another left out; at least two.
    """
    z = np.arctanh(np.clip([value, *left_out], -MAX_CORRELATION, MAX_CORRELATION))
    reach = student(confidence, len(left_out)) * np.sqrt(jackknife_variance(z[1:]))
    return float(np.tanh(z[0] - reach)), float(np.tanh(z[0] + reach))


def _bootstrap(unit: Int[np.ndarray, " n_trials"], n_resamples: int, seed: int) -> Weights:
    """Return how often each trial is in bootstrap samples of units."""
    names, of = np.unique(unit, return_inverse=True)
    rng = np.random.default_rng([seed, len(names)])
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_resamples)
    return np.asarray(drawn[:, of], np.float64)


def own_values(
    matrix: Float[np.ndarray, "n_trials n_stimuli"], own: Int[np.ndarray, " n_trials"]
) -> Float[np.ndarray, " n_trials"]:
    """Return what each trial scores against its own stimulus."""
    return np.asarray(matrix[np.arange(len(own)), own])
