import numpy as np
import pytest

from tasks.simulation.schedule import make_schedule
from tests.simulation.studies import make_params

CONCEPTS = [f"concept-{i % 8}" for i in range(40)]
SFREQ_HZ = 250.0


def schedule(design, n_presentations=3, seed=0, concepts=CONCEPTS):
    params = make_params(schedule={"design": design}).schedule
    rng = np.random.default_rng(seed)
    return make_schedule(params, concepts, n_presentations, SFREQ_HZ, rng)


@pytest.mark.parametrize("design", ["randomised", "block", "rsvp"])
def test_every_stimulus_is_shown_as_often_as_asked(design):
    shown = schedule(design)
    assert np.all(np.bincount(shown.stimuli, minlength=40) == 3)
    for stimulus in range(40):
        assert list(shown.repetitions[shown.stimuli == stimulus]) == [0, 1, 2]


@pytest.mark.parametrize("design", ["randomised", "block", "rsvp"])
def test_no_stimulus_follows_itself(design):
    for seed in range(50):
        few = schedule(design, 4, seed, ["a", "b", "a", "b", "a"])
        assert np.all(np.diff(few.stimuli) != 0)


def test_blocks_hold_one_concept_each():
    shown = schedule("block")
    concepts = np.array(CONCEPTS)[shown.stimuli]
    assert np.count_nonzero(concepts[1:] != concepts[:-1]) == 7
    assert np.array_equal(np.unique(shown.blocks), np.arange(8))
    assert all(len(set(concepts[shown.blocks == block])) == 1 for block in range(8))


def test_randomised_order_mixes_concepts():
    shown = schedule("randomised")
    concepts = np.array(CONCEPTS)[shown.stimuli]
    assert np.count_nonzero(concepts[1:] != concepts[:-1]) > 80


@pytest.mark.parametrize(("design", "soa_s"), [("randomised", 0.7), ("block", 0.7), ("rsvp", 0.2)])
def test_onsets_keep_the_distance_of_the_design(design, soa_s):
    shown = schedule(design)
    steps_s = np.diff(shown.onsets) / SFREQ_HZ
    within = np.diff(shown.blocks) == 0
    assert steps_s[within].min() >= soa_s - 0.005
    assert steps_s[within].max() <= soa_s + 0.055
    assert steps_s[~within].min() >= soa_s + 2.0 - 0.005


def test_a_recording_begins_and_ends_with_a_gap():
    shown = schedule("randomised")
    assert shown.onsets[0] == 2.0 * SFREQ_HZ
    assert shown.n_times >= shown.onsets[-1] + (0.7 + 2.0) * SFREQ_HZ - 1


def test_order_depends_on_the_seed_alone():
    assert np.array_equal(schedule("block").stimuli, schedule("block").stimuli)
    assert not np.array_equal(schedule("block").stimuli, schedule("block", seed=1).stimuli)
