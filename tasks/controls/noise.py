"""Noise that has the mean and the covariance of a subject's epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

Epochs = Float32[np.ndarray, "n_trials n_channels n_times"]
MAX_NOISE_SOURCES = 400
"""Training epochs per subject that noise is mixed from."""


def gaussian_noise(
    training_eeg: Epochs, training_subjects: Sequence[str], subjects: Sequence[str], seed: int
) -> Epochs:
    """Draw noise with the mean and the covariance over channels and times of a subject's epochs.

    Random sums of centred training epochs have exactly their covariance. A subject without training epochs
    gets noise of everybody's.

    Parameters
    ----------
    subjects : Sequence[str]
        Subject of each trial to draw.
    seed : int
        Same seed, same noise.
    """
    rng = np.random.default_rng(seed)
    known, wanted = np.asarray(training_subjects), np.asarray(subjects)
    noise = np.empty((len(wanted), *training_eeg.shape[1:]), np.float32)
    for subject in np.unique(wanted):
        own = np.flatnonzero(known == subject)
        chosen = own if len(own) else rng.permutation(len(known))
        sources = training_eeg[chosen[:MAX_NOISE_SOURCES]]
        mean, rows = sources.mean(axis=0), np.flatnonzero(wanted == subject)
        weights = rng.standard_normal((len(rows), len(sources)), np.float32)
        centred = (sources - mean).reshape(len(sources), -1)
        mixed = weights @ centred / np.sqrt(max(1, len(sources) - 1))
        noise[rows] = mean + mixed.reshape(len(rows), *mean.shape)
    return noise
