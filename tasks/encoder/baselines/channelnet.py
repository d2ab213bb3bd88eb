"""ChannelNet (Palazzo et al., 2021, "Decoding brain representations by multimodal learning", section 3.1).

As in the authors' code (EEGChannelNet), which Thought2Text and others use for EEGCVPR: four temporal
convolutions of dilations 1, 2, 4, 8 and 16 along time, four spatial ones of decreasing height across channels,
residual blocks that halve the map, and a last convolution. Its kernels are in samples, as published, for
epochs of 440 samples at 1 kHz; shorter epochs get as many residual blocks as they have room for.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tasks.encoder.baselines.shapes import EpochShape

N_TEMPORAL, N_SPATIAL, N_OUT = 10, 50, 50  # filters of each convolution
KERNEL, STRIDE, DILATIONS = 33, 2, (1, 2, 4, 8, 16)
N_SPATIAL_LAYERS, N_BLOCKS = 4, 4


def _convolution(n_in: int, n_out: int, kernel: tuple[int, int], **more: object) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, bias=True, **more),  # type: ignore[arg-type]
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two convolutions of 3 x 3 beside a skip, then one that halves the map."""

    def __init__(self, n_filters: int) -> None:
        super().__init__()
        self.two = nn.Sequential(
            nn.Conv2d(n_filters, n_filters, 3, padding=1),
            nn.BatchNorm2d(n_filters),
            nn.ReLU(),
            nn.Conv2d(n_filters, n_filters, 3, padding=1),
            nn.BatchNorm2d(n_filters),
        )
        self.halve = _convolution(n_filters, n_filters, (3, 3), stride=(2, 2), padding=(1, 1))

    def forward(self, maps: Float[Tensor, "n filters h w"]) -> Float[Tensor, "n filters h2 w2"]:
        """Return the halved map."""
        halved: Tensor = self.halve(nn.functional.relu(maps + self.two(maps)))
        return halved


class ChannelNet(nn.Module):
    """Dilated convolutions along time, then across channels, then residual blocks."""

    def __init__(self, epoch: EpochShape) -> None:
        super().__init__()
        kernel = min(KERNEL, epoch.n_times // 2 * 2 - 1)
        self.temporal = nn.ModuleList(
            _convolution(
                1,
                N_TEMPORAL,
                (1, kernel),
                stride=(1, STRIDE),
                dilation=(1, dilation),
                padding=(0, dilation * (kernel - 1) // 2),
            )
            for dilation in DILATIONS
        )
        heights = [max(1, epoch.n_channels // 2**k | 1) for k in range(N_SPATIAL_LAYERS)]
        self.spatial = nn.ModuleList(
            _convolution(
                N_TEMPORAL * len(DILATIONS),
                N_SPATIAL,
                (height, 1),
                stride=(STRIDE, 1),
                padding=((height - 1) // 2, 0),
            )
            for height in heights
        )
        side = min(epoch.n_channels, epoch.n_times) // 2
        n_blocks = min(N_BLOCKS, max(1, side.bit_length() - 2))
        n_filters = N_SPATIAL * N_SPATIAL_LAYERS
        self.blocks = nn.Sequential(*(Residual(n_filters) for _ in range(n_blocks)))
        self.out = _convolution(n_filters, N_OUT, (3, 3), padding=(1, 1))

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n filters h w"]:
        """Return the last map."""
        in_time = torch.cat([layer(eeg[:, None]) for layer in self.temporal], dim=1)
        in_space = torch.cat([layer(in_time) for layer in self.spatial], dim=1)
        maps: Tensor = self.out(self.blocks(in_space))
        return maps


def channelnet(epoch: EpochShape) -> nn.Module:
    """Build it."""
    return ChannelNet(epoch)
