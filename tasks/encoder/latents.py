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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.fft import irfft, rfft
from scipy.linalg import toeplitz
from sklearn.covariance import ledoit_wolf

from tasks.encoder.blocks import Sample, total
from tasks.encoder.filters import (
    MAX_COVARIANCE_SAMPLES,
    cosines,
    encoding_weights,
    inverse_square_root,
    pooled,
    signs,
)
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
    virtual: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n n_virtual n_times"]],
    whiteners: Float[np.ndarray, "n_groups n_times n_times"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    members: Sequence[Sequence[Int[np.ndarray, " n_block"]]],
    *,
    parts: Int[np.ndarray, " n_scores"],
    waves: Float[np.ndarray, "n_times n_waves"],
    params: StartParams,
    seed: int,
) -> Latents:
    """Fit projections and templates on training trials.

    Parameters
    ----------
    virtual : callable
        Returns the virtual channels of some training trials.
    whiteners : numpy.ndarray
        What each group's virtual channels were multiplied by in time, of full rank.
    scores : numpy.ndarray
        What the trials' captions say.
    members : Sequence of Sequence of numpy.ndarray
        The trials of each group, in blocks, of which one is held at a time.
    parts : numpy.ndarray
        Which factor's words each score is of.
    waves : numpy.ndarray
        The cosines that time is seen through.
    """
    undo = np.linalg.inv(whiteners.astype(np.float64))
    plain = [_Plain(virtual, rows, scores, own) for rows, own in zip(members, undo, strict=True)]
    noise = _noise_whiteners(plain, waves.shape[1], params)
    tables = [_table(own, waves, whitener) for own, whitener in zip(plain, noise, strict=True)]
    n_virtual = noise[0].shape[0] // waves.shape[1]
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


@dataclass(frozen=True)
class _Plain:
    """Virtual channels of a group's trials before they were whitened in time, block by block.

    Attributes
    ----------
    rows : Sequence of numpy.ndarray
        Trials of each block.
    undo : numpy.ndarray
        What whitened virtual channels are multiplied by.
    """

    virtual: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, "n n_virtual n_times"]]
    rows: Sequence[Int[np.ndarray, " n_block"]]
    all_scores: Float[np.ndarray, "n_trials n_scores"]
    undo: Float[np.ndarray, "n_times n_times"]

    @property
    def scores(self) -> Float[np.ndarray, "n_own n_scores"]:
        """What the captions of the group's trials say."""
        return np.asarray(self.all_scores[np.concatenate(self.rows)])

    def seen_through(
        self, waves: Float[np.ndarray, "n_times n_waves"]
    ) -> Iterator[tuple[slice, Float[np.ndarray, "n_block n_values"]]]:
        """Yield which of the group's trials come, and what waves make of them."""
        start = 0
        for rows in self.rows:
            part = self.virtual(rows) @ self.undo
            yield slice(start, start + len(rows)), (part @ waves).reshape(len(part), -1)
            start += len(rows)


def _table(
    trials: _Plain,
    waves: Float[np.ndarray, "n_times n_waves"],
    whitener: Float[np.ndarray, "n_values n_values"],
) -> Table:
    own = trials.scores
    product = total(
        own[some].T @ (values @ whitener) for some, values in trials.seen_through(waves)
    )
    return Table(own.T @ own, product, whitener)


def _noise_whiteners(
    trials: list[_Plain], n_seen: int, params: StartParams
) -> list[Float[np.ndarray, "n_values n_values"]]:
    """Return each group's whitener of cosines of virtual channels."""
    n_times = len(trials[0].undo)
    waves = cosines(n_times, n_times - 1)
    solvers = [encoding_weights(own.scores, params.prior_trials) for own in trials]
    weights = pooled(
        [
            total(solver[:, some] @ values for some, values in own.seen_through(waves))
            for own, solver in zip(trials, solvers, strict=True)
        ],
        params.share_of_group,
    )
    groups = list(zip(trials, weights, strict=True))
    targets = pooled(
        [_stationary(_rest(*group, waves), waves, n_seen) for group in groups],
        params.share_of_group,
    )
    firsts = [inverse_square_root(_raised(target, params.noise_floor)) for target in targets]
    covariances = []
    for group, first in zip(groups, firsts, strict=True):
        sample = Sample(len(group[0].scores), MAX_COVARIANCE_SAMPLES)
        for part in _rest(*group, waves):
            sample.add(part[:, :, :n_seen].reshape(len(part), -1) @ first)
        covariances.append(ledoit_wolf(sample.taken(), assume_centered=True)[0])
    return [
        first @ inverse_square_root(covariance)
        for first, covariance in zip(
            firsts, pooled(covariances, params.share_of_group), strict=True
        )
    ]


def _rest(
    trials: _Plain,
    weights: Float[np.ndarray, "n_scores n_values"],
    waves: Float[np.ndarray, "n_times n_waves"],
) -> Iterator[Float[np.ndarray, "n_block n_virtual n_waves"]]:
    """Yield what captions do not explain of a group's trials."""
    own = trials.scores
    for some, values in trials.seen_through(waves):
        yield (values - own[some] @ weights).reshape(len(values), -1, waves.shape[1])


def _stationary(
    noise: Iterable[Float[np.ndarray, "n_block n_virtual n_waves"]],
    waves: Float[np.ndarray, "n_times n_waves"],
    n_seen: int,
) -> Float[np.ndarray, "n_values n_values"]:
    """Return the covariance of the first cosines under the stationary noise nearest to the trials.

    Autocovariances over channels and lags are found by least squares from all cosines, then seen through
    the first ones.
    """
    n_times = len(waves)
    shapes = np.stack([waves.T @ toeplitz(lag) @ waves for lag in np.eye(n_times)])
    flat = shapes.reshape(n_times, -1)
    products = _lagged_products(part @ waves.T for part in noise)
    n_virtual, moments = products.shape[1], products.reshape(n_times, -1)
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
    noise: Iterable[Float[np.ndarray, "n_block n_virtual n_times"]],
) -> Float[np.ndarray, "n_times n_virtual n_virtual"]:
    """Return the mean over trials of products of channels, summed over times this lag apart, both ways."""
    crossed, n_trials, n_times = [], 0, 0
    for part in noise:
        n_trials, n_times = n_trials + len(part), part.shape[2]
        spectra = rfft(part, 2 * n_times, axis=2)
        crossed.append(np.einsum("nkf,njf->fkj", spectra.conj(), spectra, optimize=True).real)
    products: np.ndarray = irfft(total(crossed) / n_trials, 2 * n_times, axis=0)[:n_times]
    products[1:] *= 2
    return products


def _raised(covariance: Float[np.ndarray, "n n"], floor: float) -> Float[np.ndarray, "n n"]:
    """Return a covariance whose eigenvalues are at least a share of their mean."""
    values, vectors = np.linalg.eigh(covariance)
    raised: np.ndarray = (vectors * np.maximum(values, floor * values.mean())) @ vectors.T
    return raised
