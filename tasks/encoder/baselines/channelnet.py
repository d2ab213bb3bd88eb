"""ChannelNet (Palazzo et al., IEEE TPAMI 2021, "Decoding brain representations by multimodal learning").

The layers and their sizes are those of the authors' code (EEGChannelNet), which Thought2Text and others use for
EEGCVPR: convolutions along time in four dilations side by side, convolutions across channels in four heights
side by side, residual blocks that halve the map, and a last convolution. Kernels are in samples, for 440 at
1 kHz. An epoch that is too short or has too few channels for four blocks gets as many as it has room for.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.baselines.shapes import EpochShape

N_TEMPORAL, N_SPATIAL, N_OUT = 10, 50, 50  # filters of each convolution
KERNEL, DILATIONS = 33, (1, 2, 4, 8)
N_HEIGHTS, N_BLOCKS = 4, 4
DROPOUT = 0.2


class ChannelNet(nn.Module):
    """Dilated convolutions along time, then across channels, then residual blocks."""

    def __init__(self, epoch: EpochShape) -> None:
        super().__init__()
        kernel = min(KERNEL, (epoch.n_times - 1) // 2 * 2 + 1)
        self.temporal = nn.ModuleList(
            _layer(1, N_TEMPORAL, (1, kernel), (1, 2), (0, d * (kernel - 1) // 2), (1, d))
            for d in DILATIONS
        )
        heights = [max(1, epoch.n_channels // (i + 1)) for i in range(N_HEIGHTS)]
        self.spatial = nn.ModuleList(
            _layer(N_TEMPORAL * len(DILATIONS), N_SPATIAL, (h, 1), (2, 1), ((h - 1) // 2, 0))
            for h in heights
        )
        n_filters = N_SPATIAL * N_HEIGHTS
        size = ((epoch.n_channels + 1) // 2, (epoch.n_times + 1) // 2)
        blocks: list[nn.Module] = []
        while len(blocks) < N_BLOCKS and min(size) >= 7:  # so that 3 are left for the last layer
            blocks.append(
                nn.Sequential(Residual(n_filters), _layer(n_filters, n_filters, (3, 3), (2, 2)))
            )
            size = ((size[0] - 1) // 2, (size[1] - 1) // 2)
        self.blocks = nn.Sequential(*blocks)
        padding = (1, 1) if min(size) < 3 else (0, 0)
        self.out = _layer(n_filters, N_OUT, (3, 3), (1, 1), padding)

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n n_filters height width"]:
        """Return the last map."""
        in_time = torch.cat([layer(eeg[:, None]) for layer in self.temporal], dim=1)
        in_space = [layer(in_time) for layer in self.spatial]
        height = min(found.shape[2] for found in in_space)  # even kernels lose a row
        joined = torch.cat([found[:, :, :height] for found in in_space], dim=1)
        found: Tensor = self.out(self.blocks(joined))
        return found


class Residual(nn.Module):
    """Two convolutions of 3 x 3 beside a skip."""

    def __init__(self, n_filters: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_filters),
            nn.ReLU(),
            nn.Conv2d(n_filters, n_filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_filters),
        )

    def forward(self, maps: Float[Tensor, "n f h w"]) -> Float[Tensor, "n f h w"]:
        """Return a map of the same size."""
        return F.relu(maps + self.layers(maps))


def _layer(
    n_in: int,
    n_out: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(n_in),
        nn.ReLU(),
        nn.Conv2d(n_in, n_out, kernel, stride, padding, dilation),
        nn.Dropout2d(DROPOUT),
    )


def channelnet(epoch: EpochShape) -> nn.Module:
    """Build it."""
    return ChannelNet(epoch)
