"""ATM (Li et al., NeurIPS 2024, arXiv 2403.07721): attention over channels, then NICE's convolutions.

Each channel's time course is a token, as in an iTransformer, beside one token that says whose EEG it is;
one layer of four heads, a feed-forward net of 256 and dropout 0.25, as in the published code.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tasks.encoder.baselines.nice import TSConv
from tasks.encoder.baselines.shapes import EpochShape

N_HEADS = 4


class ATM(nn.Module):
    """Channels attend to one another; a temporal-spatial convolution reads the result."""

    def __init__(self, epoch: EpochShape) -> None:
        super().__init__()
        width = -(-epoch.n_times // N_HEADS) * N_HEADS
        self.embed = nn.Linear(epoch.n_times, width)
        self.subject = nn.Embedding(epoch.n_groups, width)
        self.position = nn.Parameter(0.02 * torch.randn(epoch.n_channels + 1, width))
        self.attention = nn.TransformerEncoderLayer(
            width, N_HEADS, dim_feedforward=256, dropout=0.25, activation="gelu", batch_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.convolution = TSConv(replace(epoch, n_times=width))

    def forward(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_windows n_filters"]:
        """Return the convolution's outputs per window."""
        tokens = torch.cat([self.subject(group_index)[:, None], self.embed(eeg)], dim=1)
        seen = self.norm(self.attention(tokens + self.position))
        found: Tensor = self.convolution(seen[:, 1:], group_index)
        return found


def atm(epoch: EpochShape) -> nn.Module:
    """Build it."""
    return ATM(epoch)
