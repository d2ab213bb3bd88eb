"""Spatial filters of the xDAWN kind and shrinkage LDA over concepts: the classic of ERP decoding.

xDAWN (Rivet et al., 2009) maximises the evoked response over all activity; with many classes, the evoked
response is what the class means differ in. LDA names a concept; to be scored like the rest, its
posterior weighs the mean caption vectors of the concepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import eigh
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from tasks.encoder.baselines.closed_form import (
    ClosedForm,
    SpatialSizes,
    binned,
    fitted,
    shapes_of,
)
from tasks.encoder.dataset import TrainingData
from tasks.encoder.params import TrainParams, XdawnLDAParams
from tasks.encoder.preparation import group_index
from tasks.encoder.training import Trained


@dataclass(frozen=True, kw_only=True)
class LDASizes(SpatialSizes):
    """Everything that decides the shapes of an `LDAEncoder`.

    Attributes
    ----------
    n_concepts : int
        Classes.
    """

    n_concepts: int


class LDAEncoder(ClosedForm):
    """EEG to the mean caption vector of the concepts, weighed by their posterior.

    Parameters
    ----------
    sizes : LDASizes
        Shapes; the weights are zeros until they are fitted.
    """

    sizes: LDASizes
    spatial: Tensor
    weights: Tensor
    intercept: Tensor
    vectors: Tensor

    def __init__(self, sizes: LDASizes) -> None:
        super().__init__(sizes)
        groups, components, concepts = sizes.n_groups, sizes.n_components, sizes.n_concepts
        n_values = components * sizes.n_bins
        self.register_buffer("spatial", torch.zeros(groups, components, sizes.n_channels))
        self.register_buffer("weights", torch.zeros(groups, n_values, concepts))
        self.register_buffer("intercept", torch.full((groups, concepts), -1e4))
        self.register_buffer("vectors", torch.zeros(concepts, sizes.n_kinds * sizes.dim))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the vector of each caption kind."""
        values = binned(self.spatial[group_index] @ eeg, self.sizes.bin_samples)
        energies = (values[:, None] @ self.weights[group_index])[:, 0] + self.intercept[group_index]
        return self.as_vectors(energies.softmax(dim=1) @ self.vectors)


def train_xdawn_lda(data: TrainingData, params: TrainParams) -> Trained:
    """Fit spatial filters and LDA on training trials.

    Parameters
    ----------
    params : TrainParams
        With the architecture `xdawn_lda`.
    """
    chosen, per_subject = params.architecture_as(XdawnLDAParams), params.per_subject
    groups = group_index(data.train, per_subject=per_subject)
    concept_of = np.array(data.concepts)[data.train.stimulus_index]
    concepts, labels = np.unique(concept_of, return_inverse=True)
    module = LDAEncoder(
        LDASizes(
            n_groups=int(groups.max()) + 1,
            n_concepts=len(concepts),
            **shapes_of(data),
            n_components=chosen.n_components,
            bin_samples=chosen.bin_samples,
        )
    )
    vectors = data.targets[data.train.stimulus_index].reshape(len(labels), -1)
    for concept in range(len(concepts)):
        module.vectors[concept] = torch.from_numpy(vectors[labels == concept].mean(axis=0))
    for group in range(module.sizes.n_groups):
        rows = groups == group
        _fit(module, group, data.train.eeg[rows], labels[rows])
    return fitted(module, data, params)


def _fit(
    module: LDAEncoder,
    group: int,
    eeg: Float[np.ndarray, "n n_channels n_times"],
    labels: Int[np.ndarray, " n"],
) -> None:
    """Set one group's filters and the weights of the concepts that it was shown."""
    spatial = _spatial_filters(eeg, labels, module.sizes.n_components)
    values = binned(torch.from_numpy(spatial @ eeg), module.sizes.bin_samples).numpy()
    found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(values, labels)
    weights, intercept = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn keeps the difference of two classes alone
        weights, intercept = (
            np.stack([-weights[0], weights[0]]) / 2,
            np.r_[-intercept, intercept] / 2,
        )
    module.spatial[group] = torch.from_numpy(spatial)
    module.weights[group][:, found.classes_] = torch.from_numpy(weights.T.astype(np.float32))
    module.intercept[group][found.classes_] = torch.from_numpy(intercept.astype(np.float32))


def _spatial_filters(
    eeg: Float[np.ndarray, "n n_channels n_times"], labels: Int[np.ndarray, " n"], n_components: int
) -> Float[np.ndarray, "n_components n_channels"]:
    """Return the filters with the most variance between class means over all variance."""
    centred = eeg - eeg.mean(axis=0)
    means = np.stack([centred[labels == label].mean(axis=0) for label in np.unique(labels)])
    evoked, activity = _covariance(means), _covariance(centred)
    floor = 1e-6 * np.trace(activity) / len(activity) * np.eye(len(activity))
    filters: np.ndarray = eigh(evoked, activity + floor)[1][:, ::-1][:, :n_components]
    return np.ascontiguousarray(filters.T.astype(np.float32))


def _covariance(
    eeg: Float[np.ndarray, "n n_channels n_times"],
) -> Float[np.ndarray, "n_channels n_channels"]:
    samples = eeg.transpose(1, 0, 2).reshape(eeg.shape[1], -1)
    covariance: np.ndarray = (samples @ samples.T).astype(np.float64) / samples.shape[1]
    return covariance
