"""Filters and latents that are fitted, not trained."""

import numpy as np
import pytest

from tasks.encoder.baselines.linear import LinearSizes
from tasks.encoder.caption_memory import fit_memory
from tasks.encoder.dataset import TrainingDataError
from tasks.encoder.filters import cosines, fit_filters, inverse_square_root, n_cosines, signs
from tasks.encoder.latents import fit_latents
from tasks.encoder.responses import Sources, Table, fit_responses, mean_responses
from tasks.encoder.synthetic_captions import recombined
from tasks.encoder.words import (
    components_by_factor,
    principal_components,
    standardised,
    vector_scores,
    word_components,
)
from tests.encoder.small_study import PARAMS, changed

N_TRIALS, N_CHANNELS, N_TIMES = 600, 10, 24
WAVES = cosines(N_TIMES, 19)
FILTERS = {"n_virtual": 3, "n_sources": 4, "ridge": 1.0, "noise_floor": 1e-3, "waves": WAVES}


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
def filters(study):
    eeg, scores, groups = study
    return fit_filters(eeg, scores, groups, share_of_group=0.0, **FILTERS)


@pytest.fixture(scope="module")
def virtual(study, filters):
    eeg, _, groups = study
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


def latents_of(virtual, filters, scores, groups, **changes):
    options = {"prior_trials": 1.0, "share_of_group": 0.0, "n_latents": 2, "n_starts": 2}
    return fit_latents(
        virtual,
        np.stack([own.temporal for own in filters]),
        scores,
        groups,
        parts=np.zeros(3, int),
        waves=WAVES,
        params=PARAMS.architecture.start.model_copy(update=options | changes),
        seed=0,
    )


