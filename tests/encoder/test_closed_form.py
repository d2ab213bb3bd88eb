"""Filters and latents that are fitted, not trained."""

import numpy as np
import pytest

from tasks.encoder import blocks as in_blocks
from tasks.encoder.baselines.linear import LinearSizes
from tasks.encoder.blocks import Sample, blocks, pooled_moments
from tasks.encoder.caption_memory import fit_memory
from tasks.encoder.caption_scores import caption_scores, principal_components, vector_scores
from tasks.encoder.dataset import TrainingDataError
from tasks.encoder.filters import cosines, fit_filters, inverse_square_root, n_cosines, signs
from tasks.encoder.latents import fit_latents
from tasks.encoder.responses import Sources, Table, fit_responses, mean_responses
from tasks.encoder.variations import find_variations, fit_sums
from tests.encoder.small_study import PARAMS

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


def test_in_many_blocks_filters_and_latents_are_those_of_one_block(
    study, filters, virtual, monkeypatch
):
    eeg, scores, groups = study
    one = latents_of(virtual, filters, scores, groups)
    monkeypatch.setattr(in_blocks, "VALUES_AT_ONCE", 37 * eeg[0].size)
    many = fit_filters(eeg, scores, groups, share_of_group=0.0, **FILTERS)
    for own, expected in zip(many, filters, strict=True):
        for name in ("mean", "spatial", "temporal"):
            np.testing.assert_allclose(getattr(own, name), getattr(expected, name), atol=1e-9)
    monkeypatch.setattr(in_blocks, "VALUES_AT_ONCE", 37 * virtual[0].size)
    found = latents_of(virtual, filters, scores, groups)
    for name in ("projections", "templates", "keys"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), atol=1e-7)


@pytest.mark.parametrize(("n_trials", "most"), [(10, 1000), (100, 60), (100, 7)])
def test_a_sample_of_blocks_is_that_of_all_trials(n_trials, most):
    values = np.random.default_rng(0).normal(size=(n_trials, 3, 2))
    sample = Sample(3 * n_trials, most)
    for rows in np.array_split(values, [1, 2, 9]):
        sample.add(rows)
    step = -(-3 * n_trials // most)
    assert np.array_equal(sample.taken(), values.reshape(-1, 2)[::step])
    assert len(sample.taken()) <= most


def test_moments_of_blocks_make_those_of_all_samples():
    values = np.random.default_rng(0).normal(3.0, 2.0, (100, 4))
    parts = [(len(v), v.mean(axis=0), v.var(axis=0)) for v in np.array_split(values, [1, 40])]
    mean, variance = pooled_moments(parts)
    np.testing.assert_allclose(mean, values.mean(axis=0))
    np.testing.assert_allclose(variance, values.var(axis=0))


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
        virtual.__getitem__,
        np.stack([own.temporal for own in filters]),
        scores,
        [
            blocks(np.flatnonzero(groups == group), virtual.shape[1:])
            for group in range(len(filters))
        ],
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


def planted_captions(rng, n=240, jitter=0.0):
    """Return vectors of two kinds, of a thing and its colour and of a place, and what each stimulus has."""
    said = np.stack([rng.integers(levels, size=n) for levels in (4, 3, 5)])
    things, colours, places = (rng.normal(size=(levels, 12)) for levels in (4, 3, 5))
    seen = np.stack([things[said[0]] + 0.7 * colours[said[1]], places[said[2]]], axis=1)
    seen += jitter * rng.normal(size=seen.shape)
    return seen / np.linalg.norm(seen, axis=2, keepdims=True).mean(), said


def test_scores_tell_the_concept_then_what_each_kind_says_beyond():
    vectors, said = planted_captions(np.random.default_rng(0))
    scores, parts = caption_scores(vectors.astype(np.float32), said[0], 50)
    assert np.bincount(parts).tolist() == [3, 2, 4]
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scores.std(axis=0), 1, atol=1e-6)
    occurs = np.eye(5)[said[2]] - np.eye(5)[said[2]].mean(axis=0)
    own = scores[:, parts == 2]  # of the place alone, with whatever things it was seen
    assert np.abs(own - occurs @ np.linalg.lstsq(occurs, own, rcond=None)[0]).max() < 1e-6
    for part, levels in ((0, said[0]), (2, said[2])):
        told = np.eye(5)[levels] - np.eye(5)[levels].mean(axis=0)
        own = scores[:, parts <= part]
        left = told - own @ np.linalg.lstsq(own, told, rcond=None)[0]
        assert np.abs(left).max() < 1e-3
    assert caption_scores(vectors, said[0], 4)[0].shape == (240, 4)


