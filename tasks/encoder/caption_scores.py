"""A few numbers per stimulus that say what is seen in it: its concept, and what its captions say beyond that.

Only vectors and concepts are looked at, never the words of a caption: the same pictures described in another wording
have scores of the same meaning, and nothing grows with the vocabulary.

The scores come in parts. The first is the concept. Each further part is what the vectors of one kind of
captions say that the parts before it do not: of captions that name a thing and its colour, the colour. A
source of the brain that answers to one part need not answer to another (`tasks.encoder.responses`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tasks.encoder.filters import signs
from tasks.encoder.variations import find_variations, group_means

SMALLEST_SHARE = 0.05  # of the variance of a kind's vectors, that its variations must explain
SMALLEST_DIRECTION = 0.02  # the same, of each direction of what no variation explains
ROUNDING = 1e-4  # of the longest component, below which vectors of single precision are noise
NOTHING = 1e-6  # standard deviation of what unit vectors of single precision do not vary in
UNEQUAL = 1e-3  # by how much the weights of features differ, at most


def caption_scores(
    targets: Float[np.ndarray, "n_stimuli n_kinds dim"],
    concept_index: Int[np.ndarray, " n_stimuli"],
    max_scores: int,
) -> tuple[Float[np.ndarray, "n_stimuli n_scores"], Int[np.ndarray, " n_scores"]]:
    """Return centred scores of unit variance of training stimuli, and the part that each belongs to.

    Parameters
    ----------
    targets : numpy.ndarray
        Vectors of all kinds of captions.
    concept_index : numpy.ndarray
        What each stimulus shows, by number.
    max_scores : int
        Number of scores, at most; of concepts, half as many.
    """
    kinds = [_centred(targets[:, kind]) for kind in range(targets.shape[1])]
    shown = np.unique(concept_index, return_inverse=True)[1].reshape(-1)
    means = np.concatenate([group_means(kind, shown) for kind in kinds], axis=1)[shown]
    found = [standardised(principal_components(means, max(1, max_scores // 2)))]
    told = found[0]
    for kind in kinds:
        n_left = max_scores - sum(own.shape[1] for own in found)
        own = _beyond(told, kind, shown)[:, :n_left]
        if own.shape[1]:
            found.append(own)
            told = np.concatenate([told, _independent(_without(told, own))], axis=1)
    parts = np.repeat(np.arange(len(found)), [own.shape[1] for own in found])
    return np.concatenate(found, axis=1), parts


def vector_scores(
    targets: Float[np.ndarray, "n_stimuli n_kinds dim"], max_scores: int
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return the principal components of all kinds' vectors, of unit variance over training stimuli.

    Parameters
    ----------
    targets : numpy.ndarray
        Vectors of training stimuli.
    max_scores : int
        Number of components; fewer where the vectors vary in fewer ways.
    """
    flat = _centred(targets.reshape(len(targets), -1))
    return standardised(principal_components(flat, max_scores))


def principal_components(
    features: Float[np.ndarray, "n_stimuli n_features"], max_scores: int
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return the principal components of centred features.

    Features that vary equally have components of equal strength, among which rounding would choose
    others on each processor: no two features weigh the same.
    """
    weighed = features * (1 + UNEQUAL * np.cos(np.arange(features.shape[1])))
    _, lengths, directions = np.linalg.svd(weighed, full_matrices=False)
    smallest = max(ROUNDING * lengths[0], NOTHING * len(features) ** 0.5)
    kept = min(max_scores, int((lengths > smallest).sum()))
    components: np.ndarray = weighed @ directions[:kept].T * signs(directions[:kept].T)
    return components


def standardised(
    components: Float[np.ndarray, "n_stimuli n_scores"],
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return centred components, scaled to unit variance."""
    scores: np.ndarray = components / components.std(axis=0)
    return scores


def _beyond(
    told: Float[np.ndarray, "n_stimuli n_told"],
    vectors: Float[np.ndarray, "n_stimuli dim"],
    concepts: Int[np.ndarray, " n_stimuli"],
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return scores of what vectors say beyond orthonormal scores: their variations, and directions.

    Variations stay as they are, though by chance some concepts were seen in more of some: what a concept
    evokes is what it adds to its variation.
    """
    total = (vectors**2).sum() + len(vectors) * ROUNDING
    rest, found = _without(told, vectors), told[:, :0]
    variations = find_variations(vectors, concepts)
    if variations.any():
        occurs = np.eye(int(variations.max()) + 1)[variations]
        own = _independent(occurs - occurs.mean(axis=0))
        left = _without(_independent(_without(told, own)), rest)
        if (rest**2).sum() - (left**2).sum() > SMALLEST_SHARE * total:
            rest, found = left, own
    own = principal_components(rest, rest.shape[1])
    own = standardised(own[:, (own**2).sum(axis=0) > SMALLEST_DIRECTION * total])
    return np.concatenate([found, own], axis=1)


def _independent(
    values: Float[np.ndarray, "n_stimuli n_values"],
) -> Float[np.ndarray, "n_stimuli n_scores"]:
    """Return orthonormal scores of all that centred values vary in."""
    components = principal_components(values, values.shape[1])
    return standardised(components[:, (components**2).mean(axis=0) > ROUNDING])


def _without(
    told: Float[np.ndarray, "n_stimuli n_told"], values: Float[np.ndarray, "n_stimuli n_values"]
) -> Float[np.ndarray, "n_stimuli n_values"]:
    """Return what orthonormal scores do not tell of centred values."""
    rest: np.ndarray = values - told @ (told.T @ values) / len(told)
    return rest


def _centred(vectors: Float[np.ndarray, "n_stimuli dim"]) -> Float[np.ndarray, "n_stimuli dim"]:
    centred: np.ndarray = vectors - vectors.mean(axis=0, dtype=np.float64)
    return centred
