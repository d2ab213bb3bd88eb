import re

import numpy as np
import pytest

from tasks.explanation.scalp import (
    Rotations,
    directions_of,
    rank_correlation,
    region_shares,
    regions_of,
)
from tasks.runtime.errors import PerceptError
from tasks.statistics.permutation import permutation_p_value
from tests.listening_study import CHANNELS, MONTAGE


@pytest.fixture(scope="module")
def directions():
    return directions_of(CHANNELS, MONTAGE)


def bump(directions, channel, width=0.5):
    angles = np.arccos(np.clip(directions @ directions[CHANNELS.index(channel)], -1, 1))
    return np.exp(-((angles / width) ** 2))


def test_front_is_in_front_and_up_is_up(directions):
    front, back, top = (directions[CHANNELS.index(name)] for name in ("Fz", "Oz", "Cz"))
    assert front[1] > 0.4 > -0.4 > back[1]
    assert top[2] > 0.95


def test_regions_follow_the_10_20_system():
    regions = dict(zip(CHANNELS, regions_of(CHANNELS, MONTAGE), strict=True))
    for channel, region in {
        "Fp1": "frontal", "AF4": "frontal", "Cz": "central", "T7": "temporal",
        "Pz": "parietal", "O1": "occipital", "Iz": "occipital",
    }.items():  # fmt: skip
        assert regions[channel] == region


def test_shares_do_not_favour_regions_of_many_electrodes():
    regions = regions_of(CHANNELS, MONTAGE)
    shares = region_shares(np.ones(len(CHANNELS)), regions)
    assert set(np.round(list(shares.values()), 6)) == {0.2}


def test_rotations_find_a_true_agreement(directions):
    rotations = Rotations.draw(directions, 199, seed=0)
    found, planted = bump(directions, "Oz", 0.6), bump(directions, "Oz")
    null = rotations.correlations(found, planted)
    value = rank_correlation(found, planted)
    assert permutation_p_value(value, null, higher_is_better=True) < 0.02


def test_smooth_maps_agree_by_chance_more_often_than_shuffled_channels_say(directions):
    rng = np.random.default_rng(0)
    rotations = Rotations.draw(directions, 59, seed=1)
    root = np.linalg.cholesky(np.exp(4 * (directions @ directions.T - 1)) + 1e-6 * np.eye(36))
    turned, shuffled = [], []
    for _ in range(60):
        a, b = root @ rng.standard_normal(36), root @ rng.standard_normal(36)
        value = rank_correlation(a, b)
        null = rotations.correlations(a, b)
        channels = np.array([rank_correlation(rng.permutation(a), b) for _ in range(59)])
        turned.append(permutation_p_value(value, null, higher_is_better=True))
        shuffled.append(permutation_p_value(value, channels, higher_is_better=True))
    assert np.mean(np.array(turned) <= 0.05) < 0.2
    assert np.mean(np.array(shuffled) <= 0.05) > np.mean(np.array(turned) <= 0.05) + 0.05


def test_rotations_keep_half_of_the_cap(directions):
    rotations = Rotations.draw(directions, 20, seed=0)
    assert rotations.covered.mean(axis=1).min() >= 0.5
    again = Rotations.draw(directions, 20, seed=0)
    np.testing.assert_array_equal(rotations.source, again.source)


def test_constant_map_correlates_with_nothing():
    assert rank_correlation(np.zeros(4), np.arange(4.0)) == 0


def test_unknown_electrodes_are_named():
    message = (
        "Every channel must be in the montage 'colin27_1005'; E1, E2 (2 of 3) are not. "
        "Set `explain.maps.montage` to the cap's montage."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        directions_of(["Cz", "E1", "E2"], MONTAGE)
