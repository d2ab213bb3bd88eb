"""A small decoder that is trained anew where a control needs another training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from tasks.controls.noise import Epochs

N_BINS = 8
N_COMPONENTS = 100


def can_learn(labels: Sequence[str]) -> bool:
    """Tell whether `fit_small_decoder` can learn: two labels or more have two trials or more."""
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    return int((counts > 1).sum()) > 1


def fit_small_decoder(
    features: Float[np.ndarray, "n_trials n_features"],
    labels: Sequence[str],
    seed: int,
    n_components: int = N_COMPONENTS,
) -> Pipeline:
    """Fit principal components and a linear discriminant with Ledoit-Wolf shrinkage.

    Parameters
    ----------
    labels : Sequence[str]
        Of which `can_learn` is true.
    n_components : int
        Principal components, at most.
    """
    names, group, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    usual = counts[group] > 1  # a single trial has no covariance
    n_components = min(n_components, int(usual.sum()), features.shape[1])
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    fitted = make_pipeline(
        PCA(n_components, svd_solver="randomized", random_state=seed), discriminant
    )
    with threadpool_limits(1):  # threads cost more than such small matrices give
        return fitted.fit(features[usual], names[group[usual]])


def binned(eeg: Epochs, subjects: Sequence[str]) -> Float[np.ndarray, "n_trials n_features"]:
    """Return the mean of each channel in bins of time, less the mean of the subject.

    Parameters
    ----------
    subjects : Sequence[str]
        One per trial.
    """
    features, of = means_of_bins(eeg, N_BINS), np.asarray(subjects)
    for subject in np.unique(of):
        features[of == subject] -= features[of == subject].mean(axis=0)
    return features


def means_of_bins(eeg: Epochs, n_bins: int) -> Float[np.ndarray, "n_trials n_features"]:
    """Return the mean of each channel in bins of time, as many as there are samples at most."""
    parts = np.array_split(eeg, min(n_bins, eeg.shape[-1]), axis=-1)
    features = np.stack([part.mean(axis=-1) for part in parts], axis=-1)
    return np.asarray(features.reshape(len(eeg), -1), np.float64)
