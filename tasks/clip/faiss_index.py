"""Exact search by a faiss index in memory: the same answers as `tasks.clip.search`, by other means."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.clip.search import Answers, Gallery, Queries, SearchError, rescore, top_k

BLOCK = 50_000
SLACK = 16
"""Neighbours beyond those that are wanted: what rounding may have put into another order."""


def faiss_top_k(queries: Queries, gallery: Gallery, k: int) -> Answers:
    """Return the nearest vectors of a gallery as `tasks.clip.search.top_k` does, through faiss's flat index.

    The index holds a copy of the gallery in memory. Its scores are sums in single precision, so the
    neighbours are scored anew; a query whose order the slack does not settle, because too many vectors
    are about equally near, is answered by `top_k`.

    Parameters
    ----------
    queries : Float32[np.ndarray, "n_queries dim"]
        What neighbours are wanted of.
    gallery : Float[np.ndarray, "n_gallery dim"]
        Float32 or float16, in memory or mapped from disk.
    k : int
        Neighbours per query.

    Returns
    -------
    indices : Int64[np.ndarray, "n_queries k"]
        Rows of the gallery, nearest first, ties in gallery order.
    cosines : Float32[np.ndarray, "n_queries k"]
        Their similarities.

    Raises
    ------
    SearchError
        If faiss is not installed, the gallery holds fewer than `k` vectors, or the two differ in their
        dimension.
    """
    if not 1 <= k <= len(gallery) or queries.shape[1] != gallery.shape[1]:
        return top_k(queries, gallery, k)  # which says what is wrong
    n_found = min(k + SLACK, len(gallery))
    rough, found = _index(gallery).search(np.ascontiguousarray(queries, np.float32), n_found)
    rows = np.repeat(np.arange(len(queries)), n_found)
    scores = rescore(queries, gallery, rows, found.ravel()).reshape(found.shape)
    order = np.lexsort((found, -scores), axis=1)[:, :k]
    indices = np.take_along_axis(found, order, axis=1)
    cosines = np.take_along_axis(scores, order, axis=1)
    if n_found < len(gallery):
        longest = float(np.linalg.norm(np.asarray(queries), axis=1).max()) * _longest(gallery)
        error = 2 * queries.shape[1] * np.finfo(np.float32).eps * longest
        open_ = np.flatnonzero(rough[:, -1] + error >= cosines[:, -1])
        if len(open_):
            indices[open_], cosines[open_] = top_k(queries[open_], gallery, k)
    return indices.astype(np.int64), cosines


def _index(gallery: Gallery) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise SearchError(
            "An index of faiss needs the package faiss-cpu; it is not installed. Install percept[faiss], "
            "or search without it."
        ) from error
    index = faiss.IndexFlatIP(gallery.shape[1])
    for start in range(0, len(gallery), BLOCK):
        index.add(np.ascontiguousarray(gallery[start : start + BLOCK], np.float32))
    return index


def _longest(gallery: Gallery) -> float:
    """Return the norm of the longest vector."""
    return max(
        float(np.linalg.norm(np.asarray(gallery[start : start + BLOCK], np.float32), axis=1).max())
        for start in range(0, len(gallery), BLOCK)
    )