def test_what_no_variation_explains_is_told_by_directions():
    rng = np.random.default_rng(0)
    concepts = np.arange(300) % 6
    for n_directions in (3, 12):
        free = rng.normal(size=(300, n_directions)) @ rng.normal(size=(n_directions, 30))
        vectors = rng.normal(size=(6, 30))[concepts] + free
        vectors -= vectors.mean(axis=0)
        scores, _ = caption_scores(vectors[:, None], concepts, 60)
        left = vectors - scores @ np.linalg.lstsq(scores, vectors, rcond=None)[0]
        assert (left**2).sum() < 0.1 * (vectors**2).sum()
    assert not find_variations(vectors, concepts).any()


def test_concepts_of_which_captions_say_nothing_have_no_score():
    places = np.eye(4)[np.arange(240) % 4]
    _, parts = caption_scores(places[:, None], np.arange(240) // 4 % 3, 50)
    assert np.bincount(parts).tolist() == [0, 3]


def test_a_kind_that_always_says_the_same_has_no_score():
    vectors, said = planted_captions(np.random.default_rng(0))
    vectors[:, 1] = vectors[0, 1]
    _, parts = caption_scores(vectors.astype(np.float32), said[0], 50)
    assert np.bincount(parts).tolist() == [3, 2]


def test_vector_scores_are_as_many_as_the_ways_the_vectors_vary():
    rng = np.random.default_rng(0)
    targets = (rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10)) + 1).reshape(40, 2, 5)
    scores = vector_scores(targets, max_scores=8)
    assert scores.shape == (40, 3)
    np.testing.assert_allclose(scores.std(axis=0), 1, atol=1e-5)


def test_a_memory_gives_the_posterior_over_what_captions_say():
    rng = np.random.default_rng(0)
    concepts = np.arange(400) % 4
    vectors = rng.normal(size=(4, 5))[concepts]
    means = rng.normal(size=(4, 2))
    means -= means.mean(axis=0)
    memory = fit_memory(means[concepts], np.eye(2), vectors, concepts, 1)
    assert memory.values.shape == (4, 5)
    latents = rng.normal(size=(50, 2))
    energies = latents @ memory.keys + memory.bias
    squares = -0.5 * ((latents[:, None] - means) ** 2).sum(axis=2)
    np.testing.assert_allclose(
        energies[:, :1] - energies, squares[:, :1] - squares, atol=0.1, rtol=0.05
    )
    np.testing.assert_allclose(memory.values, vectors[:4], atol=0.02)
    assert np.abs(memory.gain).max() < 0.01


