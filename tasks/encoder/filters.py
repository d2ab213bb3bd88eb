"""Closed-form spatial and temporal filters: what makes single trials legible to a small network.

Single-trial EEG is mostly noise that is correlated over channels and over time. A network that starts
from raw channels spends its few thousand trials on learning that noise. Here its covariance is estimated
in closed form from training trials and divided out (multivariate noise normalisation), and the few
spatial patterns that captions explain are kept as *virtual channels*, aligned over subjects:

1. An encoding model (ridge regression from caption vectors) predicts the evoked response.
2. Its residuals give a spatial and a temporal covariance (Ledoit-Wolf), one pair per subject.
3. Responses are reduced to a few sources (`tasks.encoder.responses`) and divided by the noise of the channels
   at their frequency: a filter for 10 Hz must turn away from the alpha rhythm, one for 3 Hz need not.
4. A joint singular value decomposition of what all subjects have then finds spatial patterns with a common
   time course and a common meaning; each subject has its own filters for them.

All of it is reckoned in double precision. The search for sources makes differences of its input ten
thousand times larger: in single precision, each processor would find filters of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf

from tasks.encoder.responses import mean_responses

WAVES_PER_BAND = 4  # neighbouring cosines whose noise is taken for alike
N_STARTS = 2  # of the search for sources: enough to choose channels
MAX_COVARIANCE_SAMPLES = 60_000  # more change the estimate by less than its own error


@dataclass(frozen=True)
class Filters:
    """Linear filters of one subject, or of a group that shares them.

    Attributes
    ----------
    mean : numpy.ndarray
        Mean epoch where all scores are zero, in the unit of the epochs.
    spatial : numpy.ndarray
        Unit-noise virtual channels from channels.
    temporal : numpy.ndarray
        Symmetric whitening in time.
    """

    mean: Float[np.ndarray, "n_channels n_times"]
    spatial: Float[np.ndarray, "n_channels n_virtual"]
    temporal: Float[np.ndarray, "n_times n_times"]

    def apply(
        self, eeg: Float[np.ndarray, "n_trials n_channels n_times"]
    ) -> Float[np.ndarray, "n_trials n_virtual n_times"]:
        """Return virtual channels, whose noise has unit variance and is white."""
        virtual: np.ndarray = self.spatial.T @ (eeg - self.mean) @ self.temporal
        return virtual


def fit_filters(
    eeg: Float[np.ndarray, "n_trials n_channels n_times"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    groups: Int[np.ndarray, " n_trials"],
    *,
    n_virtual: int,
    n_sources: int,
    ridge: float,
    share_of_group: float,
    noise_floor: float,
    waves: Float[np.ndarray, "n_times n_waves"],
) -> list[Filters]:
    """Fit the filters of every group on training trials.

    Parameters
    ----------
    scores : numpy.ndarray
        What their captions say, centred.
    groups : numpy.ndarray
        0, 1, ...: whose filters a trial shares, usually its subject.
    n_sources : int
        Number of sources that the responses are put down to.
    ridge : float
        Penalty of the encoding model, in trials.
    share_of_group : float
        Weight of all groups' mean in each group's responses and covariances, from 0 to 1.
    noise_floor : float
        Share of the mean channel variance that is added to every channel's noise: bounds the gain of
        directions with little noise.
    waves : numpy.ndarray
        Time courses that count in the choice of virtual channels.
    """
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    means, responses, noise = _explain(
        [eeg[m] for m in members], [scores[m] for m in members], ridge, share_of_group
    )
    spaces = _whiteners([part.transpose(0, 2, 1) for part in noise], share_of_group, noise_floor)
    times = _whiteners(
        [space @ part for space, part in zip(spaces, noise, strict=True)],
        share_of_group,
        noise_floor,
    )
    evoked = [
        _statistics(
            scores[m] - scores[m].mean(axis=0), space @ response @ waves, space, part, waves
        )
        for m, space, part, response in zip(members, spaces, noise, responses, strict=True)
    ]
    spread = scores.std(axis=0)[:, None, None]
    cleared = [spread * response for response in _cleared(evoked, n_sources, share_of_group)]
    patterns = _common_patterns(cleared, n_virtual)
    return [
        Filters(mean, space @ pattern, time)
        for mean, space, pattern, time in zip(means, spaces, patterns, times, strict=True)
    ]


def n_cosines(n_times: int, sfreq_hz: float, low_pass_hz: float) -> int:
    """Return how many cosines over an epoch lie at or below a frequency: at least one, at most all."""
    return int(np.clip(np.floor(2 * low_pass_hz * n_times / sfreq_hz), 1, n_times - 1))


def cosines(n_times: int, n: int) -> Float[np.ndarray, "n_times n"]:
    """Return the slowest cosines of an epoch that are not constant, of unit norm."""
    angles = np.pi / n_times * (np.arange(n_times) + 0.5)
    waves = np.cos(angles[:, None] * np.arange(1, n + 1))
    unit: np.ndarray = waves * np.sqrt(2 / n_times)
    return unit


def _explain(
    trials: list[Float[np.ndarray, "n_trials n_channels n_times"]],
    scores: list[Float[np.ndarray, "n_trials n_scores"]],
    ridge: float,
    share_of_group: float,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Return of each group the epoch where all scores are zero, the responses to scores, and the rest."""
    usual = [own.mean(axis=0) for own in scores]
    said = [own - mean for own, mean in zip(scores, usual, strict=True)]
    means = [part.mean(axis=0, dtype=np.float64) for part in trials]
    noise = [part - mean for part, mean in zip(trials, means, strict=True)]
    responses = pooled(
        [
            encoding_model(own, part.reshape(len(part), -1), ridge).reshape(-1, *part.shape[1:])
            for own, part in zip(said, noise, strict=True)
        ],
        share_of_group,
    )
    for own, part, response in zip(said, noise, responses, strict=True):
        part -= np.tensordot(own, response, axes=1)
    neutral = [
        mean - np.tensordot(own, response, axes=1)
        for mean, own, response in zip(means, usual, responses, strict=True)
    ]
    return neutral, responses, noise


