"""A bound on what single trials of a study of kind "features" can tell: no exact decoder of them is known.

The decoder of the bound knows the subject's response to every picture of the study. Of every trial it is told,
beyond what any decoder could know, what the neighbouring trials evoked, the rhythm, the mains, the eyes and the
amplitude of the background, so that the noise that is left is Gaussian with a known covariance. It does not know
the trial's latencies and gain, nor whether the picture was missed: over these it sums by importance sampling.
Draws come half from what may be expected of any trial, half from what is likely under the picture that was
shown: what is left to chance in the sums then favours the truth, and the bound errs upwards.

It is a bound on evoked responses: what the depth of the induced rhythm and the direction of the eyes tell comes
on top. The amplitude of the background
is taken as constant within a trial and rounded to steps of `STEP`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, special

from tasks.simulation.feature_study import FeatureStudy
from tasks.simulation.features import GROUPS, response_times_s
from tasks.simulation.head import CHANNELS
from tasks.simulation.oracle import bin_matrix

N_NODES = 5
"""Latencies of each group, and gains, that a trial may have: nodes of Gauss-Hermite quadrature."""

N_DRAWS = 64
STEP = 0.1
"""Resolution of the log amplitude of the background."""


@dataclass(frozen=True)
class _Nodes:
    """Combinations of latencies and gain, and the logarithm of how probable each is beforehand."""

    shifts_s: Float[np.ndarray, "n_nodes n_groups"]
    latencies: Int[np.ndarray, "n_combinations n_groups"]
    gains: Float[np.ndarray, " n_gains"]
    log_prior: Float[np.ndarray, "n_combinations n_gains"]


@dataclass(frozen=True)
class _Trial:
    """A trial, or several, under one amplitude of the background.

    Its parts give the logarithm of the likelihood of picture p at latencies k and gain g, less that of no
    response: g * evidence[p, k] - g^2 / 2 * energy[p, k].
    """

    evidence: Float[np.ndarray, "n_pictures n_combinations"]
    energy: Float[np.ndarray, "n_pictures n_combinations"]


def bound_answers(study: FeatureStudy, subject: int, session: int) -> list[str]:
    """Return the concept that the decoder of the bound names on every single trial of a recording.

    Parameters
    ----------
    subject, session : int
        Which recording; its background is drawn again.
    """
    bad = study.bad_channels(subject, session)
    good = np.array([channel not in bad for channel in CHANNELS])
    brain, schedule = study.subject(subject), study.schedule(subject, session)
    trials, nodes = study.trials(subject, session), _nodes(study)
    times_s = response_times_s(study.params.sfreq_hz)
    bins = bin_matrix(len(times_s), study.params)
    group_gains = trials.expected_gains[0] / trials.expected_gains[0, 0]
    moments = brain.moments * group_gains[brain.groups]

    # 1. Turn space and time to where the noise has no covariance, whatever the background's amplitude.
    (space, time), (wide, long), sensor = _noise(study, good, bins)
    gains = space.T @ brain.gains[good]
    courses = np.stack([time.T @ bins.T @ brain.courses(times_s, s).T for s in nodes.shifts_s])
    shown = np.einsum("cd,ktd->kdct", gains, courses).reshape(N_NODES * len(brain.groups), -1)

    # 2. Take the trials of each amplitude together, for they share the filters.
    eeg, amplitude = study.background(subject, session, study.rng("noise", subject, session))
    levels = np.round(np.log(amplitude[schedule.onsets]) / STEP).astype(int)
    rng = study.rng("oracle", subject, session)
    concepts, members = _members(study)
    answers = [""] * len(levels)
    for level in np.unique(levels):
        variance = np.exp(2 * STEP * level) * np.outer(wide, long) + sensor
        filters = shown / variance.reshape(-1)
        energy = _energies(filters @ shown.T, moments, brain.groups, nodes)
        for event in np.flatnonzero(levels == level):
            onset, picture = schedule.onsets[event], schedule.stimuli[event]
            window = eeg[:, onset : onset + len(times_s)] + brain.response(
                picture, times_s, trials.shifts_s[event], trials.group_gains[event]
            )
            found = filters @ (space.T @ window[good] @ bins @ time).reshape(-1)
            evidence = _evidence(found, moments, brain.groups, nodes)
            scale = nodes.gains * trials.expected_gains[event, 0]
            logs = _log_likelihoods(_Trial(evidence, energy), scale, nodes, picture, rng)
            answers[event] = concepts[
                int(np.argmax([special.logsumexp(logs[rows]) for rows in members]))
            ]
    return answers


def _nodes(study: FeatureStudy) -> _Nodes:
    points, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
    brain = study.brain_params
    latencies = np.array(list(product(range(N_NODES), repeat=len(GROUPS))))
    log_weights = np.log(weights / weights.sum())
    jitter_s = np.array(list(brain.jitter_sd_s.model_dump().values()))
    return _Nodes(
        points[:, None] * jitter_s,
        latencies,
        np.exp(brain.gain_sd * points),
        log_weights[latencies].sum(axis=1)[:, None] + log_weights,
    )


def _noise(
    study: FeatureStudy, good: np.ndarray, bins: Float[np.ndarray, "n_times n_bins"]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], float]:
    """Return the principal axes of the background in space and time, its variances there, and the sensors'."""
    n_good, n_bins = int(good.sum()), bins.shape[1]
    space, time = np.zeros((n_good, n_good)), np.eye(n_bins)
    if source := study.noise.get("background"):
        mixing = source.mixing[good]
        space = mixing @ mixing.T
        lags = source.autocovariance(len(bins), study.params.sfreq_hz)
        time = bins.T @ linalg.toeplitz(lags) @ bins
    (wide, in_space), (long, in_time) = linalg.eigh(space), linalg.eigh(time)
    sensor = study.params.noise.sensor_uv**2 * float((bins[:, 0] ** 2).sum())
    variances = np.maximum(wide, 0.0), np.maximum(long, 0.0)
    return (in_space, in_time), variances, sensor


