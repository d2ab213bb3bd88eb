"""Captions that no training picture had, made from those that some had.

A few hundred pictures show few of all combinations of what can be in a picture: a red dog and a blue cat,
never a red cat. A head that remembers whole captions could not say it. Two captions that differ in a
single word tell that these words can stand for one another, and by what CLIP's vector moves when they do.
Where enough pairs agree on it, the word is exchanged in the other captions too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Frame = tuple[tuple[str, ...], tuple[str, ...]]


def recombined(
    texts: Sequence[str],
    vectors: Float[np.ndarray, "n_texts dim"],
    *,
    min_exchange_pairs: int,
) -> tuple[list[str], Float[np.ndarray, "n_new dim"]]:
    """Return captions with one word exchanged that are not among `texts`, and their likely vectors.

    Parameters
    ----------
    texts : Sequence of str
        Captions of one kind, each once.
    vectors : numpy.ndarray
        Their unit vectors.
    min_exchange_pairs : int
        So many pairs of captions must differ in two words alone before one is put for the other.

    Returns
    -------
    texts : list of str
        Those reached in most ways first.
    vectors : numpy.ndarray
        Unit vectors, the mean over the ways to reach a caption.
    """
    steps = _steps(texts, vectors, min_exchange_pairs)
    known = {" ".join(text.split()) for text in texts}
    reached: dict[str, list[np.ndarray]] = defaultdict(list)
    for text, vector in zip(texts, vectors, strict=True):
        words = text.split()
        for place, word in enumerate(words):
            for other, step in steps.get(word, {}).items():
                new = " ".join([*words[:place], other, *words[place + 1 :]])
                if new not in known:
                    reached[new].append(vector + step)
    found = sorted(reached, key=lambda new: (-len(reached[new]), new))
    if not found:
        return [], np.empty((0, vectors.shape[1]), vectors.dtype)
    means = np.stack([np.mean(reached[new], axis=0) for new in found])
    return found, (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(vectors.dtype)


def _steps(
    texts: Sequence[str], vectors: Float[np.ndarray, "n_texts dim"], min_exchange_pairs: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return, word by word, the words that can stand for it and how the vector moves."""
    frames: dict[Frame, dict[str, int]] = defaultdict(dict)
    for index, text in enumerate(texts):
        words = tuple(text.split())
        for place, word in enumerate(words):
            frames[words[:place], words[place + 1 :]][word] = index
    moves: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for filled in frames.values():
        for word, index in filled.items():
            for other, place in filled.items():
                if other != word:
                    moves[word, other].append(vectors[place] - vectors[index])
    steps: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for (word, other), seen in moves.items():
        if len(seen) >= min_exchange_pairs:
            steps[word][other] = np.mean(seen, axis=0)
    return steps
