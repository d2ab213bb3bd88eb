import numpy as np
import pytest

from tasks.runtime.errors import PerceptError
from tasks.statistics.draws import derangement, has_derangement, seed_of
from tasks.statistics.permutation import permutation_p_value
from tasks.statistics.resampling import Resampling, mean, median, own_values


def draw(own, n_stimuli, seed=0, n_resamples=400, n_permutations=400):
    return Resampling.draw(
        np.asarray(own),
        n_stimuli,
        n_resamples=n_resamples,
        n_permutations=n_permutations,
        confidence=0.95,
        seed=seed,
    )


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    own = np.repeat(np.arange(80), 3)
    covered = 0
    for seed in range(200):
        by_stimulus = rng.random(80) < 0.4
        estimate = draw(own, 80, seed, n_permutations=1).estimate(by_stimulus[own])
        covered += estimate.low <= 0.4 <= estimate.high
    assert 180 <= covered <= 199


def test_interval_over_stimuli_is_wider_than_one_over_trials():
    own = np.repeat(np.arange(50), 9)
    hits = (np.random.default_rng(1).random(50) < 0.5)[own]
    by_stimulus = draw(own, 50).estimate(hits)
    by_trial = draw(np.arange(450), 450).estimate(hits)
    assert by_stimulus.value == by_trial.value == hits.mean()
    ratio = (by_stimulus.high - by_stimulus.low) / (by_trial.high - by_trial.low)
    assert 2.4 < ratio < 3.6  # the square root of nine


def test_median_is_the_weighted_lower_median():
    values = np.array([5.0, 1.0, 9.0, 2.0])
    assert median(values) == 2
    weights = np.array([[1, 1, 1, 1], [5, 0, 0, 1], [0, 0, 2, 0]], np.float32)
    assert median(values, weights).tolist() == [2, 5, 9]
    assert mean(values, weights).tolist() == pytest.approx([4.25, 4.5, 9])


def test_control_of_a_shuffled_predictor_covers_chance_and_is_not_significant():
    rng = np.random.default_rng(2)
    concept = np.arange(120) % 12
    own = np.repeat(np.arange(120), 4)
    answers = rng.permutation(concept)[own]
    matrix = answers[:, None] == concept[None]
    resampling = draw(own, 120)
    permuted = resampling.permuted(matrix)
    control = resampling.control(permuted)
    assert control.low <= 1 / 12 <= control.high
    assert control.value == pytest.approx(1 / 12, abs=0.01)
    value = own_values(matrix, own).mean()
    assert permutation_p_value(value, permuted, higher_is_better=True) > 0.05


def test_adding_up_trials_of_a_stimulus_does_not_change_permuted_means():
    rng = np.random.default_rng(3)
    own, matrix = rng.integers(9, size=50), rng.random((50, 9))
    resampling = draw(own, 9)
    by_trial = resampling.permuted(matrix, lambda values, weights: mean(values, weights))
    assert resampling.permuted(matrix) == pytest.approx(by_trial)


def test_p_value_of_a_perfect_predictor_is_as_small_as_permutations_allow():
    concept = np.arange(40) % 10
    matrix = concept[:, None] == concept[None]
    permuted = draw(np.arange(40), 40).permuted(matrix)
    assert permutation_p_value(1.0, permuted, higher_is_better=True) == 1 / 401
    assert permutation_p_value(1.0, permuted, higher_is_better=False) == 1.0


def test_permutations_move_only_stimuli_with_trials():
    resampling = draw([1, 3, 3, 5], 7)
    moved = resampling.permutations[:, [1, 3, 5]]
    assert (np.sort(moved, axis=1) == [1, 3, 5]).all()
    assert (resampling.permutations[:, [0, 2, 4, 6]] == [0, 2, 4, 6]).all()
    assert len(np.unique(moved, axis=0)) == 6


def test_same_seed_same_draws():
    first, again, other = (draw(np.arange(20), 20, seed) for seed in (3, 3, 4))
    assert (first.weights == again.weights).all()
    assert (first.permutations == again.permutations).all()
    assert (first.weights != other.weights).any()


def test_no_trial_is_an_error():
    message = "A score needs at least one trial; found none. Check the split."
    with pytest.raises(PerceptError, match=message):
        draw([], 3)


@pytest.mark.parametrize("groups", ["abcd", "aabbcc", "aaabbb", "aabcbd", "abacad"])
def test_derangement_uses_each_item_once_and_never_its_own_group(groups):
    for seed in range(50):
        assert has_derangement(list(groups))
        source = derangement(list(groups), seed)
        assert sorted(source) == list(range(len(groups)))
        assert all(groups[i] != groups[j] for i, j in enumerate(source))


def test_derangement_depends_on_the_seed_alone():
    groups = [f"stimulus-{i}" for i in range(30)]
    assert (derangement(groups, 1) == derangement(groups, 1)).all()
    assert (derangement(groups, 1) != derangement(groups, 2)).any()


def test_impossible_derangement_is_an_error():
    message = "found one of 3 in 5. Take items of more groups."
    assert not has_derangement(list("aaabc"))
    assert not has_derangement([])
    with pytest.raises(PerceptError, match=message):
        derangement(list("aaabc"), 0)


def test_seeds_are_positive_and_tell_names_apart():
    seeds = {seed_of(base, name, i) for base in (0, 1) for name in "ab" for i in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(0, "trial", 1) == seed_of(0, "trial", 1)


def test_subjects_are_drawn_beside_stimuli_where_there_are_three():
    rng = np.random.default_rng(0)
    own, subjects = np.tile(np.arange(30), 4), np.repeat([f"p{i}" for i in range(4)], 30)
    values = np.repeat([0.2, 0.4, 0.6, 0.8], 30) + 0.05 * rng.standard_normal(120)
    sizes = {"n_resamples": 500, "n_permutations": 1, "confidence": 0.95, "seed": 0}
    alone = Resampling.draw(own, 30, **sizes)
    both = Resampling.draw(own, 30, **sizes, subjects=subjects.tolist())
    assert (alone.resampled, both.resampled) == ("stimuli", "stimuli and subjects")
    narrow, wide = alone.estimate(values), both.estimate(values)
    assert narrow.value == wide.value
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    of_subjects = rng.choice([0.2, 0.4, 0.6, 0.8], (4000, 4)).mean(axis=1)
    assert wide.high - wide.low == pytest.approx(
        np.diff(np.quantile(of_subjects, [0.025, 0.975]))[0], rel=0.2
    )
    assert (both.weights.sum(axis=1) > 0).all()


def test_two_subjects_give_no_interval_over_subjects():
    sizes = {"n_resamples": 50, "n_permutations": 1, "confidence": 0.95, "seed": 0}
    two = Resampling.draw(np.arange(8), 8, **sizes, subjects=["a", "b"] * 4)
    assert two.resampled == "stimuli"
    assert (two.weights == Resampling.draw(np.arange(8), 8, **sizes).weights).all()
