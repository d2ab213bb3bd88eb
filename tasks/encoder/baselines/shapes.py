"""What a network is built for, and kernels that keep their published length in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochShape:
    """An epoch, and who may have been recorded.

    Attributes
    ----------
    n_channels, n_times : int
        Its shape.
    sfreq_hz : float
        Its sampling rate.
    n_groups : int
        Subjects with weights of their own, where a network has such.
    """

    n_channels: int
    n_times: int
    sfreq_hz: float
    n_groups: int

    def samples(self, seconds: float) -> int:
        """Return a duration in samples, at least one and at most the epoch."""
        return min(self.n_times, max(1, round(seconds * self.sfreq_hz)))
