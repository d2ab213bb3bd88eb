"""A published network as an encoder: its features, and one projection head per caption kind.

Every network is given the same things: each subject's channels standardised on training trials, the same
batches, augmentation, loss, optimiser and schedule as the `st_transformer`, and the same choice of the
epoch on validation trials. Only what lies between the epoch and the heads differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.augmentation import find_mates
from tasks.encoder.baselines.atm import atm
from tasks.encoder.baselines.braindecode import atcnet, deep4, eegconformer, eegnet, shallow
from tasks.encoder.baselines.channelnet import channelnet
from tasks.encoder.baselines.eeg_project import eeg_project
from tasks.encoder.baselines.nice import nice
from tasks.encoder.baselines.paper_transformer import paper_transformer
from tasks.encoder.baselines.shapes import EpochShape
from tasks.encoder.blocks import blocks, pooled_moments
from tasks.encoder.dataset import TrainingData
from tasks.encoder.params import NetworkBaselineParams, TrainParams
from tasks.encoder.preparation import (
    Prepared,
    group_index,
    image_levels,
    readout_sizes,
    rows_of,
)
from tasks.encoder.readouts import (
    Projection,
    ReadoutSizes,
    WithReadouts,
)
from tasks.runtime.stored import StoredRows

BACKBONES: Mapping[str, Callable[[EpochShape], nn.Module]] = MappingProxyType(
    {
        "paper_transformer": paper_transformer,
        "nice": nice,
        "atm": atm,
        "eeg_project": eeg_project,
        "channelnet": channelnet,
        "eegnet": eegnet,
        "eegconformer": eegconformer,
        "atcnet": atcnet,
        "shallow": shallow,
        "deep4": deep4,
    }
)
"""Architecture to a function that builds it, giving features of any shape."""

STILL = 1e-6
"""Share of the loudest channel's standard deviation below which a channel stands still."""


@dataclass(frozen=True)
class NetworkSizes(ReadoutSizes):
    """Everything that decides the shapes of a `NetworkEncoder`.

    Attributes
    ----------
    backbone : str
        One of `BACKBONES`.
    n_groups : int
        Sets of means and scales: one per subject, or one for all.
    n_channels, n_times : int
        Of an epoch.
    sfreq_hz : float
        Its sampling rate: published kernels are as long in seconds as published.
    n_kinds, dim : int
        Caption kinds and length of their vectors.
    dropout : float
        In the heads.
    """

    backbone: str
    n_groups: int
    n_channels: int
    n_times: int
    sfreq_hz: float
    n_kinds: int
    dim: int
    dropout: float

    @property
    def epoch(self) -> EpochShape:
        """What the backbone is built for."""
        return EpochShape(self.n_channels, self.n_times, self.sfreq_hz, self.n_groups)


