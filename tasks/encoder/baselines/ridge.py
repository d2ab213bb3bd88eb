"""Ridge regression from epochs to caption vectors: the decoder of many fMRI studies, on EEG."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from torch import Tensor

from tasks.encoder.baselines.closed_form import (
    ClosedForm,
    ClosedFormSizes,
    binned,
    fitted,
    shapes_of,
)
from tasks.encoder.blocks import blocks
from tasks.encoder.dataset import TrainingData
from tasks.encoder.params import RidgeParams, TrainParams
from tasks.encoder.preparation import group_index
from tasks.encoder.training import Trained

N_FOLDS = 5


class RidgeEncoder(ClosedForm):
    """EEG to one unit vector per caption kind, by one matrix per group.

    Parameters
    ----------
    sizes : ClosedFormSizes
        Shapes; the weights are zeros until they are fitted.
    """

    weights: Tensor
    intercept: Tensor

    def __init__(self, sizes: ClosedFormSizes) -> None:
        super().__init__(sizes)
        n_values = sizes.n_channels * sizes.n_bins
        n_targets = sizes.n_kinds * sizes.dim
        self.register_buffer("weights", torch.zeros(sizes.n_groups, n_values, n_targets))
        self.register_buffer("intercept", torch.zeros(sizes.n_groups, n_targets))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the vector of each caption kind."""
        values = binned(eeg, self.sizes.bin_samples)
        predicted = torch.empty(len(eeg), self.weights.shape[2])
        for group in range(self.sizes.n_groups):
            rows = group_index == group
            predicted[rows] = values[rows] @ self.weights[group] + self.intercept[group]
        return self.as_vectors(predicted)


def train_ridge(data: TrainingData, params: TrainParams) -> Trained:
    """Fit ridge regression, its penalty by cross-validation over training stimuli.

    Folds hold whole stimuli out: presentations of one picture on both sides would favour too small a
    penalty.

    Parameters
    ----------
    params : TrainParams
        With the architecture `ridge`.
    """
    chosen, per_subject = params.architecture_as(RidgeParams), params.per_subject
    groups = group_index(data.train, per_subject=per_subject)
    module = RidgeEncoder(
        ClosedFormSizes(
            n_groups=int(groups.max()) + 1,
            bin_samples=chosen.bin_samples,
            **shapes_of(data),
        )
    )
    eeg = data.train.eeg
    parts = [
        binned(torch.from_numpy(eeg[rows]), chosen.bin_samples).numpy()
        for rows in blocks(np.arange(len(eeg)), eeg.shape[1:])
    ]
    values = np.concatenate(parts)
    targets = data.targets[data.train.stimulus_index].reshape(len(values), -1)
    for group in range(module.sizes.n_groups):
        rows = groups == group
        stimuli = data.train.stimulus_index[rows]
        _fit(module, group, values[rows], targets[rows], stimuli, chosen.alphas)
    return fitted(module, data, params)


def _fit(
    module: RidgeEncoder,
    group: int,
    values: Float[np.ndarray, "n n_values"],
    targets: Float[np.ndarray, "n n_targets"],
    stimuli: Int[np.ndarray, " n"],
    alphas: tuple[float, ...],
) -> None:
    """Set one group's weights, folding the standardisation of the values into them."""
    mean, scale = values.mean(axis=0), values.std()
    search = GridSearchCV(
        Ridge(),
        {"alpha": [alpha * values.shape[1] for alpha in alphas]},
        cv=GroupKFold(min(N_FOLDS, len(np.unique(stimuli)))),
        scoring="neg_mean_squared_error",
    )
    search.fit((values - mean) / scale, targets, groups=stimuli)
    weights = search.best_estimator_.coef_.T / scale
    module.weights[group] = torch.from_numpy(weights)
    module.intercept[group] = torch.from_numpy(search.best_estimator_.intercept_ - mean @ weights)
