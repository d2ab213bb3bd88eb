"""Two ways to search, one answer."""

import numpy as np
import pytest

from tasks.clip.faiss_index import SLACK, faiss_top_k
from tasks.clip.search import SearchError, top_k


def unit(rng, n, dim=64):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("precision", [np.float32, np.float16])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_faiss_gives_the_same_rows_and_the_same_bits(k, precision):
    rng = np.random.default_rng(0)
    queries, gallery = unit(rng, 70), unit(rng, 3000).astype(precision)
    ours, theirs = top_k(queries, gallery, k), faiss_top_k(queries, gallery, k)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_more_ties_than_the_slack_are_settled_by_gallery_order():
    rng = np.random.default_rng(1)
    distinct = unit(rng, 20)
    gallery = distinct[rng.integers(0, 20, 40 * SLACK)]
    queries = unit(rng, 30)
    ours, theirs = top_k(queries, gallery, 5), faiss_top_k(queries, gallery, 5)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert (np.diff(theirs[0], axis=1) > 0).all()


def test_a_small_gallery_is_refused_in_the_same_words():
    rng = np.random.default_rng(2)
    with pytest.raises(SearchError, match=r"at least k = 9 vectors; it holds 8"):
        faiss_top_k(unit(rng, 2), unit(rng, 8), 9)
