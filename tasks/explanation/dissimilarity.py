"""Which concepts look alike to the encoder, and which ones their captions call alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from tasks.language.prompts import Tier
from tasks.scores.held_out import HeldOut

MIN_CONCEPTS = 3
"""Fewer make no matrix to look at."""


def concept_dissimilarity(held_out: HeldOut) -> pd.DataFrame | None:
    """Return how unlike each two concepts are, in what the object heads say and in their captions.

    One less the correlation of mean vectors, object heads side by side (representational dissimilarity;
    Kriegeskorte, Mur and Bandettini 2008, Frontiers in Systems Neuroscience 2:4).

    Returns
    -------
    pandas.DataFrame or None
        Columns concept, other, eeg and captions, a row per ordered pair, both in the order of a clustering (average
        linkage) of the column eeg. None where there are too few concepts or no object head.
    """
    concepts = held_out.trials["concept"].to_numpy(str)
    names = np.unique(concepts)
    kinds = held_out.kinds(Tier.OBJECT.value)
    if len(names) < MIN_CONCEPTS or not kinds:
        return None
    stimuli = held_out.stimuli()
    own = np.searchsorted(stimuli, held_out.trials["stimulus_id"].to_numpy(str))
    texts = held_out.gallery(stimuli).vectors
    said = _dissimilarity(np.hstack([held_out.predicted[kind] for kind in kinds]), concepts, names)
    true = _dissimilarity(np.hstack([texts[kind][own] for kind in kinds]), concepts, names)
    order = leaves_list(linkage(squareform(said, checks=False), "average", optimal_ordering=True))
    return pd.DataFrame(
        [(names[i], names[j], said[i, j], true[i, j]) for i in order for j in order],
        columns=["concept", "other", "eeg", "captions"],
    )


def _dissimilarity(
    vectors: Float[np.ndarray, "n_trials dim"], concepts: np.ndarray, names: np.ndarray
) -> Float[np.ndarray, "n_concepts n_concepts"]:
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    means = np.stack([centred[concepts == name].mean(axis=0) for name in names])
    unlike = 1 - np.corrcoef(means)
    np.fill_diagonal(unlike, 0.0)
    return np.asarray((unlike + unlike.T) / 2)
