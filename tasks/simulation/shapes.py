"""What the concepts look like: the shape features that make similar objects evoke similar responses."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tasks.simulation.scene import VOCABULARY, Scene, draw

SHAPE_SIZE_PX = 24
SHAPE_WHITENING = 0.5


def shape_features(n_features: int) -> Float[np.ndarray, "n_concepts n_features"]:
    """Describe how the concepts' glyphs look: principal components of their small silhouettes.

    Parameters
    ----------
    n_features : int
        Number of components, at most the number of concepts less one.

    Returns
    -------
    numpy.ndarray
        One row per concept, columns of falling variance (flattened by `SHAPE_WHITENING`, 1 = equal).
    """
    scenes = (
        Scene(concept, "black", "large", "left of", "snowy", 0.0, 0.0, 0.0)
        for concept in VOCABULARY["concept"]
    )
    pictures = [np.asarray(draw(s, SHAPE_SIZE_PX).convert("L"), dtype=float) for s in scenes]
    shapes = np.stack(pictures).reshape(len(pictures), -1)
    left, scale, _ = np.linalg.svd(shapes - shapes.mean(axis=0), full_matrices=False)
    left *= np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    scores: np.ndarray = left[:, :n_features] * (scale[:n_features] / scale[0]) ** (
        1 - SHAPE_WHITENING
    )
    return scores
