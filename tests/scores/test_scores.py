import re

import numpy as np
import pytest

from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import CaptionGallery, mean_cosines, prototypes, rank
from tasks.scores.score import agreement, columns_of, ranking_scores, score
from tasks.statistics.resampling import Resampling, median

COSINES = np.array([[0.1, 0.9, 0.5], [0.7, 0.2, 0.3]])


def draw(own, n_stimuli):
    return Resampling.draw(
        np.asarray(own),
        n_stimuli,
        n_resamples=200,
        n_permutations=200,
        confidence=0.95,
        seed=0,
    )


def test_rank_counts_from_the_nearest():
    assert rank(COSINES).first.tolist() == [[3, 1, 2], [1, 3, 2]]
    assert rank(COSINES).recall(2).tolist() == [[0, 1, 1], [1, 0, 1]]


def test_items_that_cannot_be_told_apart_share_their_places():
    ranking = rank(COSINES, np.array([1, 4, 2]))
    assert ranking.first.tolist() == [[7, 1, 5], [1, 4, 2]]
    assert ranking.recall(1).tolist() == [[0, 0.25, 0], [1, 0, 0]]
    assert ranking.recall(2).tolist() == [[0, 0.5, 0], [1, 0, 0.5]]
    assert ranking.places().tolist() == [[7, 2.5, 5.5], [1, 5.5, 2.5]]
    for k in range(1, 8):  # whatever the cosines, k of seven items are among the first k
        assert (ranking.recall(k) * ranking.sizes).sum(axis=1) == pytest.approx(k)


def test_equal_captions_are_one_candidate():
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 0, 2]]
    gallery = CaptionGallery(
        tuple("abcd"), {"ThemeTag": ("x", "y", "x", "z")}, {"ThemeTag": vectors}
    )
    predicted = np.array([[0.9, 0.4, 0.1]])
    assert gallery.n_texts("ThemeTag") == 3
    by_text = gallery.caption_ranking("ThemeTag", predicted)
    assert by_text.recall(1).tolist() == [[1, 0, 1, 0]]
    by_stimulus = gallery.stimulus_ranking(["ThemeTag"], {"ThemeTag": predicted})
    assert by_stimulus.recall(1).tolist() == [[0.5, 0, 0.5, 0]]
    assert by_stimulus.places().tolist() == [[1.5, 3, 1.5, 4]]


def test_prototypes_are_unit_means_and_kinds_are_averaged():
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    found = prototypes(vectors, ["cat", "cat", "dog"], ["dog", "cat"])
    assert found == pytest.approx(np.array([[0, 1], [0.5**0.5, 0.5**0.5]]))
    predicted = {"ObjectSnap": np.array([[1.0, 0]]), "ThemeTag": np.array([[0, 1.0]])}
    cosines = mean_cosines(predicted, {"ObjectSnap": found, "ThemeTag": found})
    assert cosines == pytest.approx(np.array([[0.5, 0.5**0.5]]))


def test_a_concept_without_captions_is_named():
    message = (
        "Every concept needs a caption to name it; dog have none. Run `dvc repro caption embed`."
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        prototypes(np.eye(2, dtype=np.float32), ["cat", "cat"], ["cat", "dog"])


def test_score_is_the_mean_over_own_stimuli():
    matrix = agreement(["x", "y", "y", "x"], ["x", "y", "x"])
    found = score(matrix, draw([0, 1, 2, 2], 3), chance=0.5, ceiling=0.9)
    assert (found.value, found.n, found.chance, found.ceiling) == (0.75, 4, 0.5, 0.9)
    assert found.control == pytest.approx(0.5, abs=0.1)


def test_unknown_chance_is_what_permutations_score():
    found = score(agreement(list("xxyy"), list("xxyy")), draw(range(4), 4), chance=None)
    assert found.chance == 0.5  # over all permutations; the control is the mean of those drawn
    assert found.control == pytest.approx(0.5, abs=0.05)


def test_lower_ranks_are_better():
    places = 1.0 + (np.arange(30)[:, None] != np.arange(30)[None]) * 14
    found = score(
        places,
        draw(range(30), 30),
        chance=15.5,
        statistic=median,
        lower_is_better=True,
        unit="rank",
    )
    assert (found.value, found.control) == (1, 15)
    assert found.p_value == pytest.approx(1 / 201)


def test_names_carry_the_size_of_the_gallery_and_no_k_takes_in_all_of_it():
    ranking = rank(np.eye(4))
    scores = ranking_scores("concept", "_x", ranking, 4, (1, 3, 4, 10), draw(range(4), 4))
    assert list(scores) == [
        "concept_recall_at_1_of_4_x",
        "concept_recall_at_3_of_4_x",
        "concept_mean_reciprocal_rank_of_4_x",
        "concept_median_rank_of_4_x",
    ]


def test_verdict_is_in_words():
    right = np.eye(40)
    assert score(right, draw(np.arange(40), 40), chance=None).verdict == (
        "Better than the same predictions for shuffled stimuli (p = 0.005, stimuli exchanged)."
    )
    wrong = np.roll(right, 1, axis=0)
    found = score(wrong, draw(np.arange(40), 40), chance=None).verdict
    assert found.startswith(
        "Not told from the same predictions for shuffled stimuli: at most 0.000"
    )


def test_unknown_items_are_named():
    message = "Everything scored must be in `stimuli`; 1 are not, 'c' first. Run `dvc repro`."
    with pytest.raises(PerceptError, match=re.escape(message)):
        columns_of("abc", "ab", "`stimuli`")
