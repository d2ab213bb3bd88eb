"""Trials a block at a time: whatever is reckoned from epochs holds one block of them in memory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np
from jaxtyping import Float, Int

VALUES_AT_ONCE = 2**25
"""Of a block: 0.13 GB in single precision. A group of fewer values is one block: its sums are plain sums."""


def blocks(
    rows: Int[np.ndarray, " n"], epoch_shape: tuple[int, ...]
) -> list[Int[np.ndarray, " n_block"]]:
    """Return trials in blocks of at most `VALUES_AT_ONCE` values, in their order.

    Parameters
    ----------
    epoch_shape : tuple of int
        Shape of one trial.
    """
    size = max(1, VALUES_AT_ONCE // int(np.prod(epoch_shape)))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def pooled_moments(
    parts: Iterable[tuple[int, Float[np.ndarray, ...], Float[np.ndarray, ...]]],
) -> tuple[Float[np.ndarray, ...], Float[np.ndarray, ...]]:
    """Return the mean and the variance of samples from those of their blocks (Chan et al., 1979).

    Parameters
    ----------
    parts : Iterable of tuple
        Size, mean and variance of each block. Those of a single block are returned as they are.
    """
    (n, mean, variance), *others = parts
    for size, own_mean, own_variance in others:
        total, shift = n + size, own_mean - mean
        variance = (n * variance + size * own_variance + n * size / total * shift**2) / total
        n, mean = total, mean + size / total * shift
    return mean, variance


def total(parts: Iterable[Float[np.ndarray, ...]]) -> Float[np.ndarray, ...]:
    """Return the sum of arrays of one shape; of a single one, itself."""
    found: np.ndarray = reduce(np.add, parts)
    return found


class Sample:
    """Every so many-th sample of blocks of trials, in double precision.

    Parameters
    ----------
    n_all : int
        Number of samples in all blocks together.
    most : int
        How many are wanted, at most.
    """

    def __init__(self, n_all: int, most: int) -> None:
        self.step, self.n_seen = -(-n_all // most), 0
        self.parts: list[np.ndarray] = []

    def add(self, part: Float[np.ndarray, "... n_variables"]) -> None:
        """Take what is due of the next block, whose last axis are variables."""
        samples = part.reshape(-1, part.shape[-1])
        self.parts.append(samples[-self.n_seen % self.step :: self.step].astype(np.float64))
        self.n_seen += len(samples)

    def taken(self) -> Float[np.ndarray, "n_taken n_variables"]:
        """Return what was taken of all blocks."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)
