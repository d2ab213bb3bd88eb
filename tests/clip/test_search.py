"""Exact search against a naive argsort."""

import tracemalloc

import numpy as np
import pytest
import torch

from tasks.clip.search import SearchError, _Search, top_k

AVX512_VNNI = torch.cpu.get_capabilities().get("avx512_vnni", False)


def unit(rng, n, dim=16):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(queries, gallery, k):
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("max_block_bytes", [1, 4 * 2048 * 7, 2**26])
def test_the_answer_is_the_naive_one_whatever_the_blocks(k, max_block_bytes):
    rng = np.random.default_rng(0)
    queries, gallery = unit(rng, 1100), unit(rng, 40)
    indices, cosines = top_k(queries, gallery, k, max_block_bytes)
    expected, scores = naive(queries, gallery, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(cosines, scores, atol=1e-6)
    assert cosines.dtype == np.float32


@pytest.mark.parametrize("max_block_bytes", [1, 4 * 2048 * 7, 2**26])
def test_equal_vectors_are_equally_near_and_in_gallery_order(max_block_bytes):
    rng = np.random.default_rng(1)
    words = unit(rng, 6)
    spelt = rng.integers(6, size=300)
    queries = unit(rng, 50)
    indices, cosines = top_k(queries, words[spelt], 60, max_block_bytes)
    scores = (queries @ words.T)[:, spelt]
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :60]
    np.testing.assert_array_equal(indices, expected)
    assert all(len(set(row)) <= 6 for row in cosines)


def test_different_vectors_that_are_equally_near_are_in_gallery_order():
    gallery = np.eye(8, dtype=np.float32)[[3, 1, 0, 2, 1, 3, 5, 6]]
    queries = np.eye(8, dtype=np.float32)[[7, 1]]
    indices, cosines = top_k(queries, gallery, 4)
    np.testing.assert_array_equal(indices, [[0, 1, 2, 3], [1, 4, 0, 2]])
    np.testing.assert_array_equal(cosines, [[0, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("coarse", [torch.int8, torch.bfloat16, torch.float32])
def test_rounded_products_do_not_change_the_answer(k, coarse):
    """Vectors in a narrow cone, as texts have them: many are nearer than bfloat16 can tell."""
    rng = np.random.default_rng(3)
    gallery = unit(rng, 3000, 64) * 0.05 + np.eye(64, dtype=np.float32)[0]
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries, spelt = gallery[::30] + 0, rng.integers(1000, size=3000)
    found = top_k(queries, gallery[spelt], k, 4 * 2048 * 256, coarse=coarse)
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    expected = np.argsort(-scores.astype(np.float32)[:, spelt], axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.skipif(not AVX512_VNNI, reason="this processor does not multiply int8 fast")
@pytest.mark.parametrize(("spread", "n_types"), [(1.0, 1), (1e-3, 3)])
def test_a_type_that_decides_too_little_gives_way_to_the_next(monkeypatch, spread, n_types):
    monkeypatch.setattr("tasks.clip.search.FIRST_CANDIDATES", 100)
    used, products = [], _Search._products

    def noting(self, *pair):
        used.append(self.coarse)
        return products(self, *pair)

    monkeypatch.setattr(_Search, "_products", noting)
    rng = np.random.default_rng(6)
    gallery = unit(rng, 20_000, 64)
    gallery[:, 0] *= 1 / spread  # one direction takes all the precision and ranks little
    queries = unit(rng, 600, 64) * np.r_[spread, np.ones(63)].astype(np.float32)
    indices, _ = top_k(queries, gallery, 3, 4 * 2048 * 4096)
    np.testing.assert_array_equal(indices, naive(queries, gallery, 3)[0])
    assert list(dict.fromkeys(used)) == [torch.int8, torch.bfloat16, torch.float32][:n_types]


def test_a_gallery_on_disk_in_half_precision(tmp_path):
    rng = np.random.default_rng(4)
    gallery = unit(rng, 500).astype(np.float16)
    np.save(tmp_path / "gallery.npy", gallery)
    queries = unit(rng, 20)
    indices, cosines = top_k(queries, np.load(tmp_path / "gallery.npy", mmap_mode="r"), 5, 2**16)
    expected, scores = naive(queries, gallery.astype(np.float32), 5)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(cosines, scores, atol=1e-6)


def test_more_candidates_than_are_held_at_once(monkeypatch):
    monkeypatch.setattr("tasks.clip.search.MAX_PENDING", 100)
    rng = np.random.default_rng(5)
    queries, words, spelt = unit(rng, 50), unit(rng, 12), rng.integers(12, size=900)
    indices, _ = top_k(queries, words[spelt], 6, 4 * 2048 * 64)
    expected = np.argsort(-(queries @ words.T)[:, spelt], axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(indices, expected)


def test_ties_at_the_edge_of_a_block_fall_to_the_first():
    gallery = -np.eye(64, dtype=np.float32)
    queries = np.eye(64, dtype=np.float32)[:1]
    indices, _ = top_k(queries, gallery, 5, max_block_bytes=4 * 2048 * 8)
    np.testing.assert_array_equal(indices, [[1, 2, 3, 4, 5]])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_product():
    rng = np.random.default_rng(2)
    queries, gallery = unit(rng, 1030, 4), unit(rng, 20_000, 4)
    tracemalloc.start()
    top_k(queries, gallery, 3, max_block_bytes=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < queries.shape[0] * gallery.shape[0] * 4 / 10


def test_no_queries_no_answers():
    indices, cosines = top_k(np.zeros((0, 4), np.float32), np.eye(4, dtype=np.float32), 2)
    assert indices.shape == cosines.shape == (0, 2)


def test_a_gallery_smaller_than_k_is_refused():
    with pytest.raises(SearchError) as error:
        top_k(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), 5)
    assert str(error.value) == ("A gallery must hold at least k = 5 vectors; it holds 4. Lower k.")


def test_no_neighbours_are_refused():
    with pytest.raises(SearchError) as error:
        top_k(np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32), 0)
    assert str(error.value) == "A search must be for at least one neighbour; k is 0. Raise k."


def test_other_dimensions_are_refused():
    with pytest.raises(SearchError, match="found 4 and 5"):
        top_k(np.eye(4, dtype=np.float32), np.eye(5, dtype=np.float32), 1)
