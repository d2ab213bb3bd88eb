"""In what captions of one kind differ beside the concept, found in their vectors alone.

Captions that name a thing and its colour lie about sums of what the thing and what the colour adds. Taken from one
another, the colours are clusters of what is left without the thing. Words are never looked at: another wording
moves vectors a little and leaves clusters where they are. Where there are no clusters, as of free descriptions of
photographs, there is nothing but the concept.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import pairwise_distances_argmin, silhouette_score

MOST_VARIATIONS = 25
MOST_CLUSTERED = 2000  # stimuli that clusters are found on; others join the nearest
SMALLEST_SILHOUETTE = (
    0.15  # below it, there are no clusters (Rousseeuw 1987, J. Comput. Appl. Math. 20)
)
NEARLY_BEST = 0.9  # of the best silhouette: the fewest clusters that reach it are taken
PRIOR_STIMULI = 0.5  # that speak for nothing, beside those of each concept and each variation
N_SEARCHES, N_ROUNDS = 2, 10


def find_variations(
    vectors: Float[np.ndarray, "n_stimuli dim"],
    concepts: Int[np.ndarray, " n_stimuli"],
    most: int = MOST_VARIATIONS,
) -> Int[np.ndarray, " n_stimuli"]:
    """Return the variation of each stimulus, by number; all are 0 where there are none.

    Parameters
    ----------
    vectors : numpy.ndarray
        Centred.
    concepts : numpy.ndarray
        By number from 0 without gaps.
    most : int
        Variations, at most.
    """
    everywhere = np.zeros(len(vectors), np.int64)
    rest = vectors - group_means(vectors, concepts)[concepts]
    if most < 2 or (rest**2).mean() < 1e-8:
        return everywhere
    variations = everywhere
    for _ in range(N_SEARCHES):
        variations = _clusters(rest, min(most, MOST_VARIATIONS))
        named, _ = fit_sums(vectors, concepts, variations)
        rest = vectors - named[concepts]
    return variations


def fit_sums(
    values: Float[np.ndarray, "n_stimuli n_values"],
    concepts: Int[np.ndarray, " n_stimuli"],
    variations: Int[np.ndarray, " n_stimuli"],
) -> tuple[Float[np.ndarray, "n_concepts n_values"], Float[np.ndarray, "n_variations n_values"]]:
    """Return what each concept and each variation adds to centred values, by ridge regression, in turn."""
    varied = np.zeros((int(variations.max()) + 1, values.shape[1]))
    for _ in range(N_ROUNDS):
        named = _shrunken(values - varied[variations], concepts)
        varied = _shrunken(values - named[concepts], variations)
    return named, varied


def group_means(
    values: Float[np.ndarray, "n n_values"], groups: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n_groups n_values"]:
    """Return the mean of each group, which are numbered from 0 without gaps."""
    return _shrunken(values, groups, 0.0)


def _shrunken(
    values: Float[np.ndarray, "n n_values"],
    groups: Int[np.ndarray, " n"],
    prior: float = PRIOR_STIMULI,
) -> Float[np.ndarray, "n_groups n_values"]:
    counts = np.bincount(groups)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, groups, values)
    means: np.ndarray = sums / (counts[:, None] + prior)
    return means


def _clusters(rest: Float[np.ndarray, "n dim"], most: int) -> Int[np.ndarray, " n"]:
    """Return clusters by Ward's method, as many as their silhouette speaks for."""
    some = rest
    if len(rest) > MOST_CLUSTERED:
        some = rest[np.random.default_rng(0).choice(len(rest), MOST_CLUSTERED, replace=False)]
    tree = linkage(some, "ward")
    found = {}
    for n in range(2, min(most, len(some) - 1) + 1):
        labels = fcluster(tree, n, "maxclust") - 1
        if 1 < labels.max() + 1 < len(some):
            found[n] = (float(silhouette_score(some, labels)), labels)
    best = max((silhouette for silhouette, _ in found.values()), default=0.0)
    if best < SMALLEST_SILHOUETTE:
        return np.zeros(len(rest), np.int64)
    labels = next(own for silhouette, own in found.values() if silhouette >= NEARLY_BEST * best)
    nearest: np.ndarray = pairwise_distances_argmin(rest, group_means(some, labels))
    return np.unique(nearest, return_inverse=True)[1].reshape(-1)
