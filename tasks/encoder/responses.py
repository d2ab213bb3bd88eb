"""The evoked responses, estimated as what a few sources do: each has one topography and one time course.

A table of responses, one row per caption score, is mostly noise where trials are few. A dipole that stays
where it is adds the product of a topography and a time course, more or less of it with every score, so
that all responses together are a sum of few such products: a canonical polyadic decomposition
(Mocks 1988, Topographic components model, Electroencephalogr. Clin. Neurophysiol.; Miwakeichi et al. 2004,
NeuroImage 22).

1. Alternating least squares with Gaussian priors find sources in whitened trials from random starts.
2. Whitening mixes channels and times, so that a source is a product before it and not behind it. The
   sources that were found are brought back, and variational Bayes (Bishop 1999, Bayesian PCA, here with
   three factors) refines them there under the noise as it is. It learns how topographies are spread
   over channels, courses over times, and which sources answer to the words of each factor; of a factor
   that asks little of a source nothing is left there.
3. Each start ends in an optimum of its own: their mean is taken.

Subjects share scores; their topographies and time courses lie about those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import block_diag, inv

N_ROUNDS = 150  # of alternating least squares; a hundred more change no third digit
N_REFINEMENTS = 5  # of variational Bayes; five more change the error by 2 %
N_SWEEPS = 3  # over the factors, whose scores are nearly independent
N_SUBJECT_ROUNDS = 4
PENALTY = 10.0  # of a unit source, in units of the noise: below what noise alone would make of one
LARGEST_SPREAD = 1e6
FLOOR = 1e-6  # share of the mean variance that is left to everything


@dataclass(frozen=True)
class Table:
    """What trials say of the responses to scores: sufficient statistics of one group.

    Attributes
    ----------
    gram : numpy.ndarray
        Products of scores, summed over trials.
    product : numpy.ndarray
        Products of scores and whitened trials, summed over trials.
    whitener : numpy.ndarray
        What the trials were multiplied by.
    """

    gram: Float[np.ndarray, "n_scores n_scores"]
    product: Float[np.ndarray, "n_scores n_values"]
    whitener: Float[np.ndarray, "n_values n_values"]

    def pairs(self, n_virtual: int) -> Float[np.ndarray, "n_virtual n_virtual n_times n_times"]:
        """Return the precision of the noise of every two virtual channels and times."""
        precision = self.whitener @ self.whitener.T
        n_times = len(precision) // n_virtual
        pairs: np.ndarray = precision.reshape(n_virtual, n_times, n_virtual, n_times)
        return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))

    def weighed(self, n_virtual: int) -> Float[np.ndarray, "n_scores n_virtual n_times"]:
        """Return products of scores and plain trials, weighed by the precision of their noise."""
        weighed: np.ndarray = self.product @ self.whitener.T
        return weighed.reshape(len(weighed), n_virtual, -1)


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
    courses: Float[np.ndarray, "n_times n_sources"]

    def patterns(self) -> Float[np.ndarray, "n_sources n_values"]:
        """Return the response of each source."""
        products: np.ndarray = np.einsum("ks,ms->skm", self.topographies, self.courses)
        return products.reshape(len(products), -1)


@dataclass(frozen=True)
class Belief:
    """A factor of which the data leave a normal distribution.

    Attributes
    ----------
    mean, covariance : numpy.ndarray
        Of its entries.
    """

    mean: Float[np.ndarray, "n n_sources"]
    covariance: Float[np.ndarray, "n n n_sources n_sources"]

    def products(self) -> Float[np.ndarray, "n n n_sources n_sources"]:
        """Return the expected products of every two entries."""
        expected: np.ndarray = (
            np.einsum("kr,jq->kjrq", self.mean, self.mean, optimize=True) + self.covariance
        )
        return expected


def fit_responses(
    tables: Sequence[Table],
    parts: Int[np.ndarray, " n_scores"],
    *,
    n_virtual: int,
    n_sources: int,
    share_of_group: float,
    n_starts: int,
    seed: int,
) -> list[Float[np.ndarray, "n_scores n_values"]]:
    """Return the whitened response of every group to a unit of each score.

    Parameters
    ----------
    tables : Sequence of Table
        One per group; the noise of their whitened trials has unit variance and is white.
    parts : numpy.ndarray
        Which scores have the same spread over sources: those of a factor.
    n_virtual : int
        Number of virtual channels that the values of a trial belong to.
    share_of_group : float
        Weight of what all groups have in common, from 0 to 1: the variance of a group's topographies and
        time courses about the common ones is ``(1 - share_of_group) / share_of_group`` of their own.
    n_starts : int
        Number of random starts, whose mean is returned.
    """
    gram = np.sum([table.gram for table in tables], axis=0)
    any_part = _unit_rows(gram)
    product = any_part.T @ np.sum([table.product for table in tables], axis=0)
    own = [_unit_rows(gram[np.ix_(parts == part, parts == part)]) for part in np.unique(parts)]
    rows = np.zeros((len(gram), sum(part.shape[1] for part in own)))
    rows[np.argsort(parts, kind="stable")] = block_diag(*own)
    parts_of_rows = np.repeat(np.arange(len(own)), [part.shape[1] for part in own])
    weighed = [np.tensordot(rows.T, table.weighed(n_virtual), axes=1) for table in tables]
    grams = [rows.T @ table.gram @ rows for table in tables]
    pairs = [table.pairs(n_virtual) for table in tables]
    shares = [np.trace(gram) / len(gram) for gram in grams]
    usual = np.sum([share * own for share, own in zip(shares, pairs, strict=True)], axis=0)
    together = np.sum(weighed, axis=0)
    undo = np.linalg.inv(np.mean([table.whitener for table in tables], axis=0))
    spread = (
        (1 - share_of_group) / max(share_of_group, 1 / LARGEST_SPREAD) if len(tables) > 1 else 0.0
    )
    rng = np.random.default_rng(seed)
    found = [np.zeros((len(table.gram), product.shape[1])) for table in tables]
    for _ in range(n_starts):
        start = _decompose(product.reshape(-1, *together.shape[1:]), n_sources, rng)
        common = _refine(
            _unmixed(start, undo), together, usual, np.sum(grams, axis=0), parts_of_rows
        )
        for responses, table, part, gram, pair in zip(
            found, tables, weighed, grams, pairs, strict=True
        ):
            sources = _adapt(common, gram, part, pair, spread)
            responses += rows @ sources.scores @ (sources.patterns() @ table.whitener) / n_starts
    return found


def mean_responses(
    gram: Float[np.ndarray, "n_scores n_scores"],
    product: Float[np.ndarray, "n_scores n_virtual n_times"],
    *,
    n_sources: int,
    n_starts: int,
) -> Float[np.ndarray, "n_scores n_virtual n_times"]:
    """Return the responses of sources that are found by alternating least squares alone.

    Parameters
    ----------
    gram : numpy.ndarray
        Products of scores, summed over trials.
    product : numpy.ndarray
        Products of scores and trials with unit noise, summed over trials.
    n_sources, n_starts : int
        Number of sources, and of the starts whose mean is returned.
    """
    rows = _unit_rows(gram)
    table, rng = np.tensordot(rows.T, product, axes=1), np.random.default_rng(0)
    found = np.zeros_like(table)
    for _ in range(n_starts):
        sources = _decompose(table, n_sources, rng)
        found += (sources.scores @ sources.patterns()).reshape(table.shape) / n_starts
    responses: np.ndarray = np.tensordot(rows, found, axes=1)
    return responses


def _unit_rows(gram: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n rank"]:
    """Return combinations of scores whose estimated responses have independent noise of unit variance."""
    values, vectors = np.linalg.eigh(gram)
    seen = values > 1e-6 * values[-1]
    rows: np.ndarray = vectors[:, seen] / np.sqrt(values[seen])
    return rows


def _decompose(
    table: Float[np.ndarray, "n_rows n_virtual n_times"], n_sources: int, rng: np.random.Generator
) -> Sources:
    """Return the most probable sources of a table with unit noise, from a random start."""
    factors = [rng.standard_normal((size, n_sources)) for size in table.shape]
    for axis in (1, 2):
        factors[axis] /= np.linalg.norm(factors[axis], axis=0)
    penalty = PENALTY * np.eye(n_sources)
    for _ in range(N_ROUNDS):
        for axis in range(3):
            first, second = (factor for place, factor in enumerate(factors) if place != axis)
            gram = (first.T @ first) * (second.T @ second)
            seen = np.moveaxis(table, axis, 0)
            product = np.einsum("rkm,ks,ms->sr", seen, first, second, optimize=True)
            factors[axis] = np.linalg.solve(gram + penalty, product).T
        sizes = np.stack([np.linalg.norm(factor, axis=0) for factor in factors])
        common = np.prod(sizes, axis=0) ** (1 / 3)
        safe = np.where(sizes > 0, sizes, 1.0)
        factors = [f * (common / size) for f, size in zip(factors, safe, strict=True)]
    return Sources(*factors)


def _unmixed(sources: Sources, undo: Float[np.ndarray, "n_values n_values"]) -> Sources:
    """Return the nearest sources, of unit strength, to what whitened ones were before whitening."""
    shape = (-1, len(sources.topographies), len(sources.courses))
    left, _, right = np.linalg.svd((sources.patterns() @ undo).reshape(shape), full_matrices=False)
    return Sources(sources.scores, left[:, :, 0].T, right[:, 0].T)


def _refine(
    start: Sources,
    weighed: Float[np.ndarray, "n_rows n_virtual n_times"],
    pairs: Float[np.ndarray, "n_virtual n_virtual n_times n_times"],
    cross: Float[np.ndarray, "n_rows n_rows"],
    parts: Int[np.ndarray, " n_rows"],
) -> Sources:
    """Return sources by variational Bayes, from the topographies and courses of others.

    `pairs` is the precision of the noise, `cross` the products of rows: within a part they are independent
    and of unit length. A part's rows come from one normal distribution over sources, topographies from one
    over channels, time courses from one over times; their covariances are learned.
    """
    n_sources = start.scores.shape[1]
    turned = pairs.transpose(2, 3, 0, 1)
    topographies, courses = (
        Belief(factor, np.zeros((len(factor), len(factor), n_sources, n_sources)))
        for factor in (start.topographies, start.courses)
    )
    over_channels, over_times = np.eye(len(pairs)) / len(pairs), np.eye(len(turned)) / len(turned)
    members = [parts == part for part in np.unique(parts)]
    wanted = [np.zeros((n_sources, n_sources)) for _ in members]
    scores = np.zeros((len(weighed), n_sources))
    for _ in range(N_REFINEMENTS):
        gram = _contract(pairs, courses.products())
        here = _floored(np.einsum("kjrq,kjrq->rq", gram, topographies.products(), optimize=True))
        seen = np.einsum("ikm,kr,mr->ir", weighed, topographies.mean, courses.mean, optimize=True)
        spreads = [_inverse(here + own) for own in wanted]
        for _ in range(N_SWEEPS):
            for rows, spread in zip(members, spreads, strict=True):
                others = cross[rows] @ scores - scores[rows]
                scores[rows] = (seen[rows] - others @ here) @ spread
        wanted = [
            _inverse(_floored(scores[rows].T @ scores[rows] / rows.sum() + spread))
            for rows, spread in zip(members, spreads, strict=True)
        ]
        products = scores.T @ cross @ scores + sum(
            rows.sum() * spread for rows, spread in zip(members, spreads, strict=True)
        )
        seen = np.einsum("ir,ikm,mr->kr", scores, weighed, courses.mean, optimize=True)
        topographies = _believe(gram * products, seen, _inverse(over_channels))
        over_channels = _floored(np.einsum("kjrr->kj", topographies.products()) / n_sources)
        gram = _contract(turned, topographies.products())
        seen = np.einsum("ir,ikm,kr->mr", scores, weighed, topographies.mean, optimize=True)
        courses = _believe(gram * products, seen, _inverse(over_times))
        over_times = _floored(np.einsum("mnrr->mn", courses.products()) / n_sources)
    return Sources(scores, topographies.mean, courses.mean)


def _contract(
    pairs: Float[np.ndarray, "n n n_others n_others"],
    products: Float[np.ndarray, "n_others n_others n_sources n_sources"],
) -> Float[np.ndarray, "n n n_sources n_sources"]:
    """Return the precision of the data on one factor, given expected products of the other's entries."""
    gram: np.ndarray = np.tensordot(pairs, products, axes=2)
    return gram


