from dataclasses import replace

import numpy as np
import pytest

from tasks.explanation.separation import SeparationParams, linear_cka, separate
from tasks.scores.held_out import HeldOut
from tests.synthetic_study import KINDS, make_study

PARAMS = SeparationParams(n_permutations=39, max_points=150, perplexity=10, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return HeldOut.join(*make_study(noise=0.1, n_per_split=6).tables)


@pytest.fixture(scope="module")
def separated(held_out):
    return separate(held_out, PARAMS)


def test_cka_knows_rotations_from_other_content():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((400, 6))
    turn, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    assert linear_cka(a, 3 * a @ turn) == pytest.approx(1)
    assert linear_cka(a, rng.standard_normal((400, 6))) < 0.1
    assert linear_cka(a, np.zeros((400, 6))) == 0


def test_good_heads_overlap_no_more_than_their_captions(separated):
    score = separated.scores["head_cka_between_tiers"]
    assert score.value == pytest.approx(score.ceiling, abs=0.15)
    assert score.lower_is_better


def test_collapsed_heads_are_found_out(held_out):
    same = held_out.predicted[KINDS[0]]
    collapsed = replace(held_out, predicted=dict.fromkeys(KINDS, same))
    scores = separate(collapsed, PARAMS).scores
    assert scores["head_cka_between_tiers"].value == pytest.approx(1)
    assert "is not shown to separate" in scores["silhouette_of_kinds"].verdict


@pytest.mark.slow
def test_silhouettes_tell_labels_from_shuffled_ones(separated, held_out):
    for name in ("silhouette_of_kinds", "silhouette_of_concepts_ObjectSnap"):
        score = separated.scores[name]
        assert score.value > max(score.chance, 0.1)
        assert score.p_value == 1 / 40
    concepts = separated.scores["silhouette_of_concepts_ObjectSnap"]
    assert concepts.value > concepts.chance + 0.1
    noise = np.random.default_rng(0).standard_normal(held_out.predicted[KINDS[0]].shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    random = replace(held_out, predicted={KINDS[0]: noise})
    assert separate(random, PARAMS).scores["silhouette_of_concepts_ObjectSnap"].p_value > 0.05


@pytest.mark.slow
def test_planes_are_sampled_and_the_same_for_the_same_seed(separated, held_out):
    assert list(separated.heads) == ["trial_id", "kind", "tier", "x", "y"]
    assert len(separated.heads) == PARAMS.max_points
    assert separate(held_out, PARAMS).heads.equals(separated.heads)
    assert separated.overlap.columns.tolist() == [
        "kind", "other_kind", "same_tier", "cka", "subspace_overlap", "caption_cka",
    ]  # fmt: skip
