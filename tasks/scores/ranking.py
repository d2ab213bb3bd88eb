"""Rankings of candidates (concepts, captions, stimuli) by their cosine with predicted vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.runtime.errors import PerceptError

Vectors = Float[np.ndarray, "n dim"]
TRIALS_AT_ONCE = 1024  # that are sorted


@dataclass(frozen=True)
class Ranking:
    """Where each candidate stands for each trial; candidates that cannot be told apart are one.

    Attributes
    ----------
    first : Int[np.ndarray, "n_trials n_candidates"]
        First place of the candidate's group, from 1, the nearest.
    sizes : Int[np.ndarray, "n_candidates"]
        How many indistinguishable items the group holds; they share its places evenly.
    """

    first: Int[np.ndarray, "n_trials n_candidates"]
    sizes: Int[np.ndarray, " n_candidates"]

    def recall(self, k: int) -> Float[np.ndarray, "n_trials n_candidates"]:
        """Return the probability that an item of the candidate is among the first k."""
        return np.asarray(np.clip((k + 1 - self.first) / self.sizes, 0, 1))

    def places(self) -> Float[np.ndarray, "n_trials n_candidates"]:
        """Return the mean place of an item of the candidate."""
        return np.asarray(self.first + (self.sizes - 1) / 2)

    def reciprocal(self) -> Float[np.ndarray, "n_trials n_candidates"]:
        """Return the mean over the candidate's places of one over the place."""
        harmonic = np.cumsum(1 / np.arange(1, int((self.first + self.sizes).max())))
        before = np.where(self.first > 1, harmonic[np.maximum(self.first - 2, 0)], 0)
        shares = (harmonic[self.first + self.sizes - 2] - before) / self.sizes
        # in single precision, sums of them are exact in whatever order they are taken
        return np.asarray(shares, np.float32).astype(np.float64)

    def for_stimuli(self, candidates: Int[np.ndarray, " n_stimuli"]) -> Ranking:
        """Return the ranking with one column per stimulus: that of the stimulus's candidate."""
        return Ranking(self.first[:, candidates], self.sizes[candidates])


def rank(
    cosines: Float[np.ndarray, "n_trials n_candidates"],
    sizes: Int[np.ndarray, " n_candidates"] | None = None,
) -> Ranking:
    """Rank the candidates of each trial by falling cosine, each trial on its own.

    Parameters
    ----------
    cosines : Float[np.ndarray, "n_trials n_candidates"]
        Similarity of each trial's predicted vectors with each candidate.
    sizes : Int[np.ndarray, "n_candidates"] or None
        Items per candidate; None: one each.
    """
    sizes = np.ones(cosines.shape[1], np.int64) if sizes is None else sizes
    first = np.empty(cosines.shape, np.int32)
    for start in range(0, len(cosines), TRIALS_AT_ONCE):
        some = slice(start, start + TRIALS_AT_ONCE)
        order = np.argsort(-cosines[some], axis=1, kind="stable")
        items = sizes[order]
        places = (np.cumsum(items, axis=1) - items + 1).astype(np.int32)
        np.put_along_axis(first[some], order, places, axis=1)
    return Ranking(first, sizes)


def prototypes(
    vectors: Vectors, concepts: Sequence[str], names: Sequence[str]
) -> Float[np.ndarray, "n_names dim"]:
    """Return the normalised mean vector of each concept's captions.

    Parameters
    ----------
    vectors : Float[np.ndarray, "n dim"]
        Unit-norm text vectors of captions of one kind.
    concepts : Sequence[str]
        Concept of each caption's stimulus.
    names : Sequence[str]
        Concepts wanted, in order.

    Raises
    ------
    PerceptError
        If a concept has no caption.
    """
    missing = sorted(set(names) - set(concepts))
    if missing:
        raise PerceptError(
            f"Every concept needs a caption to name it; {', '.join(missing)} have none. "
            "Run `dvc repro caption embed`."
        )
    of = np.asarray(concepts)
    means = np.stack([vectors[of == name].mean(axis=0) for name in names])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def mean_cosines(
    predicted: Mapping[str, Vectors], candidates: Mapping[str, Vectors]
) -> Float[np.ndarray, "n_trials n_candidates"]:
    """Fuse kinds: the mean over kinds of the cosine of a kind's head with a kind's candidates.

    Parameters
    ----------
    predicted : Mapping[str, Float[np.ndarray, "n_trials dim"]]
        Kind to unit-norm vectors predicted from the EEG.
    candidates : Mapping[str, Float[np.ndarray, "n_candidates dim"]]
        Kind to unit-norm vectors; its kinds are fused.
    """
    total = sum(predicted[kind] @ vectors.T for kind, vectors in candidates.items())
    return np.asarray(total / len(candidates))


@dataclass(frozen=True)
class CaptionGallery:
    """The captions of the held-out stimuli; equal texts are one candidate.

    Attributes
    ----------
    stimulus_ids : tuple[str, ...]
        Stimuli, in the order of the columns of score matrices.
    texts : Mapping[str, tuple[str, ...]]
        Kind to the caption of each stimulus.
    vectors : Mapping[str, Float[np.ndarray, "n_stimuli dim"]]
        Kind to the unit-norm text vector of each stimulus's caption.
    """

    stimulus_ids: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    vectors: Mapping[str, Vectors]

    def caption_ranking(self, kind: str, predicted: Vectors) -> Ranking:
        """Rank the distinct texts of one kind; one column per stimulus, `sizes` all one."""
        first, candidate = _distinct([self.texts[kind]])
        ranking = rank(predicted @ self.vectors[kind][first].T)
        return ranking.for_stimuli(candidate)

    def distinct(
        self, kinds: Sequence[str]
    ) -> tuple[Int[np.ndarray, " n_distinct"], Int[np.ndarray, " n_stimuli"]]:
        """Return the first stimulus of each distinct tuple of texts, and the tuple of each stimulus."""
        return _distinct([self.texts[kind] for kind in kinds])

    def n_texts(self, kind: str) -> int:
        """Return the number of distinct texts of a kind."""
        return len(set(self.texts[kind]))

    def stimulus_ranking(self, kinds: Sequence[str], predicted: Mapping[str, Vectors]) -> Ranking:
        """Rank the stimuli by the mean cosine over some kinds; one column per stimulus.

        Stimuli with the same texts share their places evenly.
        """
        first, candidate = _distinct([self.texts[kind] for kind in kinds])
        cosines = mean_cosines(predicted, {kind: self.vectors[kind][first] for kind in kinds})
        return rank(cosines, np.bincount(candidate)).for_stimuli(candidate)


def _distinct(
    columns: Sequence[Sequence[str]],
) -> tuple[Int[np.ndarray, " n_distinct"], Int[np.ndarray, " n_stimuli"]]:
    """Return the first stimulus of each distinct tuple of texts, and the tuple of each stimulus."""
    number: dict[tuple[str, ...], int] = {}
    first: list[int] = []
    candidate = []
    for index, texts in enumerate(zip(*columns, strict=True)):
        if texts not in number:
            number[texts] = len(first)
            first.append(index)
        candidate.append(number[texts])
    return np.array(first), np.array(candidate)
