"""The linear decoder to beat, in closed form.

Spatial PCA, averaging over bins of time, a ridge encoding model, Ledoit-Wolf whitening of its residuals,
and the posterior mean of what the captions say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from tasks.encoder.baselines.closed_form import (
    ClosedForm,
    SpatialSizes,
    binned,
    fitted,
    shapes_of,
)
from tasks.encoder.caption_scores import vector_scores
from tasks.encoder.dataset import TrainingData
from tasks.encoder.filters import encoding_model
from tasks.encoder.params import LinearParams, TrainParams
from tasks.encoder.preparation import group_index
from tasks.encoder.training import Trained
from tasks.runtime.stored import StoredRows


@dataclass(frozen=True, kw_only=True)
class LinearSizes(SpatialSizes):
    """Everything that decides the shapes of a `LinearEncoder`.

    Attributes
    ----------
    n_scores : int
        Numbers that a stimulus's captions are reduced to.
    """

    n_scores: int


class LinearEncoder(ClosedForm):
    """EEG to one unit vector per caption kind, by one matrix per group.

    Parameters
    ----------
    sizes : LinearSizes
        Shapes; the weights are zeros until they are fitted.
    """

    sizes: LinearSizes
    mean: Tensor
    spatial: Tensor
    decoder: Tensor
    vectors: Tensor
    vectors_mean: Tensor

    def __init__(self, sizes: LinearSizes) -> None:
        super().__init__(sizes)
        groups, components, values = sizes.n_groups, sizes.n_components, sizes.n_kinds * sizes.dim
        self.register_buffer("mean", torch.zeros(groups, sizes.n_channels, sizes.n_times))
        self.register_buffer("spatial", torch.zeros(groups, sizes.n_channels, components))
        self.register_buffer(
            "decoder", torch.zeros(groups, components * sizes.n_bins, sizes.n_scores)
        )
        self.register_buffer("vectors", torch.zeros(sizes.n_scores, values))
        self.register_buffer("vectors_mean", torch.zeros(values))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the vector of each caption kind."""
        centred = eeg - self.mean[group_index]
        components = self.spatial[group_index].transpose(1, 2) @ centred
        values = binned(components, self.sizes.bin_samples)
        scores = (values[:, None] @ self.decoder[group_index])[:, 0]
        return self.as_vectors(scores @ self.vectors + self.vectors_mean)


def train_linear(data: TrainingData, params: TrainParams) -> Trained:
    """Fit the linear decoder on training trials and score it on validation trials.

    Parameters
    ----------
    params : TrainParams
        With the architecture `linear`.
    """
    chosen, per_subject = params.architecture_as(LinearParams), params.per_subject
    stimuli = np.unique(data.train.stimulus_index)
    all_scores = vector_scores(data.targets[stimuli], chosen.n_scores)
    vectors = data.targets[stimuli].reshape(len(stimuli), -1)
    mean = vectors.mean(axis=0)
    module = LinearEncoder(
        LinearSizes(
            n_groups=len(data.subjects) if per_subject else 1,
            n_scores=all_scores.shape[1],
            **shapes_of(data),
            n_components=chosen.n_components,
            bin_samples=chosen.bin_samples,
        )
    )
    groups = group_index(data.train, per_subject=per_subject)
    scores = all_scores[np.searchsorted(stimuli, data.train.stimulus_index)]
    _fit(module, data.train.eeg, groups, scores, chosen.prior_trials)
    back = all_scores.T @ (vectors - mean) / len(stimuli)  # scores are orthonormal
    module.vectors.copy_(torch.from_numpy(back))
    module.vectors_mean.copy_(torch.from_numpy(mean))
    return fitted(module, data, params)


def _fit(
    module: LinearEncoder,
    eeg: StoredRows,
    groups: Int[np.ndarray, " n_trials"],
    all_scores: Float[np.ndarray, "n_trials n_scores"],
    ridge: float,
) -> None:
    """Set the mean, the spatial components and the decoder of every group."""
    for group in range(int(groups.max()) + 1):
        rows = groups == group
        own = eeg[rows]
        mean = own.mean(axis=0)
        centred = own - mean
        spatial = principal_components(centred, module.sizes.n_components)
        components = torch.from_numpy(spatial.T @ centred)
        values = binned(components, module.sizes.bin_samples).numpy().astype(np.float64)
        scores = all_scores[rows]
        weights = encoding_model(scores, values, ridge)
        noise, _ = ledoit_wolf(values - scores @ weights)
        evidence = np.linalg.solve(noise, weights.T)
        precision = weights @ evidence + np.diag(1 / scores.var(axis=0))
        module.mean[group] = torch.from_numpy(mean)
        module.spatial[group] = torch.from_numpy(spatial)
        module.decoder[group] = torch.from_numpy(np.linalg.solve(precision, evidence.T).T)


def principal_components(
    centred: Float[np.ndarray, "n_trials n_channels n_times"], n_components: int
) -> Float[np.ndarray, "n_channels n_components"]:
    """Return the orthonormal spatial patterns that hold most of the variance of centred epochs."""
    samples = centred.transpose(1, 0, 2).reshape(centred.shape[1], -1)
    vectors = np.linalg.eigh((samples @ samples.T).astype(np.float64))[1]
    strongest: np.ndarray = vectors[:, ::-1][:, :n_components].astype(np.float32)
    return np.ascontiguousarray(strongest)
