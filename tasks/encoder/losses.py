"""The contrastive loss: symmetric InfoNCE in which equal captions are not each other's negatives."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SOFT_TEMPERATURE = 0.05  # of the likeness of captions: cosines of paraphrases lie that near 1


def symmetric_info_nce(
    predicted: Float[Tensor, "n_kinds n dim"],
    targets: Float[Tensor, "n_kinds n dim"],
    same: Bool[Tensor, "n_kinds n n"],
    log_scale: Float[Tensor, " n_kinds"],
    softness: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of finding captions by EEG and EEG by captions.

    Parameters
    ----------
    predicted, targets : torch.Tensor
        Unit vectors of the EEG and of the captions.
    same : torch.Tensor
        Which captions of the batch say the same; a trial's positives share its probability evenly.
    log_scale : torch.Tensor
        Logarithm of the inverse temperature of each kind.
    softness : float
        Share of the probability that a trial's positives give to captions like them, at
        `SOFT_TEMPERATURE`: near duplicates are wrong, but less wrong than others.
    """
    logits = predicted @ targets.transpose(1, 2) * log_scale.exp()[:, None, None]
    wanted = same / same.sum(dim=2, keepdim=True)
    likeness = targets @ targets.transpose(1, 2) / SOFT_TEMPERATURE if softness else None
    by_caption = -(_softened(wanted, likeness, softness, 1) * logits.log_softmax(dim=1))
    by_eeg = -(_softened(wanted, likeness, softness, 2) * logits.log_softmax(dim=2))
    return 0.5 * (by_eeg.sum(dim=2).mean() + by_caption.sum(dim=1).mean())


def _softened(
    wanted: Float[Tensor, "n_kinds n n"],
    likeness: Float[Tensor, "n_kinds n n"] | None,
    softness: float,
    dim: int,
) -> Float[Tensor, "n_kinds n n"]:
    """Give a share of the probability to captions by their likeness; it sums to one along `dim`."""
    if likeness is None:
        return wanted
    return (1 - softness) * wanted + softness * likeness.softmax(dim=dim)


def same_captions(
    vectors: Float[Tensor, "n_stimuli n_kinds dim"], duplicate_cosine: float
) -> Bool[Tensor, "n_kinds n_stimuli n_stimuli"]:
    """Tell which stimuli's captions of a kind say the same: a cosine of at least `duplicate_cosine`."""
    by_kind = vectors.transpose(0, 1)
    cosines: Tensor = by_kind @ by_kind.transpose(1, 2)
    return cosines >= duplicate_cosine


@torch.no_grad()
def recall_at_1(
    predicted: Float[Tensor, "n_kinds n dim"],
    targets: Float[Tensor, "n_kinds n_stimuli dim"],
    same: Bool[Tensor, "n_kinds n_stimuli n_stimuli"],
    stimuli: Int[Tensor, " n"],
) -> Float[Tensor, " n_kinds"]:
    """Return how often the nearest of the shown stimuli's captions says the same as the trial's own.

    Parameters
    ----------
    predicted : torch.Tensor
        Unit vectors of the EEG.
    targets, same : torch.Tensor
        Captions of all stimuli, and which of them say the same.
    stimuli : torch.Tensor
        Shown in each trial; together, the gallery.
    """
    gallery = torch.unique(stimuli)
    cosines = predicted @ targets[:, gallery].transpose(1, 2)
    nearest = gallery[cosines.argmax(dim=2)]
    kinds = torch.arange(len(targets))[:, None]
    return same[kinds, stimuli[None, :], nearest].float().mean(dim=1)
