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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf

from tasks.encoder.blocks import Sample, blocks, pooled_moments, total
from tasks.encoder.responses import mean_responses
from tasks.runtime.stored import StoredRows

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
    eeg: StoredRows,
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
    eeg : StoredRows
        Epochs, of which one block is held at a time.
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
        eeg, members, [scores[m] for m in members], ridge, share_of_group
    )
    n_channels, n_times = eeg.shape[1:]
    spaces = _whiteners(
        [_sampled((rest.transpose(0, 2, 1) for _, rest in own), own.n * n_times) for own in noise],
        share_of_group,
        noise_floor,
    )
    times = _whiteners(
        [
            _sampled((space @ rest for _, rest in own), own.n * n_channels)
            for own, space in zip(noise, spaces, strict=True)
        ],
        share_of_group,
        noise_floor,
    )
    evoked = [
        _statistics(own, space @ response @ waves, space, waves)
        for space, own, response in zip(spaces, noise, responses, strict=True)
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


@dataclass(frozen=True)
class _Noise:
    """What captions do not explain of a group's trials, block by block, with what they say; never all at once.

    Attributes
    ----------
    rows : list of numpy.ndarray
        Trials of each block.
    said : numpy.ndarray
        Centred scores of the group's trials.
    mean, response : numpy.ndarray
        Of the group's trials, and to its scores; the response may be 0.
    """

    eeg: StoredRows
    rows: list[Int[np.ndarray, " n_block"]]
    said: Float[np.ndarray, "n_trials n_scores"]
    mean: Float[np.ndarray, "n_channels n_times"]
    response: Float[np.ndarray, "n_scores n_channels n_times"] | None = None

    @property
    def n(self) -> int:
        """Number of trials."""
        return len(self.said)

    def __iter__(self) -> Iterator[tuple[slice, Float[np.ndarray, "n_block n_channels n_times"]]]:
        start = 0
        for rows in self.rows:
            some = slice(start, start + len(rows))
            rest = self.eeg[rows] - self.mean
            if self.response is not None:
                rest -= np.tensordot(self.said[some], self.response, axes=1)
            yield some, rest
            start += len(rows)


def _explain(
    eeg: StoredRows,
    members: list[Int[np.ndarray, " n_trials"]],
    scores: list[Float[np.ndarray, "n_trials n_scores"]],
    ridge: float,
    share_of_group: float,
) -> tuple[list[np.ndarray], list[np.ndarray], list[_Noise]]:
    """Return of each group the epoch where all scores are zero, the responses to scores, and the rest."""
    usual = [own.mean(axis=0) for own in scores]
    said = [own - mean for own, mean in zip(scores, usual, strict=True)]
    rows = [blocks(m, eeg.shape[1:]) for m in members]
    means = [
        total(eeg[block].sum(axis=0, dtype=np.float64) for block in own) / len(m)
        for m, own in zip(members, rows, strict=True)
    ]
    trials = [_Noise(eeg, *parts) for parts in zip(rows, said, means, strict=True)]
    responses = pooled([_response(own, ridge) for own in trials], share_of_group)
    neutral = [
        mean - np.tensordot(own, response, axes=1)
        for mean, own, response in zip(means, usual, responses, strict=True)
    ]
    return (
        neutral,
        responses,
        [replace(own, response=r) for own, r in zip(trials, responses, strict=True)],
    )


def _response(trials: _Noise, ridge: float) -> Float[np.ndarray, "n_scores n_channels n_times"]:
    weights = encoding_weights(trials.said, ridge)
    flat = total(weights[:, some] @ part.reshape(len(part), -1) for some, part in trials)
    response: np.ndarray = flat.reshape(-1, *trials.mean.shape)
    return response


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
    weights: np.ndarray = encoding_weights(scores, ridge) @ responses
    return weights


def encoding_weights(
    scores: Float[np.ndarray, "n_trials n_scores"], ridge: float
) -> Float[np.ndarray, "n_scores n_trials"]:
    """Return what responses are multiplied by for the weights of `encoding_model`."""
    gram = scores.T @ scores
    penalty = ridge * np.trace(gram) / len(scores) / len(gram) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram + penalty, scores.T))


def inverse_square_root(
    covariance: Float[np.ndarray, "n n"],
) -> Float[np.ndarray, "n n"]:
    """Return the symmetric whitening matrix of a covariance of full rank."""
    values, vectors = np.linalg.eigh(covariance)
    root: np.ndarray = (vectors / np.sqrt(values)) @ vectors.T
    return root


def _whiteners(
    samples: list[Float[np.ndarray, "n_samples n_variables"]],
    share_of_group: float,
    noise_floor: float,
) -> list[Float[np.ndarray, "n_variables n_variables"]]:
    """Return the whitener of each group's samples."""
    covariances = pooled([_covariance(own, noise_floor) for own in samples], share_of_group)
    return [inverse_square_root(covariance) for covariance in covariances]


def _sampled(
    parts: Iterable[Float[np.ndarray, "n_block n_samples n_variables"]], n_all: int
) -> Float[np.ndarray, "n_samples n_variables"]:
    sample = Sample(n_all, MAX_COVARIANCE_SAMPLES)
    for part in parts:
        sample.add(part)
    return sample.taken()


def _covariance(
    samples: Float[np.ndarray, "n_samples n_variables"], noise_floor: float
) -> Float[np.ndarray, "n_variables n_variables"]:
    """Return the Ledoit-Wolf covariance of samples, with a floor under its eigenvalues."""
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
    noise: _Noise,
    responses: Float[np.ndarray, "n_scores n_channels n_waves"],
    space: Float[np.ndarray, "n_channels n_channels"],
    waves: Float[np.ndarray, "n_times n_waves"],
) -> _Statistics:
    gram = noise.said.T @ noise.said
    bands = _bands(waves.shape[1])
    samples = [Sample(noise.n * len(band), MAX_COVARIANCE_SAMPLES) for band in bands]
    products, moments = [], []
    for some, rest in noise:
        seen = space @ rest @ waves
        products.append(np.tensordot(noise.said[some].T, seen, axes=1))
        moments.append((len(seen), seen.mean(axis=(0, 1)), seen.var(axis=(0, 1))))
        for sample, band in zip(samples, bands, strict=True):
            sample.add(seen[:, :, band].transpose(0, 2, 1))
    return _Statistics(
        gram,
        total(products) + np.tensordot(gram, responses, axes=1),
        np.sqrt(pooled_moments(moments)[1]),
        [_covariance(sample.taken(), 0.0) for sample in samples],
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