class NetworkEncoder(WithReadouts):
    """EEG to one unit vector per caption kind, by a published network.

    Parameters
    ----------
    sizes : NetworkSizes
        Shapes; means are 0 and scales 1 until `standardise_by` sets them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.register_buffer("mean", torch.zeros(sizes.n_groups, sizes.n_channels, 1))
        self.register_buffer("scale", torch.ones(sizes.n_groups, sizes.n_channels, 1))
        self.backbone = BACKBONES[sizes.backbone](sizes.epoch)
        n_features = self._count_features()
        self.heads = nn.Sequential(
            nn.Linear(n_features, sizes.n_kinds * sizes.dim),
            Projection(sizes.n_kinds, sizes.dim, sizes.dropout),
        )
        self.add_readouts(n_features, sizes, sizes.dropout)

    @torch.no_grad()
    def _count_features(self) -> int:
        """Return the number of features of one epoch, by a look that changes no weight."""
        epoch, was_training = self.sizes.epoch, self.backbone.training
        silence = torch.zeros(2, epoch.n_channels, epoch.n_times)
        n_features = self.backbone.eval()(silence, torch.zeros(2, dtype=torch.int64)).flatten(1)
        self.backbone.train(was_training)
        return int(n_features.shape[1])

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the unit vector of each caption kind."""
        return F.normalize(self.heads(self.read(eeg, group_index)), dim=2)

    def read(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_features"]:
        """Return the features of epochs."""
        return self.latents(self.signal(eeg, group_index), group_index)

    def signal(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_channels n_times"]:
        """Standardise channels by their group's training trials."""
        standard: Tensor = (eeg - self.mean[group_index]) / self.scale[group_index]
        return standard

    def latents(
        self, signal: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_features"]:
        """Return the features of standardised epochs."""
        features: Tensor = self.backbone(signal, group_index).flatten(1)
        return features

    def undecayed(self) -> set[nn.Parameter]:
        """Return matrices that weight decay must leave alone: none."""
        return set()

    @torch.no_grad()
    def standardise_by(self, eeg: StoredRows, groups: Int[np.ndarray, " n"]) -> None:
        """Take the mean and the standard deviation of every channel from training trials."""
        for group in range(self.sizes.n_groups):
            moments = []
            for rows in blocks(np.flatnonzero(groups == group), eeg.shape[1:]):
                own = eeg[rows]
                moments.append((len(own), own.mean(axis=(0, 2)), own.var(axis=(0, 2))))
            mean, variance = pooled_moments(moments)
            self.mean[group] = torch.from_numpy(mean)[:, None]
            scale = np.sqrt(variance)[:, None]
            scale[scale <= STILL * scale.max()] = 1.0  # a channel that stands still says nothing
            self.scale[group] = torch.from_numpy(scale)


def _begin_small(deviation: float, module: nn.Module) -> None:
    """Draw normal weights, as NICE's code does for convolutions, linear layers and batch norms."""
    if isinstance(module, (nn.Linear, nn.Conv2d, Projection)):
        nn.init.normal_(module.weight, 0.0, deviation)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0, deviation)
        nn.init.zeros_(module.bias)


def prepare_network(data: TrainingData, params: TrainParams) -> tuple[NetworkEncoder, Prepared]:
    """Build the network that `params` names, and standardise all trials once.

    Parameters
    ----------
    params : TrainParams
        `architecture`, `target`, `objective`, `optimiser.initial_sd` and `per_subject`.

    Returns
    -------
    module : NetworkEncoder
        With random weights.
    prepared : Prepared
        For the training loop.
    """
    chosen, per_subject = params.architecture_as(NetworkBaselineParams), params.per_subject
    groups = group_index(data.train, per_subject=per_subject)
    module = NetworkEncoder(
        NetworkSizes(
            backbone=chosen.name,
            n_groups=len(data.subjects) if per_subject else 1,
            n_channels=data.train.eeg.shape[1],
            n_times=data.train.eeg.shape[2],
            sfreq_hz=data.info.sfreq_hz,
            n_kinds=data.targets.shape[1],
            dim=data.targets.shape[2],
            dropout=chosen.dropout,
            **readout_sizes(data, params),
        )
    )
    if params.optimiser.initial_sd is not None:
        module.apply(partial(_begin_small, params.optimiser.initial_sd))
    module.standardise_by(data.train.eeg, groups)
    targets = torch.from_numpy(data.targets)
    signal_of = partial(_standardised, module.mean.clone(), module.scale.clone())
    train = rows_of(data.train, groups, signal_of)
    return module, Prepared(
        train,
        rows_of(data.validation, group_index(data.validation, per_subject=per_subject), signal_of),
        find_mates(torch.from_numpy(data.train.subject_index), train.stimuli),
        None,
        targets.transpose(0, 1).contiguous(),
        image_levels(data),
        torch.from_numpy(data.concept_index),
    )


def _standardised(
    mean: Tensor, scale: Tensor, eeg: Float[np.ndarray, "n n_channels n_times"], groups: np.ndarray
) -> Float[np.ndarray, "n n_channels n_times"]:
    standard: np.ndarray = (eeg - mean.numpy()[groups]) / scale.numpy()[groups]
    return standard
