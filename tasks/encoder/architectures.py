"""The architectures that `train.architecture` chooses among: how each is trained, and built anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from tasks.encoder.baselines.closed_form import ClosedFormSizes
from tasks.encoder.baselines.linear import LinearEncoder, LinearSizes, train_linear
from tasks.encoder.baselines.network import (
    BACKBONES,
    NetworkEncoder,
    NetworkSizes,
    prepare_network,
)
from tasks.encoder.baselines.ridge import RidgeEncoder, train_ridge
from tasks.encoder.baselines.xdawn_lda import LDAEncoder, LDASizes, train_xdawn_lda
from tasks.encoder.dataset import TrainingData, TrainingDataError
from tasks.encoder.params import TrainParams
from tasks.encoder.preparation import fit_closed_form
from tasks.encoder.resumption import SavedRun
from tasks.encoder.st_transformer import Sizes, STTransformer
from tasks.encoder.training import Trained, train_contrastive


@dataclass(frozen=True)
class Architecture:
    """How one architecture is made.

    Attributes
    ----------
    module, sizes : type
        The module, and the dataclass that decides its shapes.
    train : callable
        From data, params and a place for the state to the trained module.
    """

    module: Callable[[Any], nn.Module]
    sizes: Callable[..., Any]
    train: Callable[[TrainingData, TrainParams, SavedRun], Trained]

    def build(self, sizes: Mapping[str, Any]) -> nn.Module:
        """Build the module without its weights."""
        return self.module(self.sizes(**sizes))


def _train_st_transformer(data: TrainingData, params: TrainParams, saved: SavedRun) -> Trained:
    return train_contrastive(data, params, saved, fit_closed_form)


def _train_network(data: TrainingData, params: TrainParams, saved: SavedRun) -> Trained:
    return train_contrastive(data, params, saved, prepare_network)


def _fitted(
    fit: Callable[[TrainingData, TrainParams], Trained],
) -> Callable[[TrainingData, TrainParams, SavedRun], Trained]:
    """Return a closed-form fit as a training that needs no saved state."""

    def train(data: TrainingData, params: TrainParams, _: SavedRun) -> Trained:
        if data.images is not None or not params.target.text:
            raise TrainingDataError(
                f"{params.architecture.name} learns captions alone: train.target must be text: 1 and "
                "image: 0 with it. Set them, or choose another train.architecture."
            )
        return fit(data, params)

    return train


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "st_transformer": Architecture(STTransformer, Sizes, _train_st_transformer),
        "linear": Architecture(LinearEncoder, LinearSizes, _fitted(train_linear)),
        "ridge": Architecture(RidgeEncoder, ClosedFormSizes, _fitted(train_ridge)),
        "xdawn_lda": Architecture(LDAEncoder, LDASizes, _fitted(train_xdawn_lda)),
        **{name: Architecture(NetworkEncoder, NetworkSizes, _train_network) for name in BACKBONES},
    }
)
"""Name to architecture."""