def test_a_caption_that_is_near_no_slot_is_found_by_the_gain():
    """Vectors and latents that are normal about one concept: the posterior mean is linear."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2000, 3))
    evoked = vectors @ rng.normal(size=(3, 4))
    memory = fit_memory(evoked, np.eye(4), vectors, np.zeros(2000, int), 1)
    latents = evoked + rng.normal(size=evoked.shape)
    attention = latents @ memory.keys + memory.bias
    assert attention.shape == (2000, 1)
    found = memory.values[0] + latents @ memory.gain
    best = latents @ np.linalg.lstsq(latents, vectors, rcond=None)[0]
    assert np.abs(found - best).mean() < 0.1 * np.abs(best).mean()


def test_a_head_does_not_answer_for_what_only_others_say():
    rng = np.random.default_rng(0)
    things, places = rng.integers(3, size=600), rng.integers(4, size=600)
    latents = np.eye(4)[places] - np.eye(4)[places].mean(axis=0)  # that know the place alone
    memory = fit_memory(latents, np.eye(4), np.eye(3)[things], things, 1)
    by_stimulus = fit_memory(latents, np.eye(4), np.eye(4)[places], places, 1)
    assert np.abs(memory.keys).max() < 0.1 * np.abs(by_stimulus.keys).max()


def test_a_memory_minds_wordings_no_more_than_they_change_vectors():
    """Captions that nearly repeat one another must not be told apart by large weights that cancel."""
    plain, said = planted_captions(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    latents = plain.reshape(len(plain), -1) @ rng.normal(size=(24, 6))
    worded = plain + 0.01 * rng.normal(size=(5, *plain.shape))[rng.integers(5, size=len(plain))[0]]
    first, second = (
        fit_memory(latents, np.eye(6), v[:, 0], said[0], 1000) for v in (plain, worded)
    )
    sizes = [np.abs(latents @ m.keys).max() for m in (first, second)]
    assert sizes[1] < 1.2 * sizes[0]


def test_one_latent_is_enough_for_a_memory():
    rng = np.random.default_rng(0)
    concepts = np.arange(60) % 5
    memory = fit_memory(
        rng.normal(size=5)[concepts, None],
        np.eye(1),
        rng.normal(size=(5, 4))[concepts],
        concepts,
        10,
    )
    assert memory.keys.shape == (1, 5)


@pytest.mark.parametrize("n_wordings", [1, 5])
def test_variations_are_found_in_vectors_whatever_the_wording(n_wordings):
    rng = np.random.default_rng(0)
    vectors, said = planted_captions(rng, 400)
    worded = 0.1 * rng.normal(size=(n_wordings, 12)) / 12**0.5
    own = vectors[:, 0] + worded[rng.integers(n_wordings, size=400)]
    found = find_variations(own - own.mean(axis=0), said[0])
    assert len(np.unique(np.stack([found, said[1]]), axis=1).T) == len(np.unique(found)) == 3


def test_a_combination_that_no_picture_had_is_a_sum():
    """A red dog, a blue dog and a red cat are enough for the blue cat."""
    rng = np.random.default_rng(0)
    colours, things = rng.normal(size=(3, 8)), rng.normal(size=(4, 8))
    pairs = [(i, j) for i in range(3) for j in range(4)][:-1] * 5
    vectors = np.array([colours[i] + things[j] for i, j in pairs])
    mean = vectors.mean(axis=0)
    concepts = np.array([j for _, j in pairs])
    variations = find_variations(vectors - mean, concepts)
    named, varied = fit_sums(vectors - mean, concepts, variations)
    hidden = colours[2] + things[3] - mean
    sums = (named[:, None] + varied).reshape(-1, 8)
    assert np.linalg.norm(sums - hidden, axis=1).min() < 0.3 * np.linalg.norm(hidden)


@pytest.mark.parametrize("max_slots", [1, 7, 60, 1000])
def test_no_concept_is_left_out_of_a_memory(max_slots):
    rng = np.random.default_rng(0)
    concepts = np.concatenate([np.arange(20), rng.integers(20, size=200)])
    varied = rng.integers(4, size=220)
    named = 5 * rng.normal(size=(20, 8))
    vectors = named[concepts] + 2 * np.eye(4, 8)[varied]
    memory = fit_memory(rng.normal(size=(220, 3)), np.eye(3), vectors, concepts, max_slots)
    n_slots = len(memory.values)
    assert n_slots % 20 == 0
    assert n_slots == {1: 20, 7: 20, 60: 60, 1000: 80}[max_slots]
    nearest = np.linalg.norm(memory.values[:, None] - named, axis=2).min(axis=0)
    assert nearest.max() < 0.5 * np.linalg.norm(named, axis=1).min()


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


def test_what_varies_equally_has_components_that_no_rounding_chooses():
    """Their components are of equal strength: any rotation of them would do as well."""
    occurs = np.kron(np.eye(8), np.ones((5, 2)))
    occurs -= occurs.mean(axis=0)
    rounded = occurs * (1 + 1e-13 * np.random.default_rng(0).standard_normal(occurs.shape))
    found = principal_components(occurs, 100)
    assert found.shape[1] == 7
    np.testing.assert_allclose(principal_components(rounded, 100), found, atol=1e-8)


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
