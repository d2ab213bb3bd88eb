"""The evoked responses, estimated as what a few sources do: each has one topography and one time course.

A table of responses, one row per caption score, is mostly noise where trials are few. A dipole that stays
where it is adds the product of a topography and a time course, more or less of it with every score, so
that all responses together are a sum of few such products: a canonical polyadic decomposition
(Mocks 1988, Topographic components model, Electroencephalogr. Clin. Neurophysiol.; Miwakeichi et al. 2004,
NeuroImage 22). It is fitted by alternating least squares with Gaussian priors, from several starts whose
mean is taken, since each ends in an optimum of its own. Subjects share scores; their topographies and time
courses lie about those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

N_ROUNDS = 150  # of alternating least squares; a hundred more change no third digit
N_SUBJECT_ROUNDS = 4
PENALTY = 10.0  # of a unit source, in units of the noise: below what noise alone would make of one
LARGEST_SPREAD = 1e6


@dataclass(frozen=True)
class Table:
    """What trials say of the responses to scores: sufficient statistics of one group.

    Attributes
    ----------
    gram : numpy.ndarray
        Products of scores, summed over trials.
    product : numpy.ndarray
        Products of scores and whitened trials, summed over trials.
    """

    gram: Float[np.ndarray, "n_scores n_scores"]
    product: Float[np.ndarray, "n_scores n_virtual n_values"]


@dataclass(frozen=True)
class Sources:
    """Sums of products of three factors, one column per source.

    Attributes
    ----------
    scores, topographies, courses : numpy.ndarray
        How much a source does of each score, where and when.
    """

    scores: Float[np.ndarray, "n_scores n_sources"]
    topographies: Float[np.ndarray, "n_virtual n_sources"]
    courses: Float[np.ndarray, "n_values n_sources"]

    def responses(self) -> Float[np.ndarray, "n_scores n_virtual n_values"]:
        """Return the response to a unit of each score."""
        found: np.ndarray = np.einsum(
            "rs,ks,ms->rkm", self.scores, self.topographies, self.courses, optimize=True
        )
        return found


def fit_responses(
    tables: Sequence[Table], *, n_sources: int, pooling: float, n_starts: int, seed: int
) -> list[Float[np.ndarray, "n_scores n_virtual n_values"]]:
    """Return the response of every group to a unit of each score.

    Parameters
    ----------
    tables : Sequence of Table
        One per group; the noise of their trials has unit variance and is white.
    n_sources : int
        Number of sources.
    pooling : float
        Weight of what all groups have in common, from 0 to 1: the variance of a group's topographies and
        time courses about the common ones is ``(1 - pooling) / pooling`` of their own.
    n_starts : int
        Number of random starts, whose mean is returned.
    seed : int
        Of the starts.
    """
    rows = _unit_rows(np.sum([table.gram for table in tables], axis=0))
    product = np.sum([table.product for table in tables], axis=0)
    rng = np.random.default_rng(seed)
    together = np.tensordot(rows.T, product, axes=1)
    spread = (1 - pooling) / max(pooling, 1 / LARGEST_SPREAD)
    starts = [_decompose(together, n_sources, rng) for _ in range(n_starts)]
    found = []
    for table in tables:
        gram = rows.T @ table.gram @ rows
        own = _unit_rows(gram)
        seen = np.tensordot((rows @ own).T, table.product, axes=1)
        adapted = [_adapt(start, own.T @ gram, seen, spread).responses() for start in starts]
        found.append(np.tensordot(rows, np.mean(adapted, axis=0), axes=1))
    return found


def _unit_rows(gram: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n rank"]:
    """Return combinations of scores whose estimated responses have independent noise of unit variance."""
    values, vectors = np.linalg.eigh(gram)
    seen = values > 1e-6 * values[-1]
    rows: np.ndarray = vectors[:, seen] / np.sqrt(values[seen])
    return rows


def _decompose(
    table: Float[np.ndarray, "n_rows n_virtual n_values"], n_sources: int, rng: np.random.Generator
) -> Sources:
    """Return the most probable sources of a table with unit noise, from a random start."""
    factors = [rng.standard_normal((size, n_sources)) for size in table.shape]
    for axis in (1, 2):
        factors[axis] /= np.linalg.norm(factors[axis], axis=0)
    penalty = PENALTY * np.eye(n_sources)
    for _ in range(N_ROUNDS):
        for axis in range(3):
            factors[axis] = _solve(table, factors, axis, penalty, 0.0)
        sizes = np.stack([np.linalg.norm(factor, axis=0) for factor in factors])
        common = np.prod(sizes, axis=0) ** (1 / 3)
        safe = np.where(sizes > 0, sizes, 1.0)
        factors = [f * (common / size) for f, size in zip(factors, safe, strict=True)]
    return Sources(*factors)


def _adapt(
    sources: Sources,
    rows: Float[np.ndarray, "n_own n_rows"],
    table: Float[np.ndarray, "n_own n_virtual n_values"],
    spread: float,
) -> Sources:
    """Move topographies and time courses towards what one group's table says."""
    if spread == 0:
        return sources
    factors = [rows @ sources.scores, sources.topographies, sources.courses]
    usual = list(factors)
    for _ in range(N_SUBJECT_ROUNDS):
        for axis in (1, 2):
            weight = 1 / (spread * np.maximum((usual[axis] ** 2).mean(axis=0), 1e-12))
            factors[axis] = _solve(table, factors, axis, np.diag(weight), usual[axis] * weight)
    return Sources(sources.scores, factors[1], factors[2])


def _solve(
    table: np.ndarray,
    factors: list[np.ndarray],
    axis: int,
    penalty: Float[np.ndarray, "n_sources n_sources"],
    drawn_to: Float[np.ndarray, "n n_sources"] | float,
) -> Float[np.ndarray, "n n_sources"]:
    """Return the best factor of one axis, given the others."""
    first, second = (factor for place, factor in enumerate(factors) if place != axis)
    gram = (first.T @ first) * (second.T @ second)
    seen = np.moveaxis(table, axis, 0)
    product = np.einsum("rkm,ks,ms->rs", seen, first, second, optimize=True)
    solved: np.ndarray = np.linalg.solve(gram + penalty, (product + drawn_to).T).T
    return solved
