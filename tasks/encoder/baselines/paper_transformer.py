"""The method of the paper (arXiv 2507.07157) as it is told there: attention over space and over time.

The paper names the parts (self-attention over channels, self-attention over time, one projection head per caption
kind, a contrastive loss) and no sizes; those below are chosen here. Everything begins at random
weights: nothing is fitted in closed form.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.baselines.shapes import EpochShape

WIDTH, N_HEADS, N_LAYERS, DROPOUT = 64, 4, 2, 0.25
PATCH_S = 0.1  # of time, a token of temporal attention


class PaperTransformer(nn.Module):
    """Channels attend to one another, patches of time attend to one another, both are read."""

    def __init__(self, epoch: EpochShape) -> None:
        super().__init__()
        self.patch = epoch.samples(PATCH_S)
        n_patches = -(-epoch.n_times // self.patch)
        self.over_channels = Attention(epoch.n_channels, epoch.n_times)
        self.over_time = Attention(n_patches, epoch.n_channels * self.patch)

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n n_tokens width"]:
        """Return every channel and every patch in the light of the others."""
        padded = F.pad(eeg, (0, -eeg.shape[2] % self.patch))
        patches = padded.unfold(2, self.patch, self.patch).permute(0, 2, 1, 3).flatten(2)
        return torch.cat([self.over_channels(eeg), self.over_time(patches)], dim=1)


class Attention(nn.Module):
    """Tokens with learned positions, and layers of self-attention over them.

    Parameters
    ----------
    n_values : int
        Numbers in a token.
    """

    def __init__(self, n_tokens: int, n_values: int) -> None:
        super().__init__()
        self.embed = nn.Linear(n_values, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(n_tokens, WIDTH))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, N_HEADS, 2 * WIDTH, DROPOUT, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(N_LAYERS)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(
        self, tokens: Float[Tensor, "n n_tokens n_values"]
    ) -> Float[Tensor, "n n_tokens width"]:
        """Let every token look at every other."""
        hidden = self.embed(tokens) + self.position
        for layer in self.layers:
            hidden = layer(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


def paper_transformer(epoch: EpochShape) -> nn.Module:
    """Build it."""
    return PaperTransformer(epoch)