def _believe(
    gram: Float[np.ndarray, "n n n_sources n_sources"],
    seen: Float[np.ndarray, "n n_sources"],
    precision: Float[np.ndarray, "n n"],
) -> Belief:
    """Return what data leave of a factor whose columns have this precision beforehand."""
    n, n_sources = seen.shape
    posterior = _flat(gram) + np.kron(precision, np.eye(n_sources))
    covariance = _inverse(posterior)
    mean = (covariance @ seen.reshape(-1)).reshape(n, n_sources)
    return Belief(mean, covariance.reshape(n, n_sources, n, n_sources).transpose(0, 2, 1, 3))


def _adapt(
    sources: Sources,
    gram: Float[np.ndarray, "n_rows n_rows"],
    weighed: Float[np.ndarray, "n_rows n_virtual n_times"],
    pairs: Float[np.ndarray, "n_virtual n_virtual n_times n_times"],
    spread: float,
) -> Sources:
    """Move topographies and time courses towards what one group's trials say."""
    if spread == 0:
        return sources
    scores = sources.scores
    products = scores.T @ gram @ scores
    seen = np.einsum("ir,ikm->rkm", scores, weighed, optimize=True)
    topographies, courses = sources.topographies, sources.courses
    turned = pairs.transpose(2, 3, 0, 1)
    for _ in range(N_SUBJECT_ROUNDS):
        topographies = _drawn(pairs, courses, products, seen, sources.topographies, spread)
        courses = _drawn(
            turned, topographies, products, seen.transpose(0, 2, 1), sources.courses, spread
        )
    return Sources(scores, topographies, courses)


