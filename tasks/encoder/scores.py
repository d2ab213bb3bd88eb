"""A few numbers per stimulus that say what its captions say: the words that occur in them.

Words are better features for an encoding model than CLIP vectors: the response to a picture is close to
a sum over what is in it, and CLIP squeezes forty objects into a few directions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

WORD = re.compile(r"\w+")


def word_scores(
    texts: Sequence[str],
    train_stimuli: Int[np.ndarray, " n_train"],
    *,
    min_count: int,
    max_scores: int,
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return the principal components of which words occur, of unit variance over training stimuli.

    Parameters
    ----------
    texts : Sequence of str
        What is said of each stimulus.
    train_stimuli : numpy.ndarray
        Indices of the stimuli that vocabulary and components are found on.
    min_count : int
        Words that fewer training stimuli have, or lack, are left out.
    max_scores : int
        Number of components; fewer where the words vary in fewer ways.
    """
    found = [set(WORD.findall(text.lower())) for text in texts]
    vocabulary = sorted(set().union(*(found[i] for i in train_stimuli)))
    occurs = np.array([[word in words for word in vocabulary] for words in found], np.float64)
    counts = occurs[train_stimuli].sum(axis=0)
    occurs = occurs[:, (counts >= min_count) & (counts <= len(train_stimuli) - min_count)]
    occurs -= occurs[train_stimuli].mean(axis=0)
    occurs /= occurs[train_stimuli].std(axis=0)
    return whitened_components(occurs, train_stimuli, max_scores)


def vector_scores(
    targets: Float[np.ndarray, "n_stimuli n_kinds dim"],
    train_stimuli: Int[np.ndarray, " n_train"],
    max_scores: int,
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return the principal components of all kinds' vectors, of unit variance over training stimuli.

    Parameters
    ----------
    targets : numpy.ndarray
        Vectors of all stimuli and kinds.
    train_stimuli : numpy.ndarray
        Indices of the stimuli that the components are found on.
    max_scores : int
        Number of components; fewer where the vectors vary in fewer ways.
    """
    flat = targets.reshape(len(targets), -1).astype(np.float64)
    return whitened_components(flat - flat[train_stimuli].mean(axis=0), train_stimuli, max_scores)


def whitened_components(
    features: Float[np.ndarray, "n_stimuli n_features"],
    train_stimuli: Int[np.ndarray, " n_train"],
    max_scores: int,
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return principal components of centred features, of unit variance over training stimuli."""
    _, lengths, directions = np.linalg.svd(features[train_stimuli], full_matrices=False)
    kept = min(max_scores, int((lengths > 1e-6 * lengths[0]).sum()))
    spread = lengths[:kept] / np.sqrt(len(train_stimuli))
    scores: np.ndarray = features @ directions[:kept].T / spread
    return scores
