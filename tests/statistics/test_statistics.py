import inspect
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tasks.artifacts.metrics import Score
from tasks.controls.answers import judged, score_correlation, score_labels
from tasks.runtime.errors import PerceptError
from tasks.scores.score import score
from tasks.statistics.corrections import holm_over_heads
from tasks.statistics.draws import derangement, has_derangement, seed_of
from tasks.statistics.permutation import (
    SIGNIFICANCE,
    exchanges,
    permutation_p_value,
    sign_flip_p_value,
    units_of,
)
from tasks.statistics.resampling import Resampling, mean, median, own_values
from tasks.statistics.verdicts import (
    BETTER,
    NOT_TOLD,
    WORSE,
    against_shuffled,
    beats_chance,
    deciding,
    reading,
)


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


def of_people(n_people, n_stimuli=30):
    own = np.tile(np.arange(n_stimuli), n_people)
    return own, np.repeat([f"p{i}" for i in range(n_people)], n_stimuli).tolist()


def test_interval_over_few_subjects_is_that_of_student():
    """Where people differ and pictures do not, it is the t interval of the means of people."""
    own, subjects = of_people(4)
    levels = np.array([0.2, 0.4, 0.6, 0.8])
    values = np.repeat(levels, 30)
    sizes = {"n_resamples": 200, "n_permutations": 1, "confidence": 0.95, "seed": 0}
    alone = Resampling.draw(own, 30, **sizes)
    both = Resampling.draw(own, 30, **sizes, subjects=subjects)
    assert (alone.resampled, both.resampled) == ("stimuli", "stimuli and 4 subjects")
    narrow, wide = alone.estimate(values), both.estimate(values)
    assert narrow.value == wide.value == pytest.approx(0.5)
    reach = stats.t.ppf(0.975, 3) * levels.std(ddof=1) / 2
    assert wide.high - wide.value == pytest.approx(reach, rel=0.01)
    assert both.estimate(values, limits=(0.0, 1.0)).high == min(1.0, wide.high)


def test_interval_of_one_subject_says_that_it_is():
    sizes = {"n_resamples": 50, "n_permutations": 1, "confidence": 0.95, "seed": 0}
    own, subjects = of_people(1)
    one = Resampling.draw(own, 30, **sizes, subjects=subjects)
    assert one.resampled == "stimuli of one subject"
    values = np.random.default_rng(0).random(30)
    assert one.estimate(values) == Resampling.draw(own, 30, **sizes).estimate(values)


@pytest.mark.parametrize("statistic", [mean, median])
def test_what_cells_scatter_is_not_taken_for_a_difference_of_subjects(statistic):
    """Subjects who are alike widen an interval little: their means scatter as their trials do."""
    sizes = {"n_resamples": 300, "n_permutations": 1, "confidence": 0.95}
    own, subjects = of_people(10)
    rng, ratios = np.random.default_rng(0), []
    for seed in range(30):
        values = rng.random(300)
        both = Resampling.draw(own, 30, **sizes, seed=seed, subjects=subjects).estimate(
            values, statistic
        )
        alone = Resampling.draw(own, 30, **sizes, seed=seed).estimate(values, statistic)
        ratios.append((both.high - both.low) / (alone.high - alone.low))
    assert 1 <= np.median(ratios) < 1.3


def test_equal_scores_are_ties_however_they_were_summed():
    value = 0.1 + 0.2 + 0.3
    again = np.array([0.3 + 0.2 + 0.1, value * (1 - 1e-6)])
    assert value > again[0]
    assert permutation_p_value(value, again, higher_is_better=True) == 2 / 3
    assert permutation_p_value(-value, -again, higher_is_better=False) == 2 / 3


@given(st.integers(2, 3), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_no_p_value_is_less_than_the_orders_of_stimuli_allow(n_stimuli, n_trials, seed):
    """Two stimuli have two orders, so that no score of theirs is rarer than every other time."""
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(n_stimuli), n_trials)
    matrix = rng.normal(size=(n_stimuli, n_stimuli))[own] + rng.normal(size=(len(own), n_stimuli))
    found = score(matrix, draw(own, n_stimuli, n_resamples=10, n_permutations=199), chance=None)
    assert found.p_value > 0.7 / math.factorial(n_stimuli)


