"""Draws that a seed decides: seeds by name, derangements, samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Int

from tasks.runtime.errors import PerceptError


def has_derangement(groups: Sequence[str]) -> bool:
    """Tell whether every item can be given a source of another group, each used once.

    Parameters
    ----------
    groups : Sequence[str]
        Group of each item, such as its stimulus.
    """
    sizes = Counter(groups)
    return bool(sizes) and 2 * max(sizes.values()) <= sizes.total()


def derangement(groups: Sequence[str], seed: int) -> Int[np.ndarray, " n"]:
    """Draw a permutation that gives every item a source of another group.

    Parameters
    ----------
    groups : Sequence[str]
        Group of each item, such as its stimulus.
    seed : int
        Same seed, same derangement.

    Returns
    -------
    Int[np.ndarray, "n"]
        Index of the source of each item, each used once.

    Raises
    ------
    PerceptError
        If more than half of the items are of one group: no derangement exists.
    """
    names, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    n, largest = len(groups), int(sizes.max(initial=0))
    if not has_derangement(groups):
        raise PerceptError(
            f"Shuffling needs groups of at most half of all items; found one of {largest} in {n}. "
            "Take items of more groups."
        )
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(n), rng.permutation(len(names))[group]))
    source = np.empty(n, dtype=np.int64)
    source[order] = np.roll(order, largest)
    return source


def seed_of(base: int, *names: str | int) -> int:
    """Derive a seed of 63 bits from a base seed and names, independent of order and machine."""
    text = ":".join(map(str, (base, *names)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def choose(n: int, at_most: int, seed: int) -> Int[np.ndarray, " n_chosen"]:
    """Choose indices of `n` things without replacement, in order; all if they are few enough."""
    if n <= at_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, at_most, replace=False))
