"""Exact nearest neighbours by cosine similarity."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from tasks._errors import PerceptError

MAX_BLOCK_BYTES = 64 * 2**20
MAX_BLOCK_QUERIES = 1024


class SearchError(PerceptError):
    """A search cannot be answered."""


def top_k(
    queries: Float32[np.ndarray, "n_queries dim"],
    gallery: Float32[np.ndarray, "n_gallery dim"],
    k: int,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> tuple[Int64[np.ndarray, "n_queries k"], Float32[np.ndarray, "n_queries k"]]:
    """Return the nearest vectors of a gallery, nearest first, equally near ones in gallery order.

    Each query is ranked by itself. Equal vectors are compared once, so that they are equally near to
    the last bit; the product is taken block by block, so that memory does not grow with either side.

    Parameters
    ----------
    queries, gallery : Float32[np.ndarray, "n dim"]
        Unit-norm vectors. A gallery in the order of its ids makes ties fall to the smaller id.
    k : int
        Neighbours per query.
    max_block_bytes : int
        Bound on the similarities that are held at once.

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
    if len(gallery) < k:
        raise SearchError(
            f"A gallery must hold at least k = {k} vectors; it holds {len(gallery)}. Lower k."
        )
    if queries.shape[1] != gallery.shape[1]:
        raise SearchError(
            f"Queries and gallery must have one dimension; found {queries.shape[1]} and "
            f"{gallery.shape[1]}. Embed the captions and train the encoder with the same model."
        )
    distinct, members = _distinct(gallery, k)
    groups, cosines = _search(
        torch.from_numpy(queries),
        torch.from_numpy(distinct),
        min(k, len(distinct)),
        max_block_bytes,
    )
    rows = members[groups.numpy()].reshape(len(queries), groups.shape[1] * k)
    near = np.repeat(cosines.numpy(), k, axis=1)
    near[rows == len(gallery)] = -np.inf  # groups of fewer than k rows
    order = np.lexsort((rows, -near), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(near, order, 1)


def _distinct(
    gallery: Float32[np.ndarray, "n_gallery dim"], k: int
) -> tuple[Float32[np.ndarray, "n_groups dim"], Int64[np.ndarray, "n_groups k"]]:
    """Group equal vectors; return one of each group and the first `k` rows of each.

    Groups are in the order of their first rows. Groups of fewer rows are filled up with `n_gallery`.
    """
    n_gallery, dim = gallery.shape
    rows = np.ascontiguousarray(gallery).view(np.dtype((np.void, 4 * dim))).ravel()
    _, first, group_of = np.unique(rows, return_index=True, return_inverse=True)
    position = np.empty_like(first)
    position[np.argsort(first)] = np.arange(len(first))
    group_of = position[group_of]
    by_group = np.append(np.argsort(group_of, kind="stable"), n_gallery)
    counts = np.bincount(group_of)
    starts = np.cumsum(counts) - counts
    place = np.arange(k)[None, :]
    members = by_group[np.where(place < counts[:, None], starts[:, None] + place, n_gallery)]
    return gallery[np.sort(first)], members


def _search(
    queries: Float[Tensor, "n_queries dim"],
    gallery: Float[Tensor, "n_gallery dim"],
    k: int,
    max_block_bytes: int,
) -> tuple[Int64[Tensor, "n_queries k"], Float[Tensor, "n_queries k"]]:
    """Return the top `k` of each query, block by block."""
    n_columns = max(1, max_block_bytes // (4 * MAX_BLOCK_QUERIES))
    indices, cosines = [], []
    for block in torch.split(queries, MAX_BLOCK_QUERIES):
        best = torch.empty(len(block), 0), torch.empty(len(block), 0, dtype=torch.int64)
        for start in range(0, len(gallery), n_columns):
            scores = block @ gallery[start : start + n_columns].T
            values, columns = _block_top_k(scores, min(k, scores.shape[1]))
            best = _merge(best, (values, columns + start), k)
        cosines.append(best[0])
        indices.append(best[1])
    return torch.cat(indices), torch.cat(cosines)


def _block_top_k(
    scores: Float[Tensor, "n_queries n_columns"], k: int
) -> tuple[Float[Tensor, "n_queries k"], Int64[Tensor, "n_queries k"]]:
    """Return the top `k` columns in ascending order, of equal scores the first ones."""
    values, columns = scores.topk(k, dim=1)
    tied = (scores >= values[:, -1:]).sum(1) > k  # topk may have chosen any of them
    if tied.any():
        ordered = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], columns[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    columns, order = columns.sort(dim=1)
    return values.gather(1, order), columns


def _merge(
    best: tuple[Tensor, Tensor], block: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """Merge the best so far with a block of larger indices; equal scores keep their order."""
    values = torch.cat([best[0], block[0]], dim=1)
    indices = torch.cat([best[1], block[1]], dim=1)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :k], indices.gather(1, order)[:, :k]
