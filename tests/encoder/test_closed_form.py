"""Filters and latents that are fitted, not trained."""

import numpy as np
import pytest

from tasks.encoder.baselines.linear import LinearEncoder, LinearSizes
from tasks.encoder.dataset import TrainingDataError
from tasks.encoder.latents import fit_latents
from tasks.encoder.memory import fit_memory
from tasks.encoder.recombination import recombined
from tasks.encoder.scores import vector_scores, word_scores
from tasks.encoder.whitening import fit_filters
from tests.encoder.small_study import PARAMS, changed

N_TRIALS, N_CHANNELS, N_TIMES = 600, 10, 24


@pytest.fixture(scope="module")
def study():
    """Return trials of two groups with correlated noise, two scores that matter and one that does not."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N_TRIALS, 3))
    groups = np.arange(N_TRIALS) % 2
    mixing = rng.normal(size=(2, N_CHANNELS, N_CHANNELS))
    smooth = np.exp(-0.5 * (np.subtract.outer(range(N_TIMES), range(N_TIMES)) / 2) ** 2)
    noise = rng.normal(size=(N_TRIALS, N_CHANNELS, N_TIMES)) @ (smooth + 0.2 * np.eye(N_TIMES))
    patterns = rng.normal(size=(2, 1, N_CHANNELS)) + 0.3 * rng.normal(size=(2, 2, N_CHANNELS))
    courses = rng.normal(size=(2, N_TIMES))
    evoked = np.einsum("ns,sgc,st,gn->nct", scores[:, :2], patterns, courses, np.eye(2)[:, groups])
    eeg = mixing[groups] @ noise + 0.5 * evoked
    return eeg.astype(np.float32), scores, groups


@pytest.fixture(scope="module")
def virtual(study):
    eeg, scores, groups = study
    filters = fit_filters(
        eeg, scores, groups, n_virtual=3, ridge=1.0, pooling=0.0, noise_floor=1e-3
    )
    out = np.empty((N_TRIALS, 3, N_TIMES), np.float32)
    for group, own in enumerate(filters):
        out[groups == group] = own.apply(eeg[groups == group])
    return out


def residual(values, scores, groups):
    flat = values.reshape(N_TRIALS, -1).copy()
    for group in (0, 1):
        rows = groups == group
        flat[rows] -= scores[rows] @ np.linalg.lstsq(scores[rows], flat[rows], rcond=None)[0]
    return flat


def test_the_noise_of_virtual_channels_is_white_in_space_and_time(study, virtual):
    _, scores, groups = study
    noise = residual(virtual, scores, groups).reshape(N_TRIALS, 3, N_TIMES)
    space = np.einsum("nct,ndt->cd", noise, noise) / N_TRIALS / N_TIMES
    time = np.einsum("nct,nce->te", noise, noise) / N_TRIALS / 3
    np.testing.assert_allclose(space, np.eye(3), atol=0.3)
    np.testing.assert_allclose(time, np.eye(N_TIMES), atol=0.3)


def test_latents_have_unit_noise_and_one_meaning_in_all_groups(study, virtual):
    _, scores, groups = study
    latents = fit_latents(
        virtual, scores, groups, n_latents=2, n_temporal=8, ridge=1.0, pooling=0.0
    )
    values = np.stack(
        [v.reshape(-1) @ latents.projections[g] for v, g in zip(virtual, groups, strict=True)]
    )
    np.testing.assert_allclose(np.cov(residual(values, scores, groups).T), np.eye(2), atol=0.25)
    first, second = latents.templates
    assert np.abs(first[2]).max() < 0.3 < np.abs(first[:2]).max()
    cosine = (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine > 0.7


def test_pooling_shares_what_subjects_have_in_common(study):
    eeg, scores, groups = study
    options = {"n_virtual": 3, "ridge": 1.0, "noise_floor": 1e-3}
    own = fit_filters(eeg, scores, groups, pooling=0.0, **options)
    common = fit_filters(eeg, scores, groups, pooling=1.0, **options)
    assert not np.allclose(own[0].temporal, own[1].temporal, atol=1e-3)
    np.testing.assert_allclose(common[0].temporal, common[1].temporal, atol=1e-4)


def test_word_scores_tell_words_apart_and_are_standard_on_training_stimuli():
    texts = ["a red dog", "a red cat", "a blue dog", "a blue cat", "a red dog", "A rare, blue cat!"]
    train = np.arange(6)
    scores = word_scores(texts, train, min_count=2, max_scores=10)
    assert scores.shape == (6, 2)
    np.testing.assert_allclose(scores.T @ scores / 6, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(scores[0], scores[4])
    np.testing.assert_allclose(scores[3], scores[5])
    assert np.linalg.norm(scores[0] - scores[1]) > 0.5
    assert word_scores(texts, train, min_count=1, max_scores=10).shape == (6, 3)


def test_vector_scores_are_as_many_as_the_ways_the_vectors_vary():
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10)) + 1).reshape(40, 2, 5)
    scores = vector_scores(targets, np.arange(30), max_scores=8)
    assert scores.shape == (40, 3)
    np.testing.assert_allclose(scores[:30].std(axis=0), 1, atol=1e-5)


def memory_params(max_slots, min_shared_frames=0, ridge=1e-3):
    filters = PARAMS.filters.model_copy(update={"ridge": ridge, "min_word_count": 1})
    network = {"max_slots": max_slots, "min_shared_frames": min_shared_frames}
    return changed(filters=filters, network=PARAMS.network.model_copy(update=network))


def test_a_memory_gives_the_posterior_over_captions():
    rng = np.random.default_rng(0)
    stimulus_index = rng.integers(4, size=4000)
    texts = ["cat", "dog", "car", "car"]
    vectors = rng.normal(size=(4, 5))
    vectors[3] = vectors[2]
    means = rng.normal(size=(4, 2))
    means[3] = means[2]
    means -= means[stimulus_index].mean(axis=0)
    latents = means[stimulus_index] + rng.normal(size=(4000, 2))
    memory = fit_memory(latents, texts, stimulus_index, vectors, memory_params(9))
    assert len(memory.values) == 3
    np.testing.assert_allclose(memory.values[0], vectors[2])
    order = [2, *(0 if np.allclose(v, vectors[0]) else 1 for v in memory.values[1:])]
    energies = latents @ memory.keys + memory.bias
    squares = -0.5 * ((latents[:, None] - means[order]) ** 2).sum(axis=2)
    differences = energies[:, :1] - energies - (squares[:, :1] - squares)
    assert np.abs(differences).mean() < 0.3
    memory = fit_memory(latents, texts, stimulus_index, vectors, memory_params(2))
    assert len(memory.values) == 2


def test_one_latent_is_enough_for_a_memory():
    rng = np.random.default_rng(0)
    texts = [f"w{i % 5}" for i in range(60)]
    vectors = rng.normal(size=(5, 4)).astype(np.float32)[np.arange(60) % 5]
    latents = (np.arange(60) % 5)[:, None] + 0.1 * rng.normal(size=(60, 1))
    memory = fit_memory(latents, texts, np.arange(60), vectors, memory_params(10))
    assert memory.keys.shape == (1, 5)


def test_captions_no_picture_had_are_made_of_those_that_some_had():
    rng = np.random.default_rng(0)
    colours, things = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    told = {
        f"a {colour} {thing}": colours[i] + things[j]
        for i, colour in enumerate(("red", "blue", "green"))
        for j, thing in enumerate(("cat", "dog", "car", "cup"))
    }
    hidden = "a green cup"
    seen = [text for text in told if text != hidden]
    vectors = np.array([told[text] for text in seen])
    texts, made = recombined(seen, vectors, min_shared_frames=2)
    assert texts == [hidden]
    wanted = told[hidden] / np.linalg.norm(told[hidden])
    np.testing.assert_allclose(made[0], wanted, atol=1e-9)
    assert recombined(seen, vectors, min_shared_frames=5)[0] == []
    alone = ["one two", "three four five"]
    assert recombined(alone, np.eye(2), min_shared_frames=1)[0] == []


def test_a_memory_holds_what_it_can_make_of_captions_and_no_more():
    rng = np.random.default_rng(1)
    pairs = [(c, t) for c in ("red", "blue") for t in ("cat", "dog", "car")][:-1]
    texts = [f"a {c} {t}" for c, t in pairs]
    vectors = rng.normal(size=(5, 4))
    stimuli = np.arange(500) % 5
    latents = rng.normal(size=(500, 2)) + stimuli[:, None]
    arguments = (latents, texts, stimuli, vectors)
    assert len(fit_memory(*arguments, memory_params(10, 2)).values) == 6
    assert len(fit_memory(*arguments, memory_params(5, 2)).values) == 5
    assert len(fit_memory(*arguments, memory_params(10, 0)).values) == 5


def test_more_components_than_channels_are_refused():
    sizes = LinearSizes(
        n_groups=1,
        n_channels=4,
        n_times=8,
        n_components=5,
        bin_samples=2,
        n_kinds=1,
        dim=3,
        n_scores=2,
    )
    with pytest.raises(TrainingDataError) as error:
        LinearEncoder(sizes)
    assert str(error.value) == (
        "train.linear.n_components must be at most the 4 channels; it is 5. Lower it."
    )
