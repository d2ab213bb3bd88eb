"""What encoders have beside their caption heads: a head for pictures, and a classifier of concepts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, kw_only=True)
class ReadoutSizes:
    """What decides the shapes of the readouts; the sizes of an encoder that has any add to it.

    Attributes
    ----------
    image_dim : int
        Length of the vectors of pictures; 0 for no image head.
    n_image_levels : int
        Levels of the image target that are mixed, with learned weights; 1 for the first alone.
    image_projection : int
        Length to which EEG and picture are projected; 0 for no projection.
    n_concepts : int
        Classes of the classifier; 0 for none.
    """

    image_dim: int = 0
    n_image_levels: int = 1
    image_projection: int = 0
    n_concepts: int = 0


class Projection(nn.Module):
    """NICE's projector, one per kind: a residual layer and a layer norm.

    Parameters
    ----------
    n_kinds, dim : int
        Caption kinds and length of their vectors.
    """

    def __init__(self, n_kinds: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.n_kinds = n_kinds
        self.weight = nn.Parameter(torch.randn(n_kinds, dim, dim) / dim**0.5)
        self.bias = nn.Parameter(torch.zeros(n_kinds, 1, dim))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, first: Float[Tensor, "n values"]) -> Float[Tensor, "n n_kinds dim"]:
        """Return one vector per trial and kind."""
        hidden = first.reshape(len(first), self.n_kinds, -1).transpose(0, 1)
        found = self.dropout(F.gelu(hidden) @ self.weight + self.bias)
        projected: Tensor = self.norm(hidden + found).transpose(0, 1)
        return projected


class ImageHead(nn.Module):
    """From latents to the vector of the picture, and from the levels of a picture's target to that vector.

    Parameters
    ----------
    n_latents : int
        What the head reads.
    sizes : ReadoutSizes
        Shapes.
    """

    def __init__(self, n_latents: int, sizes: ReadoutSizes, dropout: float) -> None:
        super().__init__()
        dim = sizes.image_dim
        self.project = nn.Sequential(nn.Linear(n_latents, dim), Projection(1, dim, dropout))
        self.mix = nn.Parameter(torch.zeros(sizes.n_image_levels))
        self.of_eeg: nn.Module = nn.Identity()
        self.of_picture: nn.Module = nn.Identity()
        if sizes.image_projection:
            self.of_eeg = nn.Linear(dim, sizes.image_projection)
            self.of_picture = nn.Linear(dim, sizes.image_projection)

    def forward(self, latents: Float[Tensor, "n n_latents"]) -> Float[Tensor, "n dim"]:
        """Return one vector per trial."""
        vectors: Tensor = self.of_eeg(self.project(latents)[:, 0])
        return vectors

    def pictures(self, levels: Float[Tensor, "n n_levels dim"]) -> Float[Tensor, "n dim"]:
        """Return the unit vector that stands for each picture: levels mixed, then projected."""
        mixed = torch.einsum("l,nld->nd", self.mix.softmax(dim=0), levels[:, : len(self.mix)])
        return F.normalize(self.of_picture(mixed), dim=1)


class WithReadouts(nn.Module):
    """An encoder that may have an image head and a classifier beside its caption heads.

    Attributes
    ----------
    image_head : ImageHead or None
        None where pictures are no target.
    classifier : torch.nn.Linear or None
        None where the loss has no cross-entropy.
    """

    image_head: ImageHead | None
    classifier: nn.Linear | None

    def add_readouts(self, n_latents: int, sizes: ReadoutSizes, dropout: float) -> None:
        """Add the readouts that the sizes name; the others are None."""
        self.image_head = ImageHead(n_latents, sizes, dropout) if sizes.image_dim else None
        self.classifier = nn.Linear(n_latents, sizes.n_concepts) if sizes.n_concepts else None

    def read(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_latents"]:
        """Return what the readouts read of epochs."""
        raise NotImplementedError

    def images(
        self, eeg: Float[Tensor, "n n_channels n_times"], group_index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n image_dim"]:
        """Predict the unit vector of the picture; there must be an image head."""
        assert self.image_head is not None
        return F.normalize(self.image_head(self.read(eeg, group_index)), dim=1)
