"""A few numbers per stimulus that say what its captions say: the words that occur in them.

Words are better features for an encoding model than CLIP vectors: the response to a picture is close to
a sum over what is in it, and CLIP squeezes forty objects into a few directions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from tasks.encoder.factors import WORD, caption_factors, decides
from tasks.encoder.filters import signs

CLAUSE = re.compile(r"[,.;:!?]+")
UNEQUAL = 1e-3  # by how much the weights of features differ, at most


def standardised(
    components: Float[np.ndarray, "n_stimuli n_scores"], train_stimuli: Int[np.ndarray, " n_train"]
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return centred components scaled to unit variance over training stimuli."""
    scores: np.ndarray = components / components[train_stimuli].std(axis=0)
    return scores


def word_components(
    texts: Sequence[Sequence[str]],
    train_stimuli: Int[np.ndarray, " n_train"],
    *,
    min_count: int,
    max_scores: int,
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return the principal components of which words occur.

    Parameters
    ----------
    texts : Sequence of Sequence of str
        What is said of each stimulus: a caption of each kind, the same kinds in the same order. A word
        of one kind is another than that word of another kind or of a later clause: "the object is on
        the left, the landmark on the right" has the words of its opposite.
    train_stimuli : numpy.ndarray
        Indices of the stimuli that vocabulary and components are found on.
    min_count : int
        Words that fewer training stimuli have, or lack, are left out.
    max_scores : int
        Number of components; fewer where the words vary in fewer ways.
    """
    occurs = _occurrences(texts, train_stimuli, min_count)
    return principal_components(occurs, train_stimuli, max_scores)


def components_by_factor(
    texts: Sequence[Sequence[str]],
    concepts: Sequence[str],
    train_stimuli: Int[np.ndarray, " n_train"],
    *,
    min_count: int,
    max_scores: int,
) -> tuple[Float[np.ndarray, "n_stimuli n_scores"], Int[np.ndarray, " n_scores"]]:
    """Return the principal components of the words of each factor, and whose factor's each is.

    A word belongs to the first factor (`tasks.encoder.factors`) that decides whether it occurs; those
    that none decides are a part of their own.

    Parameters
    ----------
    texts : Sequence of Sequence of str
        The captions of each stimulus.
    train_stimuli, min_count, max_scores
        As of `word_components`; the strongest components of all factors are kept.
    """
    occurs = _occurrences(texts, train_stimuli, min_count)
    factors = caption_factors(texts, concepts, train_stimuli, min_count=min_count)
    seen = (occurs[train_stimuli] > 0).T.astype(np.int64)
    owners = [
        next((i for i, factor in enumerate(factors) if decides(factor, word)), len(factors))
        for word in seen
    ]
    found = [
        principal_components(occurs[:, np.equal(owners, owner)], train_stimuli, max_scores)
        for owner in sorted(set(owners))
    ]
    components = np.concatenate(found, axis=1)
    parts = np.repeat(np.arange(len(found)), [own.shape[1] for own in found])
    strength = np.linalg.norm(components[train_stimuli], axis=0)
    kept = np.sort(np.argsort(-strength, kind="stable")[:max_scores])
    return components[:, kept], parts[kept]


def _occurrences(
    texts: Sequence[Sequence[str]], train_stimuli: Int[np.ndarray, " n_train"], min_count: int
) -> Float[np.ndarray, "n_stimuli n_words"]:
    """Return which words occur, centred and scaled to unit variance over training stimuli."""
    found = [_words(captions) for captions in texts]
    vocabulary = sorted(set().union(*(found[i] for i in train_stimuli)))
    occurs = np.array([[word in words for word in vocabulary] for words in found], np.float64)
    counts = occurs[train_stimuli].sum(axis=0)
    occurs = occurs[:, (counts >= min_count) & (counts <= len(train_stimuli) - min_count)]
    occurs -= occurs[train_stimuli].mean(axis=0)
    occurs /= occurs[train_stimuli].std(axis=0)
    return occurs


def _words(captions: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return the words of a stimulus's captions, each with its kind, and in later clauses with these too."""
    found: set[tuple[int, int, str]] = set()
    for kind, caption in enumerate(captions):
        for clause, part in enumerate(CLAUSE.split(caption.lower())):
            words = WORD.findall(part)
            found |= {(kind, place, word) for word in words for place in {0, clause}}
    return found


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
    centred = flat - flat[train_stimuli].mean(axis=0)
    return standardised(principal_components(centred, train_stimuli, max_scores), train_stimuli)


def principal_components(
    features: Float[np.ndarray, "n_stimuli n_features"],
    train_stimuli: Int[np.ndarray, " n_train"],
    max_scores: int,
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return principal components of features that are centred on training stimuli.

    Words that occur equally often have components of equal strength, among which rounding would choose
    others on each processor: no two features weigh the same.
    """
    weighed = features * (1 + UNEQUAL * np.cos(np.arange(features.shape[1])))
    _, lengths, directions = np.linalg.svd(weighed[train_stimuli], full_matrices=False)
    kept = min(max_scores, int((lengths > 1e-6 * lengths[0]).sum()))
    components: np.ndarray = weighed @ directions[:kept].T * signs(directions[:kept].T)
    return components
