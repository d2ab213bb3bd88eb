"""The paper's encoder: attention over space and over time, one projection head per caption kind.

The paper (arXiv 2507.07157, Methods) names the parts and no sizes. Here they stand on closed-form
filters (`tasks.encoder.filters`) and latents (`tasks.encoder.latents`): attention adds to the latents
what a linear decoder cannot see, starting from nothing, so that training begins at the linear decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.readouts import ReadoutSizes, WithReadouts


@dataclass(frozen=True)
class Sizes(ReadoutSizes):
    """Everything that decides the shapes of an `STTransformer`.

    Attributes
    ----------
    n_groups : int
        Sets of filters: one per subject, or one for all.
    n_channels, n_times : int
        Of an epoch.
    n_kinds, dim : int
        Caption kinds and length of their vectors.
    n_virtual : int
        Virtual channels, the tokens of spatial attention.
    patch_samples : int
        Length of a patch of time, the tokens of temporal attention.
    n_latents : int
        Latents that the heads read.
    width, n_layers, n_attention_heads : int
        Of each of the two attention stacks.
    head_width, n_slots : int
        Hidden units of each projection head, and slots of its memory.
    dropout : float
        In attention stacks and heads.
    """

    n_groups: int
    n_channels: int
    n_times: int
    n_kinds: int
    dim: int
    n_virtual: int
    patch_samples: int
    n_latents: int
    width: int
    n_layers: int
    n_attention_heads: int
    head_width: int
    n_slots: int
    dropout: float


class STTransformer(WithReadouts):
    """EEG to one unit vector per caption kind.

    Parameters
    ----------
    sizes : Sizes
        Shapes; the filters are zeros until they are set by `tasks.encoder.training`.
    """

    spatial: Tensor
    temporal: Tensor
    offset: Tensor
    projection: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        groups, virtual, times = sizes.n_groups, sizes.n_virtual, sizes.n_times
        self.register_buffer("spatial", torch.zeros(groups, sizes.n_channels, virtual))
        self.register_buffer("temporal", torch.zeros(groups, times, times))
        self.register_buffer("offset", torch.zeros(groups, virtual, times))
        self.register_buffer("projection", torch.zeros(groups, virtual * times, sizes.n_latents))
        self.spatial_attention = AttentionStack(virtual, times, sizes)
        n_patches = -(-times // sizes.patch_samples)
        self.temporal_attention = AttentionStack(n_patches, virtual * sizes.patch_samples, sizes)
        self.residual = nn.Linear(n_patches * sizes.width, sizes.n_latents)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)
        self.heads = ProjectionHeads(sizes)
        self.add_readouts(sizes.n_latents, sizes, sizes.dropout)

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],
    ) -> Float[Tensor, "n n_kinds dim"]:
        """Predict the unit vector of each caption kind."""
        return F.normalize(self.heads(self.read(eeg, group_index)), dim=2)

    def read(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_latents"]:
        """Return the latents of epochs."""
        return self.latents(self.virtual_channels(eeg, group_index), group_index)

    def undecayed(self) -> set[nn.Parameter]:
        """Return matrices that weight decay must leave alone: the memory, set in closed form."""
        return {self.heads.keys, self.heads.key_bias, self.heads.linear}

    def virtual_channels(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_virtual n_times"]:
        """Apply the filters of each trial's group."""
        filters = self.spatial[group_index].transpose(1, 2)
        virtual: Tensor = filters @ eeg @ self.temporal[group_index] - self.offset[group_index]
        return virtual

    def latents(
        self, virtual: Float[Tensor, "n n_virtual n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_latents"]:
        """Project linearly, and add what attention over space, then over time, finds beside."""
        in_every_group = virtual.flatten(1) @ self.projection
        linear = in_every_group[group_index, torch.arange(len(virtual), device=virtual.device)]
        tokens = self.spatial_attention.unembed(self.spatial_attention(virtual))
        found = self.temporal_attention(self._patches(virtual + tokens))
        latents: Tensor = linear + self.residual(found.flatten(1))
        return latents

    def _patches(
        self, virtual: Float[Tensor, "n n_virtual n_times"]
    ) -> Float[Tensor, "n n_patches values"]:
        missing = -virtual.shape[2] % self.sizes.patch_samples
        patches = F.pad(virtual, (0, missing)).unfold(
            2, self.sizes.patch_samples, self.sizes.patch_samples
        )
        return patches.permute(0, 2, 1, 3).flatten(2)


class AttentionStack(nn.Module):
    """Tokens of one kind, their positions, and layers of self-attention over them.

    Parameters
    ----------
    n_tokens, n_values : int
        Number of tokens and of values in each.
    sizes : Sizes
        Width, depth, attention heads and dropout.
    """

    def __init__(self, n_tokens: int, n_values: int, sizes: Sizes) -> None:
        super().__init__()
        self.embed = nn.Linear(n_values, sizes.width)
        self.position = nn.Parameter(0.02 * torch.randn(n_tokens, sizes.width))
        self.layers = nn.ModuleList(AttentionLayer(sizes) for _ in range(sizes.n_layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.unembed = nn.Linear(sizes.width, n_values)

    def forward(
        self, tokens: Float[Tensor, "n n_tokens n_values"]
    ) -> Float[Tensor, "n n_tokens width"]:
        """Return the tokens in the light of one another."""
        hidden = self.embed(tokens) + self.position
        for layer in self.layers:
            hidden = layer(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward net, each behind a layer norm and beside a skip.

    Parameters
    ----------
    sizes : Sizes
        Width, attention heads and dropout.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.n_attention_heads = sizes.n_attention_heads
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(sizes.width),
            nn.Linear(sizes.width, 2 * sizes.width),
            nn.GELU(),
            nn.Linear(2 * sizes.width, sizes.width),
        )
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(
        self, hidden: Float[Tensor, "n n_tokens width"]
    ) -> Float[Tensor, "n n_tokens width"]:
        """Let every token look at every other."""
        queries, keys, values = (
            part.unflatten(2, (self.n_attention_heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(hidden)).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        hidden = hidden + self.dropout(self.out(seen))
        result: Tensor = hidden + self.dropout(self.feed_forward(hidden))
        return result


class ProjectionHeads(nn.Module):
    """One head per caption kind, from the latents to a unit vector.

    A head attends to the slots of its memory and adds a linear map of the latents, both set in closed form
    (`tasks.encoder.caption_memory`), and what a small network makes of them, which begins at nothing.

    Parameters
    ----------
    sizes : Sizes
        Kinds, latents, slots, hidden units, length of the vectors, dropout.
    """

    values: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        kinds, latents, hidden, dim = sizes.n_kinds, sizes.n_latents, sizes.head_width, sizes.dim
        self.keys = nn.Parameter(torch.zeros(kinds, latents, sizes.n_slots))
        self.key_bias = nn.Parameter(torch.zeros(kinds, 1, sizes.n_slots))
        self.register_buffer("values", torch.zeros(kinds, sizes.n_slots, dim))
        self.first = nn.Parameter(torch.randn(kinds, latents, hidden) / (3 * latents) ** 0.5)
        self.first_bias = nn.Parameter(torch.zeros(kinds, 1, hidden))
        self.second = nn.Parameter(torch.zeros(kinds, hidden, dim))
        self.linear = nn.Parameter(torch.zeros(kinds, latents, dim))
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, latents: Float[Tensor, "n n_latents"]) -> Float[Tensor, "n n_kinds dim"]:
        """Return one vector per trial and kind."""
        attention = (latents @ self.keys + self.key_bias).softmax(dim=2)
        hidden = self.dropout(F.gelu(latents @ self.first + self.first_bias))
        predicted = attention @ self.values + hidden @ self.second + latents @ self.linear
        vectors: Tensor = predicted.transpose(0, 1)
        return vectors