def _energies(
    gram: Float[np.ndarray, "n n"],
    moments: Float[np.ndarray, "n_pictures n_dipoles"],
    groups: Int[np.ndarray, " n_dipoles"],
    nodes: _Nodes,
) -> Float[np.ndarray, "n_pictures n_combinations"]:
    """Return the squared norm, under the noise, of each picture's response at each combination of latencies."""
    energies = np.empty((len(moments), len(nodes.latencies)))
    for column, latencies in enumerate(nodes.latencies):
        rows = latencies[groups] * len(groups) + np.arange(len(groups))
        energies[:, column] = (moments @ gram[np.ix_(rows, rows)] * moments).sum(axis=1)
    return energies


def _evidence(
    found: Float[np.ndarray, " n"],
    moments: Float[np.ndarray, "n_pictures n_dipoles"],
    groups: Int[np.ndarray, " n_dipoles"],
    nodes: _Nodes,
) -> Float[np.ndarray, "n_pictures n_combinations"]:
    """Return how well a trial fits each picture at each combination of latencies."""
    by_node = found.reshape(N_NODES, len(groups))
    evidence = np.zeros((len(moments), len(nodes.latencies)))
    for group in range(len(GROUPS)):
        here = groups == group
        fit = moments[:, here] @ by_node[:, here].T
        evidence += fit[:, nodes.latencies[:, group]]
    return evidence


def _log_likelihoods(
    trial: _Trial,
    gains: Float[np.ndarray, " n_gains"],
    nodes: _Nodes,
    shown: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, " n_pictures"]:
    """Return the log-likelihood of each picture, summed over latencies and gain by importance sampling."""
    prior = np.exp(nodes.log_prior).ravel()
    of_shown = np.outer(trial.evidence[shown], gains) - np.outer(trial.energy[shown], gains**2 / 2)
    proposal = (prior + special.softmax((nodes.log_prior + of_shown).ravel())) / 2
    draws = rng.choice(len(proposal), N_DRAWS, p=proposal / proposal.sum())
    weights = np.log(prior[draws]) - np.log(proposal[draws])
    latency, gain = np.unravel_index(draws, nodes.log_prior.shape)
    g = gains[gain]
    logs = g * trial.evidence[:, latency] - g**2 / 2 * trial.energy[:, latency] + weights
    summed: np.ndarray = special.logsumexp(logs, axis=1)
    return summed


def _members(study: FeatureStudy) -> tuple[list[str], list[Int[np.ndarray, " _"]]]:
    """Return every concept, and the places of its pictures."""
    of_picture = np.array([stimulus.concept for stimulus in study.stimuli.values()])
    concepts = sorted(set(of_picture.tolist()))
    return concepts, [np.flatnonzero(of_picture == concept) for concept in concepts]
