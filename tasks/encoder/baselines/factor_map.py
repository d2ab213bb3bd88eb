"""The strongest linear decoder known here: an encoding model, and the most probable factors under it.

Spatial PCA, averaging over bins of time, a ridge encoding model from the factors that the captions vary in
(`tasks.encoder.factors`), Ledoit-Wolf whitening of what it leaves, the few directions in which
factors differ, and then, trial by trial, the levels that explain the epoch best together. A sum over
factors cannot be inverted one factor at a time: each is found given the others, in turn (mean field).
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
from tasks.encoder.baselines.linear import principal_components
from tasks.encoder.dataset import TrainingData
from tasks.encoder.factors import caption_factors
from tasks.encoder.filters import inverse_square_root
from tasks.encoder.params import FactorMapParams, TrainParams
from tasks.encoder.preparation import group_index
from tasks.encoder.training import Trained

N_ROUNDS = 8  # over all factors; the sketch of this decoder converged in six


@dataclass(frozen=True, kw_only=True)
class FactorSizes(SpatialSizes):
    """Everything that decides the shapes of a `FactorEncoder`.

    Attributes
    ----------
    n_directions : int
        Directions in which factors differ.
    levels : tuple of int
        Number of levels of each factor.
    """

    n_directions: int
    levels: tuple[int, ...]


class FactorEncoder(ClosedForm):
    """EEG to the caption vectors of the most probable levels of all factors.

    Parameters
    ----------
    sizes : FactorSizes
        Shapes; the weights are zeros until they are fitted.
    """

    sizes: FactorSizes
    mean: Tensor
    spatial: Tensor
    whitener: Tensor
    templates: Tensor
    prior: Tensor
    vectors: Tensor
    vectors_mean: Tensor

    def __init__(self, sizes: FactorSizes) -> None:
        super().__init__(sizes)
        groups, components, levels = sizes.n_groups, sizes.n_components, sum(sizes.levels)
        n_values = components * sizes.n_bins
        self.register_buffer("mean", torch.zeros(groups, sizes.n_channels, sizes.n_times))
        self.register_buffer("spatial", torch.zeros(groups, components, sizes.n_channels))
        self.register_buffer("whitener", torch.zeros(groups, n_values, sizes.n_directions))
        self.register_buffer("templates", torch.zeros(groups, levels, sizes.n_directions))
        self.register_buffer("prior", torch.zeros(levels))
        self.register_buffer("vectors", torch.zeros(levels, sizes.n_kinds * sizes.dim))
        self.register_buffer("vectors_mean", torch.zeros(sizes.n_kinds * sizes.dim))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the vector of each caption kind."""
        found = self.levels(eeg, group_index)
        return self.as_vectors(found @ self.vectors + self.vectors_mean)

    def levels(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_levels"]:
        """Return the probability of every level of every factor, one factor after the other."""
        components = self.spatial[group_index] @ (eeg - self.mean[group_index])
        values = binned(components, self.sizes.bin_samples)
        seen = (values[:, None] @ self.whitener[group_index])[:, 0]
        templates = torch.split(self.templates[group_index], list(self.sizes.levels), dim=1)
        priors = torch.split(self.prior, list(self.sizes.levels))
        found = [prior.exp().expand(len(eeg), -1) for prior in priors]
        evoked = [(q[:, None] @ t)[:, 0] for q, t in zip(found, templates, strict=True)]
        for _ in range(N_ROUNDS):
            for factor, (own, prior) in enumerate(zip(templates, priors, strict=True)):
                others = sum((e for f, e in enumerate(evoked) if f != factor), torch.zeros(()))
                left = seen - others
                energies = (own @ left[:, :, None])[:, :, 0] - 0.5 * own.square().sum(dim=2)
                found[factor] = (energies + prior).softmax(dim=1)
                evoked[factor] = (found[factor][:, None] @ own)[:, 0]
        return torch.cat(found, dim=1)


def train_factor_map(data: TrainingData, params: TrainParams) -> Trained:
    """Fit the encoding model on training trials and score it on validation trials.

    Parameters
    ----------
    params : TrainParams
        With the architecture `factor_map`.
    """
    chosen, per_subject = params.architecture_as(FactorMapParams), params.per_subject
    stimuli = np.unique(data.train.stimulus_index)
    factors = caption_factors(data.texts, data.concepts, stimuli, min_count=chosen.min_word_count)
    levels = tuple(int(factor.max()) + 1 for factor in factors)
    shown = np.concatenate(
        [np.eye(n)[factor] for n, factor in zip(levels, factors, strict=True)], axis=1
    )
    module = FactorEncoder(
        FactorSizes(
            n_groups=len(data.subjects) if per_subject else 1,
            n_directions=min(chosen.n_directions, sum(levels) - len(levels)),
            levels=levels,
            **shapes_of(data),
            n_components=chosen.n_components,
            bin_samples=chosen.bin_samples,
        )
    )
    module.prior.copy_(torch.from_numpy(np.log(shown.mean(axis=0))))
    vectors = data.targets[stimuli].reshape(len(stimuli), -1).astype(np.float64)
    mean = vectors.mean(axis=0)
    said = _penalised(shown, vectors - mean, ridge=1e-3)
    module.vectors.copy_(torch.from_numpy(said))
    module.vectors_mean.copy_(torch.from_numpy(mean))
    groups = group_index(data.train, per_subject=per_subject)
    of_trial = shown[np.searchsorted(stimuli, data.train.stimulus_index)]
    for group in range(module.sizes.n_groups):
        rows = groups == group
        _fit(module, group, data.train.eeg[rows], of_trial[rows], chosen.prior_trials)
    return fitted(module, data, params)


def _fit(
    module: FactorEncoder,
    group: int,
    eeg: Float[np.ndarray, "n n_channels n_times"],
    shown: Float[np.ndarray, "n n_levels"],
    ridge: float,
) -> None:
    """Set one group's components, whitening and templates."""
    mean = eeg.mean(axis=0)
    centred = eeg - mean
    spatial = principal_components(centred, module.sizes.n_components).T
    components = torch.from_numpy(spatial @ centred)
    values = binned(components, module.sizes.bin_samples).numpy().astype(np.float64)
    weights = _penalised(shown, values, ridge)
    whitener = inverse_square_root(ledoit_wolf(values - shown @ weights)[0])
    templates = weights @ whitener
    strength = np.sqrt(shown.mean(axis=0))[:, None]
    directions = np.linalg.svd(strength * templates, full_matrices=False)[2]
    basis = directions[: module.sizes.n_directions].T
    module.mean[group] = torch.from_numpy(mean)
    module.spatial[group] = torch.from_numpy(np.ascontiguousarray(spatial))
    module.whitener[group] = torch.from_numpy(whitener @ basis)
    module.templates[group] = torch.from_numpy(templates @ basis)


def _penalised(
    shown: Float[np.ndarray, "n n_levels"], values: Float[np.ndarray, "n n_values"], ridge: float
) -> Float[np.ndarray, "n_levels n_values"]:
    """Return the values that each level adds, by ridge regression; `ridge` is in trials of a level."""
    gram = shown.T @ shown + ridge * np.eye(shown.shape[1])
    weights: np.ndarray = np.linalg.solve(gram, shown.T @ values)
    return weights
