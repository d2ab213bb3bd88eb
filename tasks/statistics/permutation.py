"""Permutation tests: p-values from scores under exchanged stimuli or exchanged signs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tasks.statistics.resampling import mean

SIGNIFICANCE = 0.05
"""p-values below this are called a difference in a verdict."""


def permutation_p_value(
    value: float, permuted: Float[np.ndarray, " n_permutations"], *, higher_is_better: bool
) -> float:
    """Return the share of permutations, the observed order among them, that do as well.

    Parameters
    ----------
    higher_is_better : bool
        Whether doing well means a high score.
    """
    as_good = permuted >= value if higher_is_better else permuted <= value
    return float((1 + as_good.sum()) / (1 + len(permuted)))


def sign_flip_p_value(
    differences: Float[np.ndarray, " n"], n_permutations: int, seed: int
) -> float:
    """Return how often differences of random sign have as high a mean."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (n_permutations, len(differences)))
    flipped = mean(signs * differences)
    return permutation_p_value(float(differences.mean()), flipped, higher_is_better=True)
