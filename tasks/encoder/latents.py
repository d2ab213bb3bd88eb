"""The closed-form decoder on virtual channels: latents of unit noise, common to all subjects.

It is linear discriminant analysis with a continuous label: an encoding model from caption scores to
virtual channels, a Ledoit-Wolf covariance of what it leaves unexplained, and the projection onto the few
directions in which captions differ. The latents have the same meaning in every group, so one network
can read them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf

from tasks.encoder.whitening import encoding_model, inverse_square_root, pooled


@dataclass(frozen=True)
class Latents:
    """Projection onto latents and what they should be.

    Attributes
    ----------
    projections : numpy.ndarray
        One per group: latents from the values of all virtual channels.
    templates : numpy.ndarray
        One per group: expected latents of a unit score.
    """

    projections: Float[np.ndarray, "n_groups n_values n_latents"]
    templates: Float[np.ndarray, "n_groups n_scores n_latents"]


def fit_latents(
    virtual: Float[np.ndarray, "n_trials n_virtual n_times"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    groups: Int[np.ndarray, " n_trials"],
    *,
    n_latents: int,
    n_temporal: int,
    ridge: float,
    pooling: float,
) -> Latents:
    """Fit projections and templates on training trials.

    Parameters
    ----------
    virtual, scores, groups : numpy.ndarray
        Training trials: virtual channels, what their captions say, and whose trials they are.
    n_latents : int
        Number of latents.
    n_temporal : int
        Number of time courses that the virtual channels are first reduced to.
    ridge : float
        Penalty of the encoding model, in trials.
    pooling : float
        Weight of all groups' mean in each group's responses and covariances, from 0 to 1.
    """
    scale = scores.std(axis=0)
    courses = _time_courses(virtual, scores, n_temporal, ridge)
    reduced = (virtual @ courses).reshape(len(virtual), -1)
    members = [groups == group for group in range(int(groups.max()) + 1)]
    weights = pooled([encoding_model(scores[m], reduced[m], ridge) for m in members], pooling)
    noise = pooled(
        [
            ledoit_wolf(reduced[m] - scores[m] @ own)[0]
            for m, own in zip(members, weights, strict=True)
        ],
        pooling,
    )
    whiteners = [inverse_square_root(own) for own in noise]
    whitened = [own @ whitener for own, whitener in zip(weights, whiteners, strict=True)]
    responses = np.concatenate([scale[:, None] * own for own in whitened], axis=1)
    axes = np.linalg.svd(responses, full_matrices=False)[0][:, :n_latents]
    projections, templates = [], []
    for whitener, own in zip(whiteners, whitened, strict=True):
        directions = (axes.T * scale) @ own
        basis = directions.T @ inverse_square_root(directions @ directions.T)
        templates.append(own @ basis)
        small = (whitener @ basis).reshape(virtual.shape[1], n_temporal, -1)
        full = np.einsum("tp,kpr->ktr", courses, small, optimize=True)
        projections.append(full.reshape(-1, full.shape[-1]))
    return Latents(np.stack(projections), np.stack(templates))


def _time_courses(
    virtual: Float[np.ndarray, "n_trials n_virtual n_times"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    n_temporal: int,
    ridge: float,
) -> Float[np.ndarray, "n_times n_temporal"]:
    """Return the orthonormal time courses that hold most of the response to captions."""
    response = encoding_model(scores, virtual.reshape(len(virtual), -1), ridge)
    response = response * scores.std(axis=0)[:, None]
    rows = response.reshape(-1, virtual.shape[2])
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :n_temporal]
