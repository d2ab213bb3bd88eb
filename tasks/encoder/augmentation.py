"""Varying training trials: all of it on virtual channels or latents, whole batches at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tasks.encoder.params import AugmentationParams

SYNTHETIC_NOISE = (
    1.08  # of latents on held-out trials, whose noise the closed form set to 1 in training
)


@dataclass(frozen=True)
class EncodingModel:
    """What latents the captions of a stimulus evoke.

    Attributes
    ----------
    scores : torch.Tensor
        What the captions of each training stimulus say.
    stimuli : torch.Tensor
        Their indices among all stimuli.
    templates : torch.Tensor
        Latents of a unit score, per group.
    """

    scores: Float[Tensor, "n_train n_scores"]
    stimuli: Int[Tensor, " n_train"]
    templates: Float[Tensor, "n_groups n_scores n_latents"]

    def to(self, device: torch.device) -> EncodingModel:
        """Return the same on a device."""
        return EncodingModel(
            self.scores.to(device), self.stimuli.to(device), self.templates.to(device)
        )

    def draw(self, n: int) -> tuple[Float[Tensor, "n n_latents"], Int[Tensor, " n"]]:
        """Draw latents of random training stimuli in random groups, with noise, and their stimuli."""
        device = self.scores.device
        rows = torch.randint(len(self.stimuli), (n,), device=device)
        groups = torch.randint(len(self.templates), (n,), device=device)
        evoked = torch.einsum("ns,nsl->nl", self.scores[rows], self.templates[groups])
        return evoked + SYNTHETIC_NOISE * torch.randn_like(evoked), self.stimuli[rows]


def find_mates(
    subject_index: Int[Tensor, " n_trials"], stimulus_index: Int[Tensor, " n_trials"]
) -> Int[Tensor, " n_trials"]:
    """Return for each trial the next presentation of its stimulus to its subject, in a circle."""
    key = subject_index * (int(stimulus_index.max()) + 1) + stimulus_index
    order = torch.argsort(key, stable=True)
    in_order = key[order]
    following = torch.roll(order, -1)
    starts = torch.searchsorted(in_order, in_order)
    is_last = torch.ones(len(key), dtype=torch.bool)
    is_last[:-1] = in_order[1:] != in_order[:-1]
    following[is_last] = order[starts[is_last]]
    mates = torch.empty_like(order)
    mates[order] = following
    return mates


def vary(
    chosen: Float[Tensor, "n n_virtual n_times"],
    mates: Float[Tensor, "n n_virtual n_times"] | None,
    params: AugmentationParams,
) -> Float[Tensor, "n n_virtual n_times"]:
    """Return trials averaged with a repetition, shifted, noisier, with silenced channels.

    Parameters
    ----------
    mates : torch.Tensor or None
        A repetition of each; None where `repetition_mix` is 0.
    """
    n, _, n_times = chosen.shape
    device = chosen.device
    if mates is not None:
        mixed = torch.rand(n, device=device) < params.repetition_mix
        chosen = torch.where(mixed[:, None, None], 0.5 * (chosen + mates), chosen)
    if params.time_shift_samples:
        largest = params.time_shift_samples
        shifts = torch.randint(-largest, largest + 1, (n, 1), device=device)
        places = (torch.arange(n_times, device=device) + shifts).clamp(0, n_times - 1)
        chosen = chosen.gather(2, places[:, None].expand_as(chosen))
    if params.smoothing:
        size = params.smoothing_samples
        padded = F.pad(chosen, (size // 2, size // 2), mode="replicate")
        smooth = torch.rand(n, 1, 1, device=device) < params.smoothing
        chosen = torch.where(smooth, F.avg_pool1d(padded, size, stride=1), chosen)
    if params.noise:
        chosen = chosen + params.noise * torch.randn_like(chosen)
    if params.channel_dropout:
        heard = torch.rand(*chosen.shape[:2], 1, device=device) >= params.channel_dropout
        chosen = chosen * heard / (1 - params.channel_dropout)
    return chosen
