"""The terms of the loss: symmetric InfoNCE, mean squared error and maximum mean discrepancy."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

TRIALS_AT_ONCE = 4096  # whose products are held at once
SOFT_TEMPERATURE = 0.05  # of the likeness of captions: cosines of paraphrases lie that near 1
MAX_LOG_SCALE = math.log(100.0)  # as in CLIP
KERNEL_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the discrepancy, in mean squared distances


def logit_scale(
    parameter: Float[Tensor, " n_kinds"], map: Literal["exp", "softplus", "raw"]
) -> Float[Tensor, " n_kinds"]:
    """Return the factor of the logits.

    Parameters
    ----------
    parameter : torch.Tensor
        What is learned; it begins at the logarithm of the inverse temperature.
    map : {"exp", "softplus", "raw"}
        CLIP's exponential, at most 100 (Radford et al., 2021, section 2.5); UBP's softplus; or the parameter
        itself, as in ATM's code.
    """
    if map == "exp":
        return parameter.clamp(max=MAX_LOG_SCALE).exp()
    return F.softplus(parameter) if map == "softplus" else parameter


def symmetric_info_nce(
    predicted: Float[Tensor, "n_kinds n dim"],
    targets: Float[Tensor, "n_kinds n dim"],
    same: Bool[Tensor, "n_kinds n n"],
    scale: Float[Tensor, " n_kinds"],
    softness: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of finding captions by EEG and EEG by captions.

    Parameters
    ----------
    predicted, targets : torch.Tensor
        Vectors of the EEG, and unit vectors of the captions or pictures.
    same : torch.Tensor
        Which captions of the batch say the same; a trial's positives share its probability evenly.
    scale : torch.Tensor
        Factor of the products of vectors, of each kind.
    softness : float
        Share of the probability that a trial's positives give to captions like them, at
        `SOFT_TEMPERATURE`: near duplicates are wrong, but less wrong than others.
    """
    logits = predicted @ targets.transpose(1, 2) * scale[:, None, None]
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


def info_nce_of_many(
    predicted: Float[Tensor, "n_kinds n dim"],
    targets: Float[Tensor, "n_kinds n dim"],
    stimuli: Int[Tensor, " n"],
    scale: Float[Tensor, " n_kinds"],
    duplicate_cosine: float,
) -> Float[Tensor, ""]:
    """Return `symmetric_info_nce` of any number of trials, in memory that grows only like the number.

    Up to `TRIALS_AT_ONCE` trials it is that very function. Beyond, products are taken for some trials at a
    time, and the normalising sum over trials is kept as a running log-sum-exp.
    """
    n = len(stimuli)
    if n <= TRIALS_AT_ONCE:
        same = same_captions(targets, stimuli, duplicate_cosine)
        return symmetric_info_nce(predicted, targets, same, scale)
    by_caption = predicted.new_full((len(targets), n), -torch.inf)
    positive, weights = torch.zeros_like(by_caption), torch.zeros_like(by_caption)
    by_eeg = predicted.new_zeros(())
    for rows in torch.split(torch.arange(n, device=stimuli.device), TRIALS_AT_ONCE):
        logits = predicted[:, rows] @ targets.transpose(1, 2) * scale[:, None, None]
        cosines = targets[:, rows] @ targets.transpose(1, 2)
        same = (cosines >= duplicate_cosine) | (stimuli[rows, None] == stimuli)
        wanted = same / same.sum(dim=2, keepdim=True)
        by_eeg += (logits.logsumexp(dim=2) - (wanted * logits).sum(dim=2)).sum()
        by_caption = torch.logaddexp(by_caption, logits.logsumexp(dim=1))
        positive += (wanted * logits).sum(dim=1)
        weights += wanted.sum(dim=1)
    total = by_eeg + (weights * by_caption - positive).sum()
    return 0.5 * total / (len(targets) * n)


def same_captions(
    targets: Float[Tensor, "n_kinds n dim"], stimuli: Int[Tensor, " n"], duplicate_cosine: float
) -> Bool[Tensor, "n_kinds n n"]:
    """Tell which trials' captions of a kind say the same.

    Those of one stimulus do, and others whose cosine is at least `duplicate_cosine`.
    """
    cosines: Tensor = targets @ targets.transpose(1, 2)
    return (cosines >= duplicate_cosine) | (stimuli[:, None] == stimuli)


def mean_discrepancy(
    predicted: Float[Tensor, "n_kinds n dim"], targets: Float[Tensor, "n_kinds n dim"]
) -> Float[Tensor, ""]:
    """Return the squared maximum mean discrepancy of two samples (Gretton et al., 2012, equation 5).

    The kernel is a mean of Gaussians, `KERNEL_WIDTHS` times the mean squared distance of the pooled sample
    wide, so that no width need be chosen.
    """
    n, pooled = predicted.shape[1], torch.cat([predicted, targets], dim=1)
    square = pooled.square().sum(dim=2)
    products = pooled @ pooled.transpose(1, 2)
    distances = (square[:, :, None] + square[:, None] - 2 * products).clamp(min=0)
    mean = distances.detach().mean(dim=(1, 2), keepdim=True)
    kernel = torch.stack([(-distances / (w * mean)).exp() for w in KERNEL_WIDTHS]).mean(dim=0)
    own = kernel[:, :n, :n].mean() + kernel[:, n:, n:].mean()
    return own - 2 * kernel[:, :n, n:].mean()


@torch.no_grad()
def recall_at_1(
    predicted: Float[Tensor, "n_kinds n dim"],
    targets: Float[Tensor, "n_kinds n_stimuli dim"],
    stimuli: Int[Tensor, " n"],
    duplicate_cosine: float,
) -> Float[Tensor, " n_kinds"]:
    """Return how often the nearest of the shown stimuli's captions says the same as the trial's own.

    Parameters
    ----------
    predicted : torch.Tensor
        Vectors of the EEG.
    targets : torch.Tensor
        Unit vectors of the captions, or pictures, of all stimuli.
    stimuli : torch.Tensor
        Shown in each trial; together, the gallery.
    duplicate_cosine : float
        Captions at least this similar say the same.
    """
    gallery = torch.unique(stimuli)
    kinds = torch.arange(len(targets), device=targets.device)[:, None]
    found = []
    for some, own in zip(
        torch.split(predicted, TRIALS_AT_ONCE, dim=1),
        torch.split(stimuli, TRIALS_AT_ONCE),
        strict=True,
    ):
        nearest = gallery[(some @ targets[:, gallery].transpose(1, 2)).argmax(dim=2)]
        cosines = (targets[kinds, nearest] * targets[:, own]).sum(dim=2)
        found.append((cosines >= duplicate_cosine) | (nearest == own))
    return torch.cat(found, dim=1).float().mean(dim=1)
