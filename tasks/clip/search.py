"""Exact nearest neighbours by inner product, in blocks, of galleries that may lie on disk.

Every score that is returned, and every order, comes from float32 vectors and sums in double precision.
The bulk of the work, deciding who cannot be among the nearest, is a matrix product whose rounding error
is bounded beforehand: whatever might be among the nearest within that bound is kept and scored anew.
Where the processor multiplies integers of eight bits or bfloat16 faster than float32, the product is
taken of these, with its own, larger bound: the answer is the same to the last bit. What all vectors of a
gallery have in common is taken away first: it ranks nothing, and costs precision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from tasks.runtime.errors import PerceptError

MAX_BLOCK_BYTES = 128 * 2**20
MAX_BLOCK_QUERIES = 2048
CHUNK = 128
"""Columns of which only the greatest is looked at first; a power of two."""
MANY_PRODUCTS = 10**7
"""Comparisons from which rounding the vectors pays."""
SWAMP = 1e-3
"""Share of comparisons left undecided above which scoring them anew costs more than rounding saves."""
FIRST_CANDIDATES = 2000
"""Undecided comparisons of each query that are no sign of a swamp: in the beginning all are near."""
N_FOR_MEAN = 4096
"""Vectors whose mean stands for what all have in common."""
MAX_PENDING = 2**20
"""Candidates that are held before they are scored anew and thinned out."""
_PAIRS_AT_ONCE = 2**8

Queries = Float32[np.ndarray, "n_queries dim"]
Gallery = Float[np.ndarray, "n_gallery dim"]
Answers = tuple[Int64[np.ndarray, "n_queries k"], Float32[np.ndarray, "n_queries k"]]


class SearchError(PerceptError):
    """A search cannot be answered."""


def top_k(
    queries: Queries,
    gallery: Gallery,
    k: int,
    max_block_bytes: int = MAX_BLOCK_BYTES,
    *,
    device: torch.device | None = None,
    coarse: torch.dtype | None = None,
) -> Answers:
    """Return the nearest vectors of a gallery, nearest first, equally near ones in gallery order.

    Each query is ranked by itself. Equal vectors are equally near to the last bit; memory grows with
    neither side.

    Parameters
    ----------
    queries : Float32[np.ndarray, "n_queries dim"]
        What neighbours are wanted of.
    gallery : Float[np.ndarray, "n_gallery dim"]
        Float32 or float16, in memory or mapped from disk: it is read once, front to back. In the
        order of its ids, ties fall to the smaller id.
    k : int
        Neighbours per query.
    max_block_bytes : int
        Bound on the similarities that are held at once.
    device : torch.device or None
        Where products are taken; None: on the CPU.
    coarse : torch.dtype or None
        Of the products: int8, bfloat16 or float32; None: the fastest one that decides enough.

    Returns
    -------
    indices : Int64[np.ndarray, "n_queries k"]
        Rows of the gallery.
    cosines : Float32[np.ndarray, "n_queries k"]
        Their similarities.

    Raises
    ------
    SearchError
        If the gallery holds fewer than `k` vectors, or the two differ in their dimension.
    """
    _check(queries, gallery, k)
    device = device or torch.device("cpu")
    types = [coarse] if coarse else _fastest_first(len(queries) * len(gallery), device)
    n_columns = _n_columns(max_block_bytes)
    for number, kind in enumerate(types, start=1):
        search = _Search(queries, gallery, k, device, kind)
        for start in range(0, len(gallery), n_columns):
            search.compare(start, min(start + n_columns, len(gallery)))
            if search.is_swamped() and number < len(types):
                break
        else:
            break
    return search.answers()


def rescore(
    queries: Queries,
    gallery: Gallery,
    rows: Int64[np.ndarray, " n"],
    columns: Int64[np.ndarray, " n"],
) -> Float32[np.ndarray, " n"]:
    """Return the inner products of pairs, summed in double precision: equal pairs, equal scores."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        products = np.multiply(queries[rows[pairs]], gallery[columns[pairs]], dtype=np.float32)
        scores[pairs] = products.sum(axis=1, dtype=np.float64)
    return scores


def _check(queries: Queries, gallery: Gallery, k: int) -> None:
    if k < 1:
        raise SearchError(f"A search must be for at least one neighbour; k is {k}. Raise k.")
    if len(gallery) < k:
        raise SearchError(
            f"A gallery must hold at least k = {k} vectors; it holds {len(gallery)}. Lower k."
        )
    if queries.shape[1] != gallery.shape[1]:
        raise SearchError(
            f"Queries and gallery must have one dimension; found {queries.shape[1]} and "
            f"{gallery.shape[1]}. Embed the captions and train the encoder with the same model."
        )


