"""Exact nearest neighbours by inner product, in blocks, of galleries that may lie on disk.

Every score that is returned, and every order, comes from float32 vectors and sums in double precision.
The bulk of the work, deciding who cannot be among the nearest, is a matrix product whose rounding error
is bounded beforehand: whatever might be among the nearest within that bound is kept and scored anew.
Where the processor multiplies bfloat16 faster than float32, the product is taken in bfloat16, with its
own, larger bound: the answer is the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from tasks._errors import PerceptError

MAX_BLOCK_BYTES = 128 * 2**20
MAX_BLOCK_QUERIES = 2048
CHUNK = 128
"""Columns of which only the greatest is looked at first; a power of two."""
MANY_PRODUCTS = 10**7
"""Comparisons from which rounding the vectors to bfloat16 pays."""
MAX_PENDING = 2**20
"""Candidates that are held before they are scored anew and thinned out."""
_PAIRS_AT_ONCE = 2**12

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
        Of the products; None: the fastest one.

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
    coarse = coarse or _fastest(len(queries) * len(gallery), device)
    search = _Search(queries, gallery, k, device, coarse)
    n_columns = _n_columns(max_block_bytes)
    for start in range(0, len(gallery), n_columns):
        search.compare(start, min(start + n_columns, len(gallery)))
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


def _fastest(n_products: int, device: torch.device) -> torch.dtype:
    """Return the type in which a processor compares many vectors fastest."""
    fast = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if fast and n_products >= MANY_PRODUCTS else torch.float32


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
    """A search under way: of each query, how near the k nearest are at least, and who may be nearer."""

    queries: Queries
    gallery: Gallery
    k: int
    device: torch.device
    coarse: torch.dtype
    pending: list[_Candidates] = field(default_factory=list)

    def __post_init__(self) -> None:
        exact = torch.from_numpy(np.ascontiguousarray(self.queries, np.float32)).to(self.device)
        self.rounded = exact.to(self.coarse)
        self.norms = exact.norm(dim=1)
        self.rounding = (exact - self.rounded.float()).norm(dim=1)
        self.highest = torch.full((len(exact), self.k), -torch.inf, device=self.device)
        self.margin = torch.zeros(len(exact), device=self.device)
        self.scratch = torch.empty(0, dtype=self.coarse, device=self.device)

    def compare(self, start: int, stop: int) -> None:
        """Compare every query with a part of the gallery."""
        block = np.asarray(self.gallery[start:stop], np.float32)
        block = block if block.flags.writeable else block.copy()
        exact = torch.from_numpy(np.ascontiguousarray(block)).to(self.device)
        rounded = exact.to(self.coarse)
        self._widen(exact, rounded)
        for first in range(0, len(self.rounded), MAX_BLOCK_QUERIES):
            rows = slice(first, first + MAX_BLOCK_QUERIES)
            self._keep(self._products(self.rounded[rows], rounded), rows, start)
        if sum(len(part.rows) for part in self.pending) > MAX_PENDING:
            self._settle()

    def _products(
        self, queries: Float[Tensor, "n_rows dim"], block: Float[Tensor, "n_columns dim"]
    ) -> Float[Tensor, "n_rows n_columns"]:
        """Return all inner products, in memory that the next ones use again: fresh memory is slow."""
        size = len(queries) * len(block)
        if len(self.scratch) < size:
            self.scratch = self.scratch.new_empty(size)
        products = self.scratch[:size].view(len(queries), len(block))
        return torch.mm(queries, block.T, out=products)

    def _widen(
        self, exact: Float[Tensor, "n_columns dim"], rounded: Float[Tensor, "n_columns dim"]
    ) -> None:
        """Bound twice the error of a coarse score before it is rounded: vectors and summation."""
        longest = exact.norm(dim=1).max()
        rounding = (exact - rounded.float()).norm(dim=1).max()
        size = self.norms * longest
        vectors = self.rounding * longest + self.norms * rounding + self.rounding * rounding
        summation = exact.shape[1] * torch.finfo(torch.float32).eps * size
        self.margin = torch.maximum(self.margin, 2 * (vectors + summation))

    def _bar(self, rows: slice) -> Float[Tensor, " n_rows"]:
        """Return the coarse score below which nothing can be among the nearest.

        Rounding keeps the order and moves a score by at most half an ulp: twice that below the k-th
        highest, less the error of the others, lies whatever is out of question.
        """
        highest, margin = self.highest[rows, -1], self.margin[rows]
        return highest - margin - torch.finfo(self.coarse).eps * 1.01 * (highest.abs() + margin)

    def _keep(self, scores: Float[Tensor, "n_rows n_columns"], rows: slice, start: int) -> None:
        """Keep the columns that may be among the nearest of each row.

        The k highest chunks hold k columns, so no score below the least of their peaks can be among
        the k nearest.
        """
        n_rows, n_columns = scores.shape
        chunk = _chunk(n_columns, self.k)
        chunks = scores.view(n_rows, chunk, n_columns // chunk)
        peaks = chunks.amax(dim=1).float() if chunk > 1 else chunks[:, 0].float()
        self._raise(peaks, rows.start)
        bar = self._bar(rows)
        row, place = (peaks >= bar[:, None]).nonzero(as_tuple=True)
        values = chunks[row, :, place].float()
        which, offset = (values >= bar[row, None]).nonzero(as_tuple=True)
        column = start + offset * (n_columns // chunk) + place[which]
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
        """Score the candidates anew and keep the k nearest of each query."""
        nothing = np.zeros(0, np.int64)
        parts = [_Candidates(nothing, nothing, nothing.astype(np.float32)), *self.pending]
        every = _Candidates(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.coarse for part in parts]),
        )
        bar = self._bar(slice(None)).cpu().numpy()
        every = every.where(every.coarse >= bar[every.rows])
        self.scores = rescore(self.queries, self.gallery, every.rows, every.columns)
        order = np.lexsort((every.columns, -self.scores, every.rows))
        rows = every.rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        nearest = order[place < self.k]
        self.scores = self.scores[nearest]
        self.pending = [every.where(nearest)]

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
