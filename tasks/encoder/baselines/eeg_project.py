"""EEGProject (Wu et al., 2025, arXiv 2503.04207, "Uncertainty-aware Blur Prior"): the whole epoch, flattened.

One linear map, a residual layer and a layer norm follow, which are the projection heads of every network
here; so nothing is left for the backbone to do. UBP, NeuroBridge, SAMGA and CognitionCapturerPro use it.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from tasks.encoder.baselines.shapes import EpochShape


class Flat(nn.Module):
    """The epoch as it is."""

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n values"]:
        """Return every sample of every channel."""
        return eeg.flatten(1)


def eeg_project(epoch: EpochShape) -> nn.Module:  # noqa: ARG001  (any shape is flattened)
    """Build it."""
    return Flat()
