"""Distances between sets of pictures and clarity of a set: about the generator, hardly about the EEG.

The spread of each comes from random halves: the variance of a statistic over halves of a sample, drawn
without replacement, estimates its variance over whole samples (delete-half jackknife).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import Vectors
from tasks.statistics.resampling import Estimate

MIN_PICTURES = 4
HALVES = "halves of the pictures"
"""What intervals here are made of."""
N_SPLITS = 10
"""Splits of an inception score, as published ones have."""
SPLIT_SEED = 0
"""Of the order in which pictures are split."""


class Halves:
    """Random halves of sets of pictures, with the interval that their spread gives.

    Parameters
    ----------
    confidence : float
        Share of the distribution inside an interval.
    seed : int
        Same seed, same halves.
    """

    def __init__(self, n_halves: int, confidence: float, seed: int) -> None:
        self.n_halves = n_halves
        self.confidence = confidence
        self.seed = seed

    def draw(self, *sets: Vectors) -> Iterator[tuple[Vectors, ...]]:
        """Yield subsets of each set, all as large as half of the smallest set.

        Raises
        ------
        PerceptError
            If a set has fewer than `MIN_PICTURES`.
        """
        smallest = min(map(len, sets))
        if smallest < MIN_PICTURES:
            raise PerceptError(
                f"A distance between sets needs at least {MIN_PICTURES} pictures in each; found "
                f"{smallest}. Raise `render.max_trials`."
            )
        rng = np.random.default_rng(self.seed)
        for _ in range(self.n_halves):
            yield tuple(s[rng.choice(len(s), smallest // 2, replace=False)] for s in sets)

    def estimate(self, value: float, of_halves: Float[np.ndarray, " n_halves"]) -> Estimate:
        """Return a value with the normal interval whose width is the spread over halves."""
        margin = float(norm.ppf((1 + self.confidence) / 2) * of_halves.std())
        return Estimate(value, value - margin, value + margin)


def kernel_distance(
    real: Vectors, generated: Vectors, halves: Halves, gamma: float | None = 1.0
) -> Estimate:
    """Return the kernel distance (KID) of two sets: unbiased, so near 0 for sets of one kind.

    Parameters
    ----------
    real, generated : Float[np.ndarray, "n dim"]
        Features. The kernel is (gamma x . y + 1) ** 3.
    halves : Halves
        The value is the mean over these subsets, as usual for KID.
    gamma : float or None
        1 for unit-norm features, which need no division by their dimension; None: one over the
        dimension, as for Inception.
    """
    distances = np.array(
        [
            float(
                poly_mmd(torch.from_numpy(r), torch.from_numpy(g), degree=3, gamma=gamma, coef=1.0)
            )
            for r, g in halves.draw(real, generated)
        ]
    )
    return halves.estimate(float(distances.mean()), distances)


def frechet_distance(real: Vectors, generated: Vectors, halves: Halves) -> Estimate:
    """Return the Fréchet distance (FID) of two sets: grows as the sets shrink, so state their size.

    Parameters
    ----------
    halves : Halves
        For the interval; the value is that of the whole sets.
    """
    distances = np.array([_frechet(r, g) for r, g in halves.draw(real, generated)])
    return halves.estimate(_frechet(real, generated), distances)


def inception_score(probabilities: Float[np.ndarray, "n n_classes"], halves: Halves) -> Estimate:
    """Return exp(mean KL(p(class | picture) || p(class))): how clear and how varied pictures are.

    The value is the mean over ten splits of the pictures, as published ones are: it grows with the size of
    the splits, so numbers of other numbers of pictures cannot be compared.

    Parameters
    ----------
    probabilities : Float[np.ndarray, "n n_classes"]
        What a classifier sees; the score is named after the classifier.
    halves : Halves
        For the interval, with splits as large as those of the value.
    """
    value, _, n_splits = score_over_splits(probabilities)
    n_of_half = max(1, n_splits // 2)
    of_halves = [score_over_splits(some, n_of_half)[0] for (some,) in halves.draw(probabilities)]
    return halves.estimate(value, np.array(of_halves))


def score_over_splits(
    probabilities: Float[np.ndarray, "n n_classes"], n_splits: int = N_SPLITS
) -> tuple[float, float, int]:
    """Return mean and deviation of the inception score over splits, as torchmetrics does, and their number.

    Pictures are shuffled with a fixed seed before they are split. In the order of their classes each split
    would hold few classes, and its score be far too low.

    Parameters
    ----------
    probabilities : Float[np.ndarray, "n n_classes"]
        What a classifier sees.
    n_splits : int
        Splits, fewer where there are too few pictures for them.
    """
    n_splits = max(1, min(n_splits, len(probabilities) // MIN_PICTURES))
    order = np.random.default_rng(SPLIT_SEED).permutation(len(probabilities))
    of_splits = [_clarity(part) for part in np.array_split(probabilities[order], n_splits)]
    return float(np.mean(of_splits)), float(np.std(of_splits)), n_splits


class _Identity(nn.Module):
    """Hands ready features to torchmetrics, which expects a network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _frechet(real: Vectors, generated: Vectors) -> float:
    if len(real) + len(generated) < real.shape[1]:
        return _frechet_of_few(real, generated)
    metric = FrechetInceptionDistance(feature=_Identity(real.shape[1]))
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(generated, np.float64)), real=False)
    return float(metric.compute())


def _frechet_of_few(real: Vectors, generated: Vectors) -> float:
    """Return the same for fewer pictures than dimensions, without matrices of dimension by dimension.

    With centred features A and B over the roots of n - 1, the covariances are A'A and B'B, and the trace
    of the root of their product is the sum of the singular values of A B'.
    """
    means, centred = [], []
    for features in (np.asarray(real, np.float64), np.asarray(generated, np.float64)):
        means.append(features.mean(axis=0))
        centred.append((features - means[-1]) / np.sqrt(len(features) - 1))
    shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(float((c**2).sum()) for c in centred)
    return float(((means[0] - means[1]) ** 2).sum() + spread - 2 * shared)


def _clarity(probabilities: Float[np.ndarray, "n n_classes"]) -> float:
    p = np.clip(probabilities, np.finfo(np.float32).tiny, None)
    divergence = (p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1)
    return float(np.exp(divergence.mean()))
