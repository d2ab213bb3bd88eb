"""NICE (Song et al., ICLR 2024, arXiv 2308.13234): a temporal and a spatial convolution.

Kernels are as long in seconds as at the paper's 250 Hz: 25 samples, averaged over 51 every 5. The paper
averages what the temporal convolution gives; both are linear, so here the EEG is averaged first and
the convolution is done only where the result is wanted: the same numbers from a sixth of the arithmetic,
as matrix products.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder.baselines.shapes import EpochShape

N_FILTERS = 40
DROPOUT = 0.5


class TSConv(nn.Module):
    """Temporal convolution, mean over windows, spatial convolution over all channels."""

    def __init__(self, epoch: EpochShape) -> None:
        super().__init__()
        self.kernel, self.stride = epoch.samples(0.1), epoch.samples(0.02)
        self.window = min(epoch.samples(0.204), epoch.n_times - self.kernel + 1)
        self.temporal = nn.Linear(self.kernel, N_FILTERS)
        self.temporal_norm = nn.BatchNorm1d(N_FILTERS)
        self.spatial = nn.Linear(epoch.n_channels * N_FILTERS, N_FILTERS)
        self.spatial_norm = nn.BatchNorm1d(N_FILTERS)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(N_FILTERS, N_FILTERS)

    def forward(
        self,
        eeg: Float[Tensor, "n n_channels n_times"],
        group_index: Int[Tensor, " n"],  # noqa: ARG002  (the same weights for everybody)
    ) -> Float[Tensor, "n n_windows n_filters"]:
        """Return the filters' outputs per window."""
        smooth = F.avg_pool1d(eeg, self.window, stride=1)
        windows = smooth.unfold(2, self.kernel, self.stride).transpose(1, 2)
        filtered = self.temporal(windows)
        filtered = F.elu(self.temporal_norm(filtered.flatten(0, 2)).view_as(filtered))
        mixed = self.spatial(filtered.flatten(2))
        mixed = F.elu(self.spatial_norm(mixed.flatten(0, 1)).view_as(mixed))
        found: Tensor = self.out(self.dropout(mixed))
        return found


def nice(epoch: EpochShape) -> nn.Module:
    """Build it."""
    return TSConv(epoch)