@given(st.data())
def test_exchanges_move_whole_units(data):
    n = data.draw(st.integers(1, 30))
    letters = st.lists(st.sampled_from("abcde"), min_size=n, max_size=n)
    stimuli, within = data.draw(letters), data.draw(letters)
    concepts = {s: data.draw(st.sampled_from("xyz")) for s in "abcde"}
    rows = pd.DataFrame({"stimulus_id": stimuli, "concept": [concepts[s] for s in stimuli]})
    level = data.draw(st.sampled_from(["trials", "stimuli", "concepts"]))
    unit = units_of(rows, level)
    inside = pd.Series(within).groupby(unit).nunique().max() == 1
    for order in exchanges(rows, level, within, 5, data.draw(st.integers(0, 100))):
        assert pd.Series(unit[order]).groupby(unit).nunique().max() == 1  # from one unit each
        given_to = pd.Series(unit[order]).groupby(unit).first()
        assert sorted(given_to) == sorted(set(unit))  # each once
        if inside:
            assert (np.array(within)[order] == np.array(within)).all()


def test_no_test_exchanges_without_being_told_what():
    """A default level would be right for one covariate and wrong for the next."""
    functions = [exchanges, sign_flip_p_value, units_of, score_correlation, score_labels]
    for function in functions:
        level = inspect.signature(function).parameters["level"]
        assert level.default is inspect.Parameter.empty, function


@given(
    value=st.floats(0, 1),
    below=st.floats(0, 0.5),
    above=st.floats(0, 0.5),
    chance=st.floats(0, 1),
    p_value=st.none() | st.floats(0.001, 1),
    n_tests=st.none() | st.integers(1, 40),
    lower_is_better=st.booleans(),
    unit=st.sampled_from(["share", "correlation", "rank"]),
)
def test_interval_p_value_and_sentence_never_contradict_each_other(
    value, below, above, chance, p_value, n_tests, lower_is_better, unit
):
    found = Score(
        value=value,
        n=10,
        chance=chance,
        low=value - below,
        high=value + above,
        p_value=p_value,
        lower_is_better=lower_is_better,
        unit=unit,
        exchanged="" if p_value is None else "stimuli",
    )
    if n_tests and p_value is not None:
        corrected = min(1.0, n_tests * p_value)
        found = found.model_copy(update={"p_holm": corrected, "n_tests": n_tests})
    p_decides = deciding(found)
    good_side = found.high < chance if lower_is_better else found.low > chance
    told = reading(found)
    assert (told == BETTER) == beats_chance(found)
    if beats_chance(found):
        assert good_side
        assert p_decides is None or p_decides < SIGNIFICANCE
    if told == WORSE:
        assert not good_side
        assert p_decides is None or p_decides >= SIGNIFICANCE
    control = judged(found, "It scores", "it sees").verdict
    if p_value is None:  # no control rings without a test
        assert "it sees" not in control
    for sentence in (against_shuffled(found), control)[: 1 if p_value is None else 2]:
        states = [
            sentence.startswith("Better") or "it sees" in sentence,
            "95 % upper bound" in sentence or "95 % lower bound" in sentence,
            "cannot tell: " in sentence,
        ]
        assert sum(states) == 1
        assert states[0] == beats_chance(found)
        if states[1]:
            assert p_decides >= SIGNIFICANCE
            bound = float(re.search(r"at (?:most|least) (-?[\d.]+)", sentence)[1])
            assert bound == pytest.approx(found.low if lower_is_better else found.high, abs=1e-3)
        assert not re.search(r"does not|cannot be told|nothing", sentence)
        if p_decides is not None and (p_value != p_decides or (n_tests or 0) > 1):
            assert f"{p_decides:.2g} by Holm over {n_tests} tests" in sentence


def test_a_correction_changes_the_sentence_with_the_number():
    """What one head shows alone, ten heads asked the same do not show together."""
    one = Score(value=0.3, n=9, chance=0.1, low=0.2, high=0.4, p_value=0.02, exchanged="stimuli")
    one = one.model_copy(update={"verdict": f"{against_shuffled(one)} A note."})
    others = {f"recall_{kind}": one for kind in "abc"}
    alone = holm_over_heads({"recall_a": one}, ["a"])["recall_a"]
    assert (
        alone.verdict == one.verdict == "Better than the same predictions for shuffled stimuli ("
        "p = 0.02, stimuli exchanged). A note."
    )
    for found in holm_over_heads(others, list("abc")).values():
        assert (found.p_holm, found.n_tests) == (pytest.approx(0.06), 3)
        assert reading(found) == NOT_TOLD
        assert "p = 0.06 by Holm over 3 tests" in found.verdict
        assert found.verdict.startswith("Not told")
        assert found.verdict.endswith(" A note.")