def _drawn(
    pairs: Float[np.ndarray, "n n n_others n_others"],
    others: Float[np.ndarray, "n_others n_sources"],
    products: Float[np.ndarray, "n_sources n_sources"],
    seen: Float[np.ndarray, "n_sources n n_others"],
    usual: Float[np.ndarray, "n n_sources"],
    spread: float,
) -> Float[np.ndarray, "n n_sources"]:
    """Return the most probable factor about the usual one, given the other factor."""
    weight = 1 / (spread * np.maximum((usual**2).mean(axis=0), 1e-12))
    gram = np.einsum("kjmn,mr,nq->kjrq", pairs, others, others, optimize=True) * products
    wanted = np.einsum("rkm,mr->kr", seen, others, optimize=True) + usual * weight
    posterior = _flat(gram) + np.diag(np.tile(weight, len(usual)))
    drawn: np.ndarray = np.linalg.solve(posterior, wanted.reshape(-1))
    return drawn.reshape(usual.shape)


def _flat(
    gram: Float[np.ndarray, "n n n_sources n_sources"],
) -> Float[np.ndarray, "n_entries n_entries"]:
    """Return the matrix over all entries of a factor, in the order of its rows."""
    size = gram.shape[0] * gram.shape[2]
    return gram.transpose(0, 2, 1, 3).reshape(size, size)


def _inverse(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return the inverse of a symmetric positive definite matrix."""
    found: np.ndarray = inv((matrix + matrix.T) / 2, assume_a="pos")
    return found


def _floored(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return a covariance that leaves every direction a little."""
    floored: np.ndarray = covariance + FLOOR * np.trace(covariance) / len(covariance) * np.eye(
        len(covariance)
    )
    return floored
