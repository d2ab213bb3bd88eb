"""The closed-form decoder on virtual channels: latents of unit noise, common to all subjects.

It is linear discriminant analysis with a continuous label, on estimates that a few hundred trials allow:

1. Time is seen through cosines up to a highest frequency; the constant, which a baseline takes away, is
   not among them.
2. The noise is taken for stationary: its covariance depends on the channels and on the time between two
   samples. What trials say against it is let in by Ledoit and Wolf's share.
3. The responses to captions are those of a few sources (`tasks.encoder.responses`).
4. Latents are projections onto the directions in which captions differ, with the same meaning in every
   group, so that one network can read them all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.fft import irfft, rfft
from scipy.linalg import toeplitz
from sklearn.covariance import ledoit_wolf

from tasks.encoder.filters import cosines, encoding_model, inverse_square_root, pooled, signs
from tasks.encoder.params import StartParams
from tasks.encoder.responses import Table, fit_responses

SMALLEST = 1e-6  # share of the largest energy: latents with less say nothing


@dataclass(frozen=True)
class Latents:
    """Projection onto latents and what they should be.

    Attributes
    ----------
    projections : numpy.ndarray
        One per group: latents from the values of all virtual channels.
    templates : numpy.ndarray
        One per group: expected latents of a unit score.
    keys : numpy.ndarray
        For all groups: how much a latent speaks for a unit score.
    """

    projections: Float[np.ndarray, "n_groups n_values n_latents"]
    templates: Float[np.ndarray, "n_groups n_scores n_latents"]
    keys: Float[np.ndarray, "n_scores n_latents"]


def fit_latents(
    virtual: Float[np.ndarray, "n_trials n_virtual n_times"],
    whiteners: Float[np.ndarray, "n_groups n_times n_times"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    groups: Int[np.ndarray, " n_trials"],
    *,
    parts: Int[np.ndarray, " n_scores"],
    waves: Float[np.ndarray, "n_times n_waves"],
    params: StartParams,
    seed: int,
) -> Latents:
    """Fit projections and templates on training trials.

    Parameters
    ----------
    virtual : numpy.ndarray
        Virtual channels of training trials.
    whiteners : numpy.ndarray
        What each group's virtual channels were multiplied by in time, of full rank.
    scores, groups : numpy.ndarray
        What the trials' captions say, and whose trials they are.
    parts : numpy.ndarray
        Which factor's words each score is of.
    waves : numpy.ndarray
        The cosines that time is seen through.
    """
    n_virtual = virtual.shape[1]
    members = [np.flatnonzero(groups == group) for group in range(len(whiteners))]
    undo = np.linalg.inv(whiteners.astype(np.float64))
    plain = [virtual[m] @ own for m, own in zip(members, undo, strict=True)]
    said = [scores[m] for m in members]
    noise = _noise_whiteners(plain, said, waves.shape[1], params)
    tables = [
        Table(
            own.T @ own,
            own.T @ ((part @ waves).reshape(len(part), -1) @ whitener),
            whitener,
        )
        for part, own, whitener in zip(plain, said, noise, strict=True)
    ]
    responses = fit_responses(
        tables,
        parts,
        n_virtual=n_virtual,
        n_sources=params.n_latents,
        share_of_group=params.share_of_group,
        n_starts=params.n_starts,
        seed=seed,
    )
    spread = scores.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    flat = [spread[:, None] * own for own in responses]
    left, _, right = np.linalg.svd(np.concatenate(flat, axis=1), full_matrices=False)
    axes = (left * signs(right.T))[:, : params.n_latents]
    found = [
        _latents_of(axes, own, whitener, back @ waves)
        for own, whitener, back in zip(flat, noise, undo, strict=True)
    ]
    projections = np.stack([projection for projection, _ in found])
    templates = np.stack([meaning / spread[:, None] for _, meaning in found])
    return Latents(projections, templates, templates.mean(axis=0))


def _latents_of(
    axes: Float[np.ndarray, "n_scores n_latents"],
    responses: Float[np.ndarray, "n_scores n_values"],
    whitener: Float[np.ndarray, "n_values n_values"],
    waves: Float[np.ndarray, "n_times n_waves"],
) -> tuple[Float[np.ndarray, "n_virtual_times n_latents"], Float[np.ndarray, "n_scores n_latents"]]:
    """Return one group's projection onto latents of unit noise, and what they should be of its scores."""
    directions = axes.T @ responses
    values, vectors = np.linalg.eigh(directions @ directions.T)
    lengths = np.sqrt(np.maximum(values, SMALLEST * values[-1]) + np.finfo(float).tiny)
    basis = directions.T @ (vectors / lengths) @ vectors.T
    small = (whitener @ basis).reshape(-1, waves.shape[1], basis.shape[1])
    full: np.ndarray = np.einsum("tm,kml->ktl", waves, small, optimize=True)
    return full.reshape(-1, basis.shape[1]), axes @ (vectors * lengths) @ vectors.T


