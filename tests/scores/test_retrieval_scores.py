"""Rankings that forgive near duplicates, fuse heads by rank, or look around."""

import math

import numpy as np
import pytest

from tasks.scores.ranking import CaptionGallery, rank
from tasks.scores.retrieval import (
    best_of_group,
    chance_of_groups,
    csls,
    forgiving_scores,
    fuse_ranks,
    near_duplicates,
    other_rankings,
)
from tasks.statistics.resampling import Resampling

RESAMPLING = Resampling.draw(
    np.arange(4), 4, n_resamples=50, n_permutations=50, confidence=0.95, seed=0
)


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
"""The first two say the same."""


def test_near_duplicates_are_no_chains():
    vectors = unit([[1, 0], [1, 0.3], [1, 0.6]])
    assert near_duplicates(vectors).tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]


def test_a_near_duplicate_that_is_found_first_is_right():
    predicted = VECTORS[[1, 0, 2, 3]]  # each of the first two is taken for the other
    gallery = CaptionGallery(tuple("abcd"), {"ThemeTag": tuple("wxyz")}, {"ThemeTag": VECTORS})
    strict = gallery.caption_ranking("ThemeTag", predicted).recall(1)
    assert strict.diagonal().tolist() == [0, 0, 1, 1]
    scores = forgiving_scores(gallery, {"ThemeTag": predicted}, (1, 4), RESAMPLING)
    assert list(scores) == [
        "caption_or_near_duplicate_recall_at_1_of_4_ThemeTag",
        "caption_or_near_duplicate_median_rank_of_4_ThemeTag",
    ]
    assert scores["caption_or_near_duplicate_recall_at_1_of_4_ThemeTag"].value == 1
    assert scores["caption_or_near_duplicate_recall_at_1_of_4_ThemeTag"].chance == pytest.approx(
        (2 / 4 + 2 / 4 + 1 / 4 + 1 / 4) / 4
    )


def test_where_no_caption_says_what_another_says_there_is_nothing_to_forgive():
    different = VECTORS[[0, 2, 3]]
    gallery = CaptionGallery(tuple("abc"), {"ThemeTag": tuple("xyz")}, {"ThemeTag": different})
    predicted = {"ThemeTag": different}
    assert forgiving_scores(gallery, predicted, (1,), RESAMPLING) == {}


def test_chance_is_what_guessing_reaches():
    rng = np.random.default_rng(0)
    sizes, n_items, k = np.array([1, 3, 6]), 8, 3
    expected = np.mean([1 - math.comb(n_items - size, k) / math.comb(n_items, k) for size in sizes])
    assert chance_of_groups(sizes, n_items, k) == pytest.approx(expected)
    group = np.arange(n_items)[None] < sizes[:, None]
    first = rank(rng.random((4000, n_items))).first
    assert best_of_group(first, group).recall(k).mean() == pytest.approx(expected, abs=0.02)


def test_mean_reciprocal_rank_shares_places():
    ranking = rank(np.array([[0.1, 0.9, 0.5]]), np.array([1, 2, 2]))
    assert ranking.reciprocal() == pytest.approx(
        np.array([[1 / 5, (1 + 1 / 2) / 2, (1 / 3 + 1 / 4) / 2]])
    )


def test_ranks_are_fused_by_their_reciprocals():
    fused = fuse_ranks([np.array([[1, 2, 3]]), np.array([[3, 1, 2]])])
    assert fused == pytest.approx(np.array([[1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62]]))


def test_csls_undoes_a_hub():
    cosines = np.array([[0.6, 0.7, 0.1], [0.1, 0.7, 0.6], [0.2, 0.9, 0.2]])
    assert cosines.argmax(axis=1).tolist() == [1, 1, 1]
    assert csls(cosines).argmax(axis=1).tolist() == [0, 2, 1]


def test_what_looks_at_other_trials_says_so():
    gallery = CaptionGallery(tuple("abcd"), {"ThemeTag": tuple("wxyz")}, {"ThemeTag": VECTORS})
    rankings = other_rankings(gallery, {"ThemeTag": VECTORS})
    assert list(rankings) == ["rank_fused_stimulus", "transductive_csls_stimulus"]
    assert rankings["rank_fused_stimulus"].first.diagonal().tolist() == [1, 1, 1, 1]
