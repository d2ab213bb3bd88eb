"""The Bayes-optimal decoder of a simulated recording: the ceiling that no encoder can beat.

It knows what only the simulation can know: the subject's true response to every level of every
factor, and the exact covariance of the noise. A trial is modelled as the sum of one response per
factor, the common response and Gaussian noise; each factor is answered by the level of the highest
posterior probability, summed over all levels of the other factors (all equally likely beforehand).

It is exact up to three points: blinks are treated as Gaussian noise of their true covariance, the
EEG is averaged over short bins, and every trial is taken alone, so that the overlap of responses
in rapid presentation counts as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg

from tasks.simulation.design import StudyParams
from tasks.simulation.factor_study import FactorStudy, response_times_s
from tasks.simulation.head import CHANNELS

N_TRIALS_AT_ONCE = 64


def decode(
    study: FactorStudy, subject: int, session: int, eeg: Float[np.ndarray, "n_channels n_times"]
) -> Int[np.ndarray, "n_events n_factors"]:
    """Answer every factor on every single trial of a recording.

    Parameters
    ----------
    study : FactorStudy
        The truth about the brains and the noise.
    subject, session : int
        Which recording `eeg` is.
    eeg : numpy.ndarray
        Its continuous potential in uV.

    Returns
    -------
    numpy.ndarray
        The most probable level per event and factor, factors in the order of `FACTORS`.
    """
    bad = study.bad_channels(subject, session)
    good = np.array([channel not in bad for channel in CHANNELS])
    brain = study.subject(subject)
    times_s = response_times_s(study.params.sfreq_hz)
    bins = bin_matrix(len(times_s), study.params)

    # 1. What each level adds to a trial, and the filter that is optimal for it under the noise.
    levels = [_flatten(t, good, bins) for t in brain.templates(times_s).values()]
    common = _flatten(brain.common.response(brain.head, times_s), good, bins)
    templates = np.concatenate(levels)
    factor = linalg.cho_factor(noise_covariance(study, good, bins), lower=True, overwrite_a=True)
    filters = linalg.cho_solve(factor, templates.T)

    # 2. The log-likelihood of a combination is a sum of one term per level less half its energy.
    edges = np.cumsum([len(level) for level in levels])[:-1]
    energy = _energy(templates @ filters, [len(level) for level in levels])
    onsets = study.schedule(subject, session).onsets
    answers = []
    for some in np.array_split(onsets, -(-len(onsets) // N_TRIALS_AT_ONCE)):
        trials = np.stack([eeg[:, o : o + len(times_s)] for o in some])
        evidence = (_flatten(trials, good, bins) - common) @ filters
        answers.append(_posterior_modes(np.split(evidence, edges, axis=1), energy))
    return np.concatenate(answers)


def bin_matrix(n_times: int, params: StudyParams) -> Float[np.ndarray, "n_times n_bins"]:
    """Return the matrix that averages over bins of `oracle_bin_s`."""
    width = max(1, round(params.oracle_bin_s * params.sfreq_hz))
    n_bins = n_times // width
    bins = np.zeros((n_times, n_bins))
    bins[np.arange(n_bins * width), np.repeat(np.arange(n_bins), width)] = 1 / width
    return bins


def _flatten(
    potentials: Float[np.ndarray, "n n_channels n_times"],
    good: np.ndarray,
    bins: Float[np.ndarray, "n_times n_bins"],
) -> Float[np.ndarray, "n n_values"]:
    binned: np.ndarray = (potentials[:, good] @ bins).reshape(len(potentials), -1)
    return binned


def noise_covariance(
    study: FactorStudy, good: np.ndarray, bins: Float[np.ndarray, "n_times n_bins"]
) -> Float[np.ndarray, "n_values n_values"]:
    """Return the exact covariance of the noise in a binned trial, in uV^2.

    Parameters
    ----------
    study : FactorStudy
        Layout and amplitudes of the noise.
    good : numpy.ndarray
        Whether each channel is used.
    bins : numpy.ndarray
        The matrix that turns samples into bins.
    """
    n_channels, n_bins = int(good.sum()), bins.shape[1]
    covariance = np.zeros((n_channels, n_bins, n_channels, n_bins))

    def add(space: np.ndarray, time: np.ndarray) -> None:
        for row in range(n_channels):
            covariance[row] += time[:, None, :] * space[row][None, :, None]

    add(study.params.noise.sensor_uv**2 * np.eye(n_channels), bins.T @ bins)
    for source in study.noise.values():
        lags = source.autocovariance(len(bins), study.params.sfreq_hz)
        mixing = source.mixing[good]
        add(mixing @ mixing.T, bins.T @ linalg.toeplitz(lags) @ bins)
    return covariance.reshape(n_channels * n_bins, n_channels * n_bins)


def _energy(gram: Float[np.ndarray, "n n"], n_levels: list[int]) -> np.ndarray:
    """Return half the squared norm, under the noise, of every combination of levels."""
    starts = np.cumsum([0, *n_levels[:-1]])
    combinations = np.indices(n_levels, sparse=True)
    chosen = [start + levels for start, levels in zip(starts, combinations, strict=True)]
    halves: np.ndarray = 0.5 * sum(gram[a, b] for a in chosen for b in chosen)
    return halves


def _posterior_modes(
    evidence: list[Float[np.ndarray, "n_trials _"]], energy: np.ndarray
) -> Int[np.ndarray, "n_trials n_factors"]:
    """Return the level of the highest marginal posterior for each factor."""
    logs = -np.broadcast_to(energy, (len(evidence[0]), *energy.shape)).astype(np.float64)
    for axis, terms in enumerate(evidence):
        shape = [len(terms)] + [1] * energy.ndim
        shape[axis + 1] = terms.shape[1]
        logs += terms.reshape(shape)
    logs -= logs.max(axis=tuple(range(1, logs.ndim)), keepdims=True)
    posterior = np.exp(logs)
    return np.stack(list(_marginal_modes(posterior)), axis=1)


def _marginal_modes(posterior: np.ndarray) -> Iterator[np.ndarray]:
    for axis in range(1, posterior.ndim):
        others = tuple(a for a in range(1, posterior.ndim) if a != axis)
        yield posterior.sum(axis=others).argmax(axis=1)