def _noise_whiteners(
    trials: list[Float[np.ndarray, "n_trials n_virtual n_times"]],
    scores: list[Float[np.ndarray, "n_trials n_scores"]],
    n_seen: int,
    params: StartParams,
) -> list[Float[np.ndarray, "n_values n_values"]]:
    """Return each group's whitener of cosines of virtual channels."""
    n_virtual, n_times = trials[0].shape[1:]
    waves = cosines(n_times, n_times - 1)
    values = [(part @ waves).reshape(len(part), -1) for part in trials]
    weights = pooled(
        [
            encoding_model(own, part, params.prior_trials)
            for own, part in zip(scores, values, strict=True)
        ],
        params.share_of_group,
    )
    rest = [
        (part - own @ weight).reshape(-1, n_virtual, n_times - 1)
        for part, own, weight in zip(values, scores, weights, strict=True)
    ]
    targets = pooled([_stationary(part, waves, n_seen) for part in rest], params.share_of_group)
    firsts = [inverse_square_root(_raised(target, params.noise_floor)) for target in targets]
    covariances = pooled(
        [
            ledoit_wolf(part[:, :, :n_seen].reshape(len(part), -1) @ first, assume_centered=True)[0]
            for part, first in zip(rest, firsts, strict=True)
        ],
        params.share_of_group,
    )
    return [
        first @ inverse_square_root(covariance)
        for first, covariance in zip(firsts, covariances, strict=True)
    ]


def _stationary(
    noise: Float[np.ndarray, "n_trials n_virtual n_waves"],
    waves: Float[np.ndarray, "n_times n_waves"],
    n_seen: int,
) -> Float[np.ndarray, "n_values n_values"]:
    """Return the covariance of the first cosines under the stationary noise nearest to the trials.

    Autocovariances over channels and lags are found by least squares from all cosines, then seen through
    the first ones.
    """
    n_times, n_virtual = len(waves), noise.shape[1]
    shapes = np.stack([waves.T @ toeplitz(lag) @ waves for lag in np.eye(n_times)])
    flat = shapes.reshape(n_times, -1)
    moments = _lagged_products(noise @ waves.T).reshape(n_times, -1)
    # Cosines do not see what all lags have in common: the solution of least norm takes nothing for it.
    lags = np.linalg.lstsq(flat @ flat.T, moments, rcond=1e-6)[0]
    covariance: np.ndarray = np.einsum(
        "lmn,lkj->kmjn",
        shapes[:, :n_seen, :n_seen],
        lags.reshape(n_times, n_virtual, n_virtual),
        optimize=True,
    )
    return covariance.reshape(n_virtual * n_seen, n_virtual * n_seen)


def _lagged_products(
    noise: Float[np.ndarray, "n_trials n_virtual n_times"],
) -> Float[np.ndarray, "n_times n_virtual n_virtual"]:
    """Return the mean over trials of products of channels, summed over times this lag apart, both ways."""
    n_times = noise.shape[2]
    spectra = rfft(noise, 2 * n_times, axis=2)
    crossed = np.einsum("nkf,njf->fkj", spectra.conj(), spectra, optimize=True).real / len(noise)
    products: np.ndarray = irfft(crossed, 2 * n_times, axis=0)[:n_times]
    products[1:] *= 2
    return products


def _raised(covariance: Float[np.ndarray, "n n"], floor: float) -> Float[np.ndarray, "n n"]:
    """Return a covariance whose eigenvalues are at least a share of their mean."""
    values, vectors = np.linalg.eigh(covariance)
    raised: np.ndarray = (vectors * np.maximum(values, floor * values.mean())) @ vectors.T
    return raised