def _n_columns(max_block_bytes: int) -> int:
    """Return how many vectors of a gallery are compared at once: whole chunks, where there is room."""
    n_columns = max(1, max_block_bytes // (4 * MAX_BLOCK_QUERIES))
    return n_columns - n_columns % CHUNK or n_columns


def _fastest_first(n_products: int, device: torch.device) -> list[torch.dtype]:
    """Return the types in which a processor compares vectors, the fastest first."""
    if device.type != "cpu" or n_products < MANY_PRODUCTS:
        return [torch.float32]
    able = torch.cpu.get_capabilities()
    flags = {torch.int8: "avx512_vnni", torch.bfloat16: "avx512_bf16"}
    return [*(kind for kind, flag in flags.items() if able.get(flag, False)), torch.float32]


class _Rounded(NamedTuple):
    """Vectors in a coarse type.

    Attributes
    ----------
    values : Tensor
        Shape (n, dim).
    scale : Tensor
        What values are in units of: shape (n, 1), or (1, 1) for all vectors.
    error : Tensor
        Shape (n,): how far, at most, values are from the vectors.
    """

    values: Tensor
    scale: Tensor
    error: Float[Tensor, " n"]


def _rounded(
    exact: Float[Tensor, "n dim"], kind: torch.dtype, *, scale_each: bool = False
) -> _Rounded:
    if kind == torch.int8:
        axis = 1 if scale_each else (0, 1)
        largest = exact.abs().amax(dim=axis, keepdim=True)
        scale = (largest / torch.iinfo(kind).max).clamp_min(torch.finfo(torch.float32).tiny)
        values = (exact / scale).round_().to(kind)
    else:
        scale, values = exact.new_ones(len(exact) if scale_each else 1, 1), exact.to(kind)
    return _Rounded(values, scale, torch.addcmul(exact, values.float(), -scale).norm(dim=1))


@dataclass
class _Candidates:
    """Pairs of a query and a gallery vector that may be near enough, with their coarse scores."""

    rows: Int64[np.ndarray, " n"]
    columns: Int64[np.ndarray, " n"]
    coarse: Float32[np.ndarray, " n"]

    def where(self, chosen: np.ndarray) -> _Candidates:
        return _Candidates(self.rows[chosen], self.columns[chosen], self.coarse[chosen])


@dataclass
class _Search:
    """A search under way: of each query, how near the k nearest are at least, and who may be nearer.

    Coarse scores are those of the gallery less what its vectors have in common.
    """

    queries: Queries
    gallery: Gallery
    k: int
    device: torch.device
    coarse: torch.dtype
    pending: list[_Candidates] = field(default_factory=list)

    def __post_init__(self) -> None:
        exact = torch.from_numpy(np.ascontiguousarray(self.queries, np.float32)).to(self.device)
        self.rounded = _rounded(exact, self.coarse, scale_each=True)
        self.norms = exact.norm(dim=1)
        self.common = np.mean(self.gallery[:N_FOR_MEAN], axis=0, dtype=np.float32)
        self.n_compared = self.n_found = 0
        self.highest = torch.full((len(exact), self.k), -torch.inf, device=self.device)
        self.margin = torch.zeros(len(exact), device=self.device)
        self.known = torch.full_like(self.margin, -torch.inf)
        scores = torch.int32 if self.coarse == torch.int8 else self.coarse
        self.scratch = torch.empty(0, dtype=scores, device=self.device)
        self.score_eps = torch.finfo(scores if scores.is_floating_point else torch.float32).eps

    def compare(self, start: int, stop: int) -> None:
        """Compare every query with a part of the gallery."""
        block = np.asarray(self.gallery[start:stop], np.float32) - self.common
        exact = torch.from_numpy(block).to(self.device)
        rounded = _rounded(exact, self.coarse)
        self._widen(exact, rounded)
        for first in range(0, len(self.queries), MAX_BLOCK_QUERIES):
            rows = slice(first, first + MAX_BLOCK_QUERIES)
            products = self._products(self.rounded.values[rows], rounded.values)
            self._keep(products, self.rounded.scale[rows] * rounded.scale, rows, start)
        self.n_compared += len(self.queries) * len(exact)
        if sum(len(part.rows) for part in self.pending) > MAX_PENDING:
            self._settle()

    def is_swamped(self) -> bool:
        """Tell whether too many comparisons are undecided for this type to pay."""
        return self.n_found > SWAMP * self.n_compared + FIRST_CANDIDATES * len(self.queries)

    def _products(
        self, queries: Float[Tensor, "n_rows dim"], block: Float[Tensor, "n_columns dim"]
    ) -> Float[Tensor, "n_rows n_columns"]:
        """Return all inner products, in memory that the next ones use again: fresh memory is slow."""
        size = len(queries) * len(block)
        if len(self.scratch) < size:
            self.scratch = self.scratch.new_empty(size)
        products = self.scratch[:size].view(len(queries), len(block))
        multiply = torch._int_mm if self.coarse == torch.int8 else torch.mm
        return multiply(queries, block.T, out=products)

    def _widen(self, exact: Float[Tensor, "n_columns dim"], rounded: _Rounded) -> None:
        """Bound twice the error of a coarse score before it is rounded: vectors and summation."""
        longest, rounding = exact.norm(dim=1).max(), rounded.error.max()
        size = self.norms * (longest + float(np.linalg.norm(self.common)))
        vectors = (
            self.rounded.error * longest + self.norms * rounding + self.rounded.error * rounding
        )
        summation = (exact.shape[1] + 4) * torch.finfo(torch.float32).eps * size
        self.margin = torch.maximum(self.margin, 2 * (vectors + summation))

    def _bar(self, rows: slice) -> Float[Tensor, " n_rows"]:
        """Return the coarse score below which nothing can be among the nearest.

        Rounding keeps the order and moves a score by at most half an ulp: twice that below the k-th
        highest, less the error of the others, lies whatever is out of question. Where k exact scores are
        known, only the error of the others counts.
        """
        highest, margin, known = self.highest[rows, -1], self.margin[rows], self.known[rows]
        slack = self.score_eps * 1.01
        coarse = highest - margin - slack * (highest.abs() + margin)
        return torch.maximum(coarse, known - margin / 2 - slack * (known.abs() + margin))

    def _keep(self, scores: Tensor, scale: Tensor, rows: slice, start: int) -> None:
        """Keep the columns that may be among the nearest of each row.

        The k highest chunks hold k columns, so no score below the least of their peaks can be among
        the k nearest.
        """
        n_rows, n_columns = scores.shape
        chunk = _chunk(n_columns, self.k)
        chunks = scores.view(n_rows, chunk, n_columns // chunk)
        peaks = scale * (chunks.amax(dim=1) if chunk > 1 else chunks[:, 0]).float()
        self._raise(peaks, rows.start)
        bar = self._bar(rows)
        row, place = (peaks >= bar[:, None]).nonzero(as_tuple=True)
        values = scale[row] * chunks[row, :, place].float()
        which, offset = (values >= bar[row, None]).nonzero(as_tuple=True)
        column = start + offset * (n_columns // chunk) + place[which]
        self.n_found += len(which)
        self.pending.append(
            _Candidates(
                (row[which] + rows.start).cpu().numpy(),
                column.cpu().numpy(),
                values[which, offset].cpu().numpy(),
            )
        )

    def _raise(self, peaks: Float[Tensor, "n_rows n_chunks"], start: int) -> None:
        """Take the peaks that are among the highest of their rows."""
        rows = (
            start
            + (peaks.amax(dim=1) > self.highest[start : start + len(peaks), -1]).nonzero()[:, 0]
        )
        best = peaks[rows - start].topk(min(self.k, peaks.shape[1]), dim=1).values
        both = torch.cat([self.highest[rows], best], dim=1)
        self.highest[rows] = both.topk(self.k, dim=1).values

    def _settle(self) -> None:
        """Score the candidates anew and keep the k nearest of each query.

        Those that look nearest come first: their scores decide about most of the others.
        """
        nothing = np.zeros(0, np.int64)
        parts = [_Candidates(nothing, nothing, nothing.astype(np.float32)), *self.pending]
        every = _Candidates(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.coarse for part in parts]),
        )
        every = every.where(self._are_open(every))
        highest = self.highest[:, -1].cpu().numpy()
        first = np.flatnonzero(every.coarse >= highest[every.rows])
        scores = rescore(self.queries, self.gallery, every.rows[first], every.columns[first])
        self._learn(every.rows[first], scores)
        every = every.where(self._are_open(every))
        scores = rescore(self.queries, self.gallery, every.rows, every.columns)
        nearest = self._nearest(every, scores)
        self.scores = scores[nearest]
        self.pending = [every.where(nearest)]

    def _are_open(self, candidates: _Candidates) -> np.ndarray:
        """Tell which candidates may be among the nearest."""
        bar = self._bar(slice(None)).cpu().numpy()
        return np.asarray(candidates.coarse >= bar[candidates.rows])

    def _nearest(self, candidates: _Candidates, scores: np.ndarray) -> Int64[np.ndarray, " n"]:
        """Return the k nearest candidates of each query, query by query, nearest first."""
        order = np.lexsort((candidates.columns, -scores, candidates.rows))
        rows = candidates.rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        return np.asarray(order[place < self.k])

    def _learn(self, rows: Int64[np.ndarray, " n"], scores: Float32[np.ndarray, " n"]) -> None:
        """Remember the k-th exact score of each query that has k of them."""
        n_known = np.bincount(rows, minlength=len(self.queries))
        least = np.full(len(self.queries), np.inf, np.float32)
        np.minimum.at(least, rows, scores)
        least[n_known < self.k] = -np.inf
        found = torch.from_numpy(least - self.queries @ self.common).to(self.device)
        self.known = torch.maximum(self.known, found)

    def answers(self) -> Answers:
        """Return the nearest of each query."""
        self._settle()
        shape = len(self.queries), self.k
        return self.pending[0].columns.reshape(shape), self.scores.reshape(shape)


def _chunk(n_columns: int, k: int) -> int:
    """Return the longest chunk that divides the columns and leaves at least k chunks."""
    chunk = CHUNK
    while chunk > 1 and (n_columns % chunk or n_columns // chunk < k):
        chunk //= 2
    return chunk
