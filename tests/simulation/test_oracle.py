import numpy as np
import pytest

from tasks.simulation.brain import FACTORS
from tasks.simulation.head import CHANNELS
from tasks.simulation.oracle import decode, noise_covariance
from tasks.simulation.scene import VOCABULARY
from tasks.simulation.study import make_study
from tests.simulation.studies import make_params


def accuracy(params):
    study = make_study(params)
    answers = decode(study, 1, 1, study.record(1, 1))
    right = (answers == study.levels(study.schedule(1, 1))).mean(axis=0)
    return dict(zip(FACTORS, right, strict=True))


@pytest.mark.parametrize("factor", [0.0, 0.01])
def test_oracle_is_at_chance_where_nothing_is_evoked(factor):
    right = accuracy(make_params(factor=factor, n_stimuli=200))
    for name, share in right.items():
        chance = 1 / len(VOCABULARY[name])
        assert share <= chance + 3.5 * np.sqrt(chance * (1 - chance) / 200), name


def test_oracle_is_nearly_always_right_where_responses_are_strong():
    right = accuracy(make_params(factor=4.0))
    assert min(right.values()) > 0.97


@pytest.mark.parametrize("design", ["randomised", "block"])
def test_oracle_lies_between_at_the_strengths_of_the_default_study(design):
    right = accuracy(make_params(schedule={"design": design}, n_stimuli=200))
    assert 0.6 < right["concept"] < 0.97


def test_overlapping_responses_cost_the_oracle_something():
    rapid = accuracy(make_params(schedule={"design": "rsvp"}, n_stimuli=200))
    slow = accuracy(make_params(n_stimuli=200))
    assert 0.1 < rapid["concept"] < slow["concept"] - 0.05


def test_bad_channels_do_not_mislead_the_oracle():
    noise = {"n_bad_channels": 6, "bad_channel_uv": 400.0}
    assert accuracy(make_params(factor=4.0, noise=noise))["concept"] > 0.97


def test_covariance_is_that_of_the_simulated_noise():
    params = make_params(
        factor=0.0, n_stimuli=800, noise={"n_bad_channels": 0}, brain={"common_uv": 0.0}
    )
    study = make_study(params)
    eeg = study.record(1, 1)
    bins = np.kron(np.eye(6), np.full((25, 1), 1 / 25))
    good = np.ones(len(CHANNELS), dtype=bool)
    covariance = noise_covariance(study, good, bins)
    onsets = study.schedule(1, 1).onsets
    trials = np.stack([(eeg[:, o : o + 150] @ bins).ravel() for o in onsets])
    _, directions = np.linalg.eigh(covariance)
    directions = directions[:, ::60]
    found = ((trials @ directions) ** 2).mean(axis=0)
    expected = np.einsum("id,ij,jd->d", directions, covariance, directions)
    assert np.allclose(found / expected, 1, atol=0.2)
