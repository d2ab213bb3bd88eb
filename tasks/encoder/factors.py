"""What varies in the captions of a study, as factors: sets of levels of which each stimulus has one.

The words at one place of the captions of one kind exclude one another: "a red dog", "a blue cat". Such a
place is a factor; places that say less than another one, or the same, are none. The concept, whose label
is known, is always one. Where captions share no frame, hardly any word returns at its place, and the
concept is left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

WORD = re.compile(r"\w+")
MAX_SHARE_OF_RARE = 0.2  # of the stimuli, before a place of a caption says nothing that returns


def caption_factors(
    texts: Sequence[Sequence[str]],
    concepts: Sequence[str],
    train_stimuli: Int[np.ndarray, " n_train"],
    *,
    min_count: int,
) -> list[Int[np.ndarray, " n_train"]]:
    """Return the factors: for each, the level of every training stimulus, counted from 0.

    Parameters
    ----------
    texts : Sequence of Sequence of str
        The caption of each stimulus and kind.
    train_stimuli : numpy.ndarray
        Indices of the stimuli that may be looked at.
    min_count : int
        Words that fewer training stimuli have at a place are one level there, "rare".
    """
    places: list[list[str]] = []
    for kind in range(len(texts[0])):
        split = [WORD.findall(texts[i][kind].lower()) for i in train_stimuli]
        for place in range(max(map(len, split), default=0)):
            words = [own[place] if place < len(own) else "" for own in split]
            if (kept := _without_rare(words, min_count)) is not None:
                places.append(kept)
    shown = [_numbered([concepts[i] for i in train_stimuli])]
    candidates = sorted((_numbered(words) for words in places), key=lambda f: -int(f.max()))
    for candidate in candidates:
        if candidate.max() > 0 and not any(decides(known, candidate) for known in shown):
            shown.append(candidate)
    return shown


def _without_rare(words: list[str], min_count: int) -> list[str] | None:
    """Put one name for all rare words; None where too many are."""
    counts = Counter(words)
    kept = ["" if counts[word] < min_count else word for word in words]
    n_rare = sum(counts[word] < min_count for word in words)
    return kept if n_rare <= MAX_SHARE_OF_RARE * len(words) else None


def _numbered(values: Sequence[str]) -> Int[np.ndarray, " n"]:
    numbers: np.ndarray = np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def decides(factor: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]) -> bool:
    """Tell whether the level of a factor decides that of another.

    Parameters
    ----------
    factor, other : numpy.ndarray
        The level of each stimulus.
    """
    pairs = np.unique(np.stack([factor, other], axis=1), axis=0)
    return len(pairs) == len(np.unique(factor))