def pooled(parts: list[np.ndarray], share_of_group: float) -> list[np.ndarray]:
    """Move every array towards the mean of all."""
    mean = sum(parts) / len(parts)
    return [share_of_group * mean + (1 - share_of_group) * part for part in parts]


def encoding_model(
    scores: Float[np.ndarray, "n_trials n_scores"],
    responses: Float[np.ndarray, "n_trials n_features"],
    ridge: float,
) -> Float[np.ndarray, "n_scores n_features"]:
    """Return ridge weights that predict responses from scores; `ridge` is in trials."""
    gram = scores.T @ scores
    penalty = ridge * np.trace(gram) / len(scores) / len(gram) * np.eye(len(gram))
    weights: np.ndarray = np.linalg.solve(gram + penalty, scores.T) @ responses
    return weights


def inverse_square_root(
    covariance: Float[np.ndarray, "n n"],
) -> Float[np.ndarray, "n n"]:
    """Return the symmetric whitening matrix of a covariance of full rank."""
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = (vectors / np.sqrt(values)) @ vectors.T
    return root


def _whiteners(
    noise: list[Float[np.ndarray, "n_trials n_samples n_variables"]],
    share_of_group: float,
    noise_floor: float,
) -> list[Float[np.ndarray, "n_variables n_variables"]]:
    """Return the whitener of each group's last axis."""
    covariances = pooled([_covariance(part, noise_floor) for part in noise], share_of_group)
    return [inverse_square_root(covariance) for covariance in covariances]


