import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.explanation.heads import Heads
from tasks.explanation.maps import MapParams, explained_trials, make_maps, map_scores
from tasks.explanation.saliency import channel_weights, pattern
from tasks.language.prompts import TIER_OF
from tasks.runtime.errors import PerceptError
from tasks.scores.held_out import HeldOut
from tests.listening_study import CHANNELS, MONTAGE, PEAKS, make_listening_study

PARAMS = MapParams(
    attribution="pattern",
    max_gradient_trials=40,
    integration_steps=8,
    batch_size=32,
    montage=MONTAGE,
    n_rotations=199,
    n_controls=2,
    n_resamples=50,
    confidence=0.95,
    seed=0,
)


@pytest.fixture(scope="module")
def study():
    return make_listening_study()


@pytest.fixture(scope="module")
def explained(study):
    held_out = HeldOut.join(*study.tables.tables)
    rows = {trial: row for row, trial in enumerate(study.tables.trials["trial_id"].to_pylist())}
    return explained_trials(held_out, study.eeg[[rows[t] for t in held_out.trials["trial_id"]]])


@pytest.fixture(scope="module")
def heads(study):
    return Heads.of(study.encoder, batch_size=32)


@pytest.fixture(scope="module")
def scores(study, explained, heads):
    return map_scores(make_maps(explained, heads, study.planted, PARAMS), CHANNELS, PARAMS)


def test_pattern_finds_what_was_planted(scores):
    for tier in PEAKS:
        found = scores[f"saliency_contrast_topography_correlation_{tier}"]
        assert found.value > 0.85
        assert found.p_value <= 0.05
        assert found.low <= found.value <= found.high
        assert found.verdict.startswith(f"What sets the map of the {tier} heads apart agrees with")
    assert scores["saliency_matched_tiers"].value == 1


def test_strongest_electrode_is_where_the_tier_speaks(explained, heads):
    for (_, kind), weights in channel_weights(explained, heads, "pattern", 1).items():
        peak = CHANNELS.index(PEAKS[TIER_OF[kind]])
        assert weights[peak] > 0.9


def test_pattern_is_nearer_to_the_truth_than_the_plain_gradient(scores):
    names = [f"saliency_contrast_topography_correlation_{tier}" for tier in PEAKS]
    gain = [scores[name].value - scores[f"{name}_gradient"].value for name in names]
    assert min(gain) > 0
    assert np.mean(gain) > 0.1


def test_untrained_networks_and_shuffled_eeg_lose_the_maps(scores):
    for control in ("random_weights", "shuffled_eeg"):
        names = [f"saliency_contrast_topography_correlation_{t}_{control}" for t in PEAKS]
        assert np.mean([scores[name].value for name in names]) < 0.5
    alike = [scores[f"saliency_agreement_with_random_weights_{t}"].value for t in PEAKS]
    assert np.mean(alike) < 0.6


def test_control_of_a_score_is_that_of_shuffled_eeg(scores):
    name = "saliency_topography_correlation_object"
    assert scores[name].control == scores[f"{name}_shuffled_eeg"].value


def test_no_score_is_made_up_where_the_truth_is_unknown(explained, heads):
    scores = map_scores(make_maps(explained, heads, {}, PARAMS), CHANNELS, PARAMS)
    assert not [name for name in scores if "topography" in name]
    assert "saliency_agreement_of_subjects_object" in scores


def test_strongest_channel_of_each_head_weighs_one(explained, heads):
    for weights in channel_weights(explained, heads, "pattern", 1).values():
        assert weights.max() == 1
        assert weights.min() >= 0


@pytest.mark.parametrize("method", ["gradient", "gradient_x_input", "integrated_gradients"])
def test_gradients_are_those_of_the_score(method, study, explained, heads):
    few = explained.of(np.arange(5))
    directions = few.directions["SpatialLink"]
    found = heads.gradients(few.eeg, few.subjects, directions, "SpatialLink", method, 64)
    eeg = torch.from_numpy(few.eeg).requires_grad_()

    def scores(eeg):
        return (study.encoder.module(eeg, None)[:, 1] * torch.from_numpy(directions)).sum(dim=-1)

    (gradient,) = torch.autograd.grad(scores(eeg).sum(), eeg)
    if method == "integrated_gradients":
        baseline = torch.from_numpy(few.eeg.mean(axis=0))[None]
        difference = (scores(eeg) - scores(baseline)).detach().numpy()
        np.testing.assert_allclose(found.sum(axis=(1, 2)), difference, atol=0.02)
    else:
        expected = gradient if method == "gradient" else gradient * eeg
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)


def test_pattern_ignores_channels_of_pure_noise():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((200, 4)).astype(np.float32)
    eeg = rng.standard_normal((200, 6, 4)).astype(np.float32)
    eeg[:, :2] += 2 * truth[:, None]
    weights = pattern(eeg, eeg[:, 0] - eeg[:, 5], truth)
    assert weights[:2].min() > 5 * weights[2:].max()


def test_shuffling_weights_leaves_the_trained_network_alone(study, heads):
    before = {name: value.clone() for name, value in study.encoder.module.state_dict().items()}
    once, again = heads.randomised(1), heads.randomised(1)
    for name, value in once.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name])
        assert not torch.equal(value, before[name])
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
        assert torch.equal(study.encoder.module.state_dict()[name], before[name])


def test_predictions_do_not_depend_on_the_batch_size(explained, heads):
    one_by_one = replace(heads, batch_size=7).predict(explained.eeg, explained.subjects)
    for kind, vectors in heads.predict(explained.eeg, explained.subjects).items():
        np.testing.assert_allclose(one_by_one[kind], vectors, atol=1e-6)
        np.testing.assert_allclose(vectors, explained.predicted[kind], atol=1e-5)


def test_subject_with_one_trial_is_refused(explained, heads):
    message = (
        "Saliency needs at least two held-out trials of each subject; sub-01 has one. "
        "Raise `explain.max_trials` and `explain.maps.max_gradient_trials`, or hold out more."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        channel_weights(explained.of(np.array([0])), heads, "pattern", 1)
