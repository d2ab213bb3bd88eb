import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from tasks.simulation.brain import FACTORS, levels_of, make_brain, make_subject, topography
from tasks.simulation.factor_study import response_times_s
from tasks.simulation.head import CHANNELS, REGIONS, make_head, unit
from tasks.simulation.scene import VOCABULARY
from tasks.simulation.shapes import shape_features
from tasks.simulation.study import make_study
from tests.simulation.studies import STRENGTH_UV, make_params

TIMES_S = response_times_s(250.0)


@pytest.fixture(scope="module")
def group():
    return make_brain(make_params().brain, np.random.default_rng(3))


@pytest.fixture(scope="module")
def subjects(group):
    return [make_subject(group, make_params().brain, np.random.default_rng(i)) for i in range(3)]


def angle_deg(electrodes, anchors):
    directions = unit(make_head().electrodes_m)
    one = directions[[CHANNELS.index(name) for name in electrodes]]
    other = directions[[CHANNELS.index(name) for name in anchors]]
    return np.rad2deg(np.arccos(np.clip((one @ other.T).max(axis=1), -1, 1)))


def test_cap_has_128_electrodes_in_place():
    electrodes_m = make_head().electrodes_m
    assert len(set(CHANNELS)) == 128
    assert electrodes_m.shape == (128, 3)
    assert np.all(np.abs(np.linalg.norm(electrodes_m, axis=1) - 0.097) < 0.02)
    assert (
        electrodes_m[CHANNELS.index("Fpz"), 1]
        > 0.09
        > -0.09
        > electrodes_m[CHANNELS.index("Oz"), 1]
    )


@pytest.mark.parametrize("region", REGIONS)
def test_every_region_has_sources_under_its_electrodes(region):
    head = make_head()
    sources = unit(head.sources_m[head.region(region)])
    anchors = unit(head.electrodes_m[[CHANNELS.index(name) for name in REGIONS[region]]])
    assert len(sources) >= max(factor.n_sources for factor in FACTORS.values())
    assert np.rad2deg(np.arccos((sources @ anchors.T).max(axis=1))).max() <= 20.0


@pytest.mark.parametrize("factor", FACTORS)
def test_topography_peaks_over_the_region_of_the_factor(subjects, factor):
    weights = topography(subjects, factor, TIMES_S)
    strongest = [CHANNELS[i] for i in np.argsort(-weights)[:5]]
    assert weights.max() == 1.0
    assert np.median(angle_deg(strongest, REGIONS[FACTORS[factor].region])) < 25


def test_topographies_of_the_tiers_differ(subjects):
    tiers = {
        tier: np.mean(
            [topography(subjects, n, TIMES_S) for n, f in FACTORS.items() if f.tier == tier], axis=0
        )
        for tier in ("object", "spatial", "thematic")
    }
    similarity = np.corrcoef(list(tiers.values()))
    assert similarity[~np.eye(3, dtype=bool)].max() < 0.3


@pytest.mark.parametrize("factor", FACTORS)
def test_responses_have_the_strength_asked_for(group, factor):
    responses = group.templates(TIMES_S)[factor]
    assert responses.shape == (len(VOCABULARY[factor]), 128, len(TIMES_S))
    assert np.sqrt((responses**2).mean()) == pytest.approx(STRENGTH_UV[factor], rel=1e-3)
    assert np.abs(responses.mean(axis=0)).max() < 1e-9


@pytest.mark.parametrize("factor", FACTORS)
def test_responses_come_late_and_fade_in_time(group, factor):
    course = np.sqrt((group.templates(TIMES_S)[factor] ** 2).mean(axis=(0, 1)))
    peak_s = TIMES_S[course.argmax()]
    assert FACTORS[factor].latency_s - 0.02 <= peak_s <= FACTORS[factor].latency_s + 0.14
    assert max(course[0], course[-1]) < 0.02 * course.max()


def test_a_factor_without_strength_evokes_nothing():
    group = make_brain(make_params(factor=0.0).brain, np.random.default_rng(3))
    assert not any(response.any() for response in group.templates(TIMES_S).values())
    assert not topography([group], "concept", TIMES_S).any()


def test_concepts_of_similar_shape_evoke_similar_responses(group):
    responses = group.templates(TIMES_S)["concept"].reshape(40, -1)
    features = shape_features(8)
    assert np.linalg.matrix_rank(responses, tol=1e-6 * np.linalg.norm(responses)) == 8
    assert spearmanr(pdist(features), pdist(responses)).statistic > 0.5
    assert pdist(responses).min() > 0.1 * pdist(responses).mean()


def test_shape_features_are_ordered_and_uncorrelated():
    features = shape_features(10)
    variance = features.T @ features
    assert np.all(np.diff(np.diag(variance)) < 0)
    assert np.abs(variance - np.diag(np.diag(variance))).max() < 1e-9


def test_subjects_resemble_each_other_without_being_equal(subjects):
    flat = [s.templates(TIMES_S)["relation"].ravel() for s in subjects]
    similarity = np.corrcoef(flat)[np.triu_indices(3, 1)]
    assert np.all((similarity > 0.7) & (similarity < 0.999))


def test_same_seed_same_brain(group):
    again = make_brain(make_params().brain, np.random.default_rng(3))
    for name, response in group.templates(TIMES_S).items():
        assert response.tobytes() == again.templates(TIMES_S)[name].tobytes()


def test_levels_of_a_scene_are_places_in_the_vocabulary():
    scene = next(iter(make_study(make_params()).stimuli.values()))
    levels = levels_of(scene)
    assert list(levels) == list(FACTORS)
    assert VOCABULARY["theme"][levels["theme"]] == scene.theme


def test_strengths_must_name_the_factors():
    with pytest.raises(
        ValidationError, match="must name exactly the factors concept, colour, size"
    ):
        make_params(brain={"strength_uv": {"concept": 1.0}})