def _covariance(
    noise: Float[np.ndarray, "n_trials n_samples n_variables"], noise_floor: float
) -> Float[np.ndarray, "n_variables n_variables"]:
    """Return the Ledoit-Wolf covariance of the last axis, with a floor under its eigenvalues."""
    samples = noise.reshape(-1, noise.shape[-1])
    samples = samples[:: -(-len(samples) // MAX_COVARIANCE_SAMPLES)].astype(np.float64)
    covariance, _ = ledoit_wolf(samples, assume_centered=True)
    floor = noise_floor * np.trace(covariance) / len(covariance)
    raised: np.ndarray = covariance + floor * np.eye(len(covariance))
    return raised


class _Statistics(NamedTuple):
    """What whitened trials of a group say, seen through cosines.

    Attributes
    ----------
    gram, product : numpy.ndarray
        Products of scores, and of scores and trials, summed over trials.
    size : numpy.ndarray
        Standard deviation of the noise.
    covariances : list of numpy.ndarray
        Of the noise of channels, in each band.
    """

    gram: Float[np.ndarray, "n_scores n_scores"]
    product: Float[np.ndarray, "n_scores n_channels n_waves"]
    size: Float[np.ndarray, " n_waves"]
    covariances: list[Float[np.ndarray, "n_channels n_channels"]]


def _bands(n_waves: int) -> list[Int[np.ndarray, " _"]]:
    return np.array_split(np.arange(n_waves), max(1, n_waves // WAVES_PER_BAND))


def _statistics(
    scores: Float[np.ndarray, "n_trials n_scores"],
    responses: Float[np.ndarray, "n_scores n_channels n_waves"],
    space: Float[np.ndarray, "n_channels n_channels"],
    noise: Float[np.ndarray, "n_trials n_channels n_times"],
    waves: Float[np.ndarray, "n_times n_waves"],
) -> _Statistics:
    seen, gram = space @ noise @ waves, scores.T @ scores
    return _Statistics(
        gram,
        np.tensordot(scores.T, seen, axes=1) + np.tensordot(gram, responses, axes=1),
        seen.std(axis=(0, 1)),
        [_covariance(seen[:, :, band].transpose(0, 2, 1), 0.0) for band in _bands(waves.shape[1])],
    )


def _cleared(
    groups: list[_Statistics], n_sources: int, share_of_group: float
) -> list[Float[np.ndarray, "n_scores n_channels n_waves"]]:
    """Return each group's responses of a few sources, divided by the noise at their frequency.

    Other groups' trials count `share_of_group`.
    """
    size = np.mean([own.size for own in groups], axis=0)
    gram = np.sum([own.gram for own in groups], axis=0)
    product = np.sum([own.product for own in groups], axis=0)
    inverses = [
        np.linalg.inv(pooled(list(band), share_of_group))
        for band in zip(*(own.covariances for own in groups), strict=True)
    ]
    found = []
    for place, own in enumerate(groups):
        response = size * mean_responses(
            share_of_group * gram + (1 - share_of_group) * own.gram,
            (share_of_group * product + (1 - share_of_group) * own.product) / size,
            n_sources=n_sources,
            n_starts=N_STARTS,
        )
        for band, inverse in zip(_bands(len(size)), inverses, strict=True):
            response[:, :, band] = inverse[place] @ response[:, :, band]
        found.append(response)
    return found


def _common_patterns(
    responses: list[Float[np.ndarray, "n_scores n_channels n_times"]], n_virtual: int
) -> list[Float[np.ndarray, "n_channels n_virtual"]]:
    """Return, per group, orthonormal spatial patterns whose time courses agree over groups."""
    flat = [r.transpose(1, 0, 2).reshape(r.shape[1], -1) for r in responses]
    stacked = np.concatenate(flat)
    values, vectors = np.linalg.eigh(stacked @ stacked.T)
    strongest = vectors[:, ::-1][:, :n_virtual] * np.sqrt(values[::-1][:n_virtual])
    strongest *= signs(strongest)
    parts = np.split(strongest, len(responses))
    return [_orthonormal(part) for part in parts]


def signs(vectors: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Return the sign that each column must be multiplied by, lest rounding decide which way it points.

    A column then has a positive product with a fixed vector, to which none is orthogonal but by accident.
    """
    fixed = np.cos(np.arange(1, len(vectors) + 1))
    return np.where(fixed @ vectors < 0, -1.0, 1.0)


def _orthonormal(matrix: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Return the nearest matrix with orthonormal columns."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    nearest: np.ndarray = left @ right
    return nearest