def test_latents_have_unit_noise_and_one_meaning_in_all_groups(study, filters, virtual):
    _, scores, groups = study
    latents = latents_of(virtual, filters, scores, groups)
    values = np.stack(
        [v.reshape(-1) @ latents.projections[g] for v, g in zip(virtual, groups, strict=True)]
    )
    np.testing.assert_allclose(np.cov(residual(values, scores, groups).T), np.eye(2), atol=0.25)
    first, second = latents.templates
    assert np.abs(first[2]).max() < 0.3 * np.abs(first[:2]).max()
    cosine = (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine > 0.7
    np.testing.assert_allclose(latents.keys, (first + second) / 2, atol=0.2)


def test_latents_do_not_see_what_a_baseline_takes_away(study, filters, virtual):
    _, scores, groups = study
    latents = latents_of(virtual, filters, scores, groups)
    constant = np.ones((N_TIMES, 1))
    for own, projection in zip(filters, latents.projections, strict=True):
        seen = (own.temporal.T @ constant)[:, 0]  # a constant, as virtual channels show it
        by_channel = np.einsum("t,ktl->kl", seen, projection.reshape(3, N_TIMES, -1))
        assert np.abs(by_channel).max() < 1e-3 * np.abs(projection).max()


def planted_responses(n_parts):
    """Return responses of 12 scores, each part's of three sources of its own, and two groups' tables.

    The noise is correlated over channels and times together, so that whitened sources are no products.
    """
    rng = np.random.default_rng(0)
    parts = np.repeat(np.arange(n_parts), 12 // n_parts)
    truth = np.concatenate(
        [
            0.25 * (rng.standard_normal((12 // n_parts, 3)) @ sources.patterns())
            for sources in (
                Sources(np.zeros((1, 3)), rng.standard_normal((8, 3)), rng.standard_normal((10, 3)))
                for _ in range(n_parts)
            )
        ]
    )
    noise = sum(np.kron(_covariance(rng, 8), _covariance(rng, 10)) for _ in range(2))
    whitener, root = inverse_square_root(noise), np.linalg.cholesky(noise)
    tables = []
    for _ in range(2):
        scores = rng.standard_normal((80, 12))
        trials = scores @ truth + rng.standard_normal((80, 80)) @ root.T
        tables.append(Table(scores.T @ scores, scores.T @ trials @ whitener, whitener))
    return truth @ whitener, parts, tables


def _covariance(rng, n):
    factor = rng.standard_normal((n, 2 * n)) / (2 * n) ** 0.5
    return factor @ factor.T


def error_of(found, truth):
    return ((found - truth) ** 2).sum()


@pytest.mark.parametrize("n_parts", [1, 2])
def test_sources_find_responses_that_least_squares_loses_in_the_noise(n_parts):
    truth, parts, tables = planted_responses(n_parts)
    options = {"n_virtual": 8, "n_sources": 12, "share_of_group": 0.9, "seed": 0}
    responses = fit_responses(tables, parts, n_starts=3, **options)
    for table, found in zip(tables, responses, strict=True):
        plain = np.linalg.solve(table.gram, table.product)
        assert error_of(found, truth) < 0.3 * error_of(plain, truth)


def test_refined_sources_are_better_than_those_of_whitened_trials():
    truth, parts, tables = planted_responses(2)
    (found, _) = fit_responses(
        tables, parts, n_virtual=8, n_sources=12, share_of_group=1.0, n_starts=3, seed=0
    )
    gram, product = sum(t.gram for t in tables), sum(t.product for t in tables)
    first = mean_responses(gram, product.reshape(12, 8, 10), n_sources=12, n_starts=3)
    assert error_of(found, truth) < 0.7 * error_of(first.reshape(12, -1), truth)


def test_parts_that_share_no_source_are_told_apart():
    truth, parts, tables = planted_responses(2)
    options = {"n_virtual": 8, "n_sources": 12, "share_of_group": 1.0, "n_starts": 3, "seed": 0}
    apart, together = (
        error_of(fit_responses(tables, chosen, **options)[0], truth)
        for chosen in (parts, np.zeros_like(parts))
    )
    assert apart < 0.95 * together


def test_more_sources_than_there_are_do_no_harm():
    rng = np.random.default_rng(0)
    responses = (rng.standard_normal((6, 1, 1)) * np.ones((6, 4, 5))).reshape(6, 20)
    table = Table(np.eye(6) * 100, 100 * responses, np.eye(20))
    (found,) = fit_responses(
        [table], np.zeros(6, int), n_virtual=4, n_sources=9, share_of_group=0.5, n_starts=2, seed=0
    )
    np.testing.assert_allclose(found, responses, atol=0.2)


def test_channels_are_chosen_by_the_noise_at_the_frequency_of_a_response():
    """A rhythm of 15 Hz drowns no response of 3 Hz, though it makes the channel the loudest."""
    rng = np.random.default_rng(0)
    n, n_times = 400, 80
    time_s = np.arange(n_times) / 100
    phases = rng.uniform(0, 2 * np.pi, (n, 1))
    eeg = rng.standard_normal((n, 4, n_times))
    eeg[:, 0] += 10 * np.sin(2 * np.pi * 15 * time_s + phases)
    scores = rng.standard_normal((n, 2))
    slow = np.sin(2 * np.pi * 3 * time_s)
    eeg[:, 0] += 1.0 * scores[:, :1] * slow
    eeg[:, 1] += 0.2 * scores[:, 1:] * slow
    (found,) = fit_filters(
        eeg.astype(np.float32),
        scores,
        np.zeros(n, int),
        n_virtual=1,
        n_sources=2,
        ridge=1.0,
        share_of_group=1.0,
        noise_floor=1e-3,
        waves=cosines(n_times, 32),
    )
    spread = np.abs(found.spatial[:, 0]) * eeg.std(axis=(0, 2))
    assert spread.argmax() == 0


def test_cosines_are_orthonormal_without_the_constant_and_end_at_the_low_pass():
    waves = cosines(50, 49)
    np.testing.assert_allclose(waves.T @ waves, np.eye(49), atol=1e-12)
    np.testing.assert_allclose(waves.sum(axis=0), 0, atol=1e-12)
    assert [n_cosines(80, 100.0, hz) for hz in (20.0, 0.1, 500.0)] == [32, 1, 79]


def test_pooling_shares_what_subjects_have_in_common(study):
    eeg, scores, groups = study
    own = fit_filters(eeg, scores, groups, share_of_group=0.0, **FILTERS)
    common = fit_filters(eeg, scores, groups, share_of_group=1.0, **FILTERS)
    assert not np.allclose(own[0].temporal, own[1].temporal, atol=1e-3)
    np.testing.assert_allclose(common[0].temporal, common[1].temporal, atol=1e-4)


def test_word_scores_tell_words_apart_and_are_standard_on_training_stimuli():
    texts = ["a red dog", "a red cat", "a blue dog", "a blue cat", "a red dog", "A rare, blue cat!"]
    train = np.arange(6)
    captions = [[text] for text in texts]
    scores = standardised(word_components(captions, train, min_count=2, max_scores=10), train)
    assert scores.shape == (6, 2)
    np.testing.assert_allclose(scores.T @ scores / 6, np.eye(2), atol=1e-9)
    np.testing.assert_allclose(scores[0], scores[4])
    np.testing.assert_allclose(scores[3], scores[5])
    assert np.linalg.norm(scores[0] - scores[1]) > 0.5
    assert word_components(captions, train, min_count=1, max_scores=10).shape == (6, 3)


def test_each_component_is_of_the_words_of_one_factor():
    rng = np.random.default_rng(0)
    things, colours = rng.integers(4, size=80), rng.integers(3, size=80)
    texts = [
        [f"a {colour} {thing}", " ".join(rng.permutation(["so", "it", "is"])[: rng.integers(1, 4)])]
        for colour, thing in zip(
            np.array(["red", "blue", "green"])[colours],
            np.array(["cat", "dog", "car", "cup"])[things],
            strict=True,
        )
    ]
    concepts, train = [f"concept{i}" for i in things], np.arange(60)
    options = {"min_count": 2, "max_scores": 50}
    components, parts = components_by_factor(texts, concepts, train, **options)
    assert np.bincount(parts)[:2].tolist() == [3, 2]
    for own, levels in ((components[:, parts == 0], things), (components[:, parts == 1], colours)):
        for level in np.unique(levels):
            assert np.ptp(own[levels == level], axis=0).max() < 1e-9
    assert len(np.bincount(parts)) > 2  # words that no factor decides
    options["max_scores"] = 4
    fewer, parts = components_by_factor(texts, concepts, train, **options)
    assert fewer.shape == (80, 4)
    assert len(parts) == 4


def test_vector_scores_are_as_many_as_the_ways_the_vectors_vary():
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10)) + 1).reshape(40, 2, 5)
    scores = vector_scores(targets, np.arange(30), max_scores=8)
    assert scores.shape == (40, 3)
    np.testing.assert_allclose(scores[:30].std(axis=0), 1, atol=1e-5)


def memory_params(max_remembered_captions, min_exchange_pairs=0, ridge=1e-3):
    return changed(
        prior_trials=ridge,
        min_word_count=1,
        max_remembered_captions=max_remembered_captions,
        min_exchange_pairs=min_exchange_pairs,
    ).architecture


def test_a_memory_gives_the_posterior_over_captions():
    rng = np.random.default_rng(0)
    stimulus_index = np.arange(40) % 4
    texts = ["cat", "dog", "car", "car"]
    vectors = rng.normal(size=(4, 5))
    vectors[3] = vectors[2]
    components = word_components([[t] for t in texts], np.arange(4), min_count=1, max_scores=9)
    means = components @ rng.normal(size=(components.shape[1], 2))
    memory = fit_memory(components, means, texts, stimulus_index, vectors, memory_params(9))
    assert len(memory.values) == 3
    np.testing.assert_allclose(memory.values[0], vectors[2])
    order = [2, *(0 if np.allclose(v, vectors[0]) else 1 for v in memory.values[1:])]
    latents = rng.normal(size=(50, 2))
    energies = latents @ memory.keys + memory.bias
    squares = -0.5 * ((latents[:, None] - means[order]) ** 2).sum(axis=2)
    np.testing.assert_allclose(
        energies[:, :1] - energies, squares[:, :1] - squares, atol=0.02, rtol=0.02
    )
    memory = fit_memory(components, means, texts, stimulus_index, vectors, memory_params(2))
    assert len(memory.values) == 2


def test_a_head_does_not_answer_for_what_only_others_say():
    rng = np.random.default_rng(0)
    things, places = rng.integers(3, size=60), rng.integers(4, size=60)
    said = [f"thing{i}" for i in things]
    captions = [[thing, f"place{i}"] for thing, i in zip(said, places, strict=True)]
    components = word_components(captions, np.arange(60), min_count=1, max_scores=20)
    latents = np.eye(4)[places] - np.eye(4)[places].mean(axis=0)  # that know the place alone
    memory = fit_memory(
        components, latents, said, np.arange(60), np.eye(3)[things], memory_params(9)
    )
    by_mean = np.stack([latents[things == i].mean(axis=0) for i in range(3)])
    assert np.abs(memory.keys).max() < 0.02 * np.abs(by_mean).max()


def test_one_latent_is_enough_for_a_memory():
    rng = np.random.default_rng(0)
    texts = [f"w{i % 5}" for i in range(60)]
    vectors = rng.normal(size=(5, 4)).astype(np.float32)[np.arange(60) % 5]
    components = word_components([[t] for t in texts], np.arange(60), min_count=1, max_scores=9)
    latents = components[:, :1]
    memory = fit_memory(components, latents, texts, np.arange(60), vectors, memory_params(10))
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
    texts, made = recombined(seen, vectors, min_exchange_pairs=2)
    assert texts == [hidden]
    wanted = told[hidden] / np.linalg.norm(told[hidden])
    np.testing.assert_allclose(made[0], wanted, atol=1e-9)
    assert recombined(seen, vectors, min_exchange_pairs=5)[0] == []
    alone = ["one two", "three four five"]
    assert recombined(alone, np.eye(2), min_exchange_pairs=1)[0] == []


def test_a_memory_holds_what_it_can_make_of_captions_and_no_more():
    rng = np.random.default_rng(1)
    pairs = [(c, t) for c in ("red", "blue") for t in ("cat", "dog", "car")][:-1]
    texts = [f"a {c} {t}" for c, t in pairs]
    vectors = rng.normal(size=(5, 4))
    stimuli = np.arange(500) % 5
    components = word_components([[t] for t in texts], np.arange(5), min_count=1, max_scores=9)
    arguments = (components, components[:, :2], texts, stimuli, vectors)
    assert len(fit_memory(*arguments, memory_params(10, 2)).values) == 6
    assert len(fit_memory(*arguments, memory_params(5, 2)).values) == 5
    assert len(fit_memory(*arguments, memory_params(10, 0)).values) == 5


def test_more_components_than_channels_are_refused():
    with pytest.raises(TrainingDataError) as error:
        LinearSizes(
            n_groups=1,
            n_channels=4,
            n_times=8,
            n_components=5,
            bin_samples=2,
            n_kinds=1,
            dim=3,
            n_scores=2,
        )
    assert str(error.value) == (
        "train.architecture.n_components must be at most the 4 channels; it is 5. Lower it."
    )


def test_words_that_occur_equally_often_have_components_that_no_rounding_chooses():
    """Their components are of equal strength: any rotation of them would do as well."""
    occurs = np.kron(np.eye(8), np.ones((5, 2)))
    occurs -= occurs.mean(axis=0)
    rows = np.arange(len(occurs))
    found = principal_components(occurs, rows, 100)
    rounded = occurs * (1 + 1e-13 * np.random.default_rng(0).standard_normal(occurs.shape))
    assert found.shape[1] == 7
    np.testing.assert_allclose(principal_components(rounded, rows, 100), found, atol=1e-8)


def test_latents_and_filters_do_not_depend_on_rounding(study):
    """A thousandth of what single precision drops from the trials changes them by as little."""
    eeg, scores, groups = study
    rounded = eeg * (1 + 1e-11 * np.random.default_rng(0).standard_normal(eeg.shape))
    pair = [
        fit_filters(each, scores, groups, share_of_group=0.5, **FILTERS) for each in (eeg, rounded)
    ]
    for one, other in zip(*pair, strict=True):
        np.testing.assert_allclose(other.spatial, one.spatial, atol=1e-7)
        np.testing.assert_allclose(other.temporal, one.temporal, atol=1e-7)


def test_signs_are_those_of_the_columns():
    columns = np.random.default_rng(0).standard_normal((20, 6))
    flips = np.array([1, -1, 1, -1, -1, 1])
    steady = columns * signs(columns)
    np.testing.assert_array_equal(columns * flips * signs(columns * flips), steady)
    np.testing.assert_array_equal(np.abs(steady), np.abs(columns))
