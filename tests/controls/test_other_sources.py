"""A leak that is planted is found, and a study without one is at chance."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.controls import collapse, inflators, other_sources
from tasks.controls.evidence import Evidence
from tasks.statistics.verdicts import beats_chance
from tests.controls.test_controls import (
    CHANNELS,
    evidence_of,
    in_blocks,
    shuffled_in_time,
    study_of,
)
from tests.synthetic_study import unit

SFREQ_HZ = 200.0
N_TIMES = 40
TIMES_S = np.arange(N_TIMES) / SFREQ_HZ
NEAR_EYES = np.array([name.startswith("Fp") for name in CHANNELS])


def at_chance(score) -> bool:
    return not beats_chance(score)


def listening(plant: Callable[[np.ndarray, int], np.ndarray] | None, seed: int = 0) -> Evidence:
    """Return evidence whose EEG is noise; ``plant`` adds what it likes to a trial of a concept."""
    held_out, trials = study_of(noise=0.0)
    trials = shuffled_in_time(trials)
    rng = np.random.default_rng(seed)
    eeg = rng.standard_normal((len(trials), len(CHANNELS), N_TIMES)).astype(np.float32)
    names = sorted(set(trials["concept"]))
    if plant is not None:
        for epoch, concept in zip(eeg, trials["concept"], strict=True):
            plant(epoch, names.index(concept))
    rows = {trial: row for row, trial in enumerate(trials["trial_id"])}
    training = (trials["split"] == "train").to_numpy()
    return evidence_of(
        held_out,
        trials,
        eeg=eeg[[rows[trial] for trial in held_out.trials["trial_id"]]],
        channels=CHANNELS,
        times_s=TIMES_S,
        training=trials[training].reset_index(drop=True),
        training_eeg=eeg[training],
    )


def eyes(epoch: np.ndarray, concept: int) -> None:
    epoch[NEAR_EYES] += 3 * np.random.default_rng(concept).standard_normal((2, 1))


def brain(epoch: np.ndarray, concept: int) -> None:
    response = np.random.default_rng(concept).standard_normal(((~NEAR_EYES).sum(), 1))
    epoch[~NEAR_EYES] += 3 * response


def muscles(epoch: np.ndarray, concept: int) -> None:
    """Louder by concept above 55 Hz, in any phase."""
    gain = np.exp(np.random.default_rng(concept).standard_normal(len(CHANNELS)))
    phase = np.random.default_rng(abs(hash(epoch.tobytes()))).uniform(0, 2 * np.pi, len(CHANNELS))
    epoch += 2 * gain[:, None] * np.sin(2 * np.pi * 75 * TIMES_S + phase[:, None])


def test_eye_movements_are_found_near_the_eyes_and_the_brain_is_not() -> None:
    found = other_sources.frontal_channels(listening(eyes))
    assert found.score.value > 0.5
    assert "eye movements, or what spreads" in found.score.verdict
    for plant in (None, brain):
        clean = other_sources.frontal_channels(listening(plant))
        assert at_chance(clean.score)
        assert "eye movements" not in clean.score.verdict
    assert "the others in 0.9" in clean.score.verdict or "the others in 1.0" in clean.score.verdict
    assert other_sources.frontal_channels(replace(listening(None), channels=("Fp1",) * 12)) is None


def test_muscles_are_found_above_55_hz_and_slow_responses_are_not() -> None:
    found = other_sources.above_55_hz(listening(muscles))
    assert found.score.value > 0.4
    assert "muscles tell pictures apart" in found.score.verdict
    for plant in (None, brain):
        assert at_chance(other_sources.above_55_hz(listening(plant)).score)


def test_epochs_without_anything_above_55_hz_are_not_asked() -> None:
    evidence = listening(brain)
    assert other_sources.above_55_hz(replace(evidence, times_s=np.arange(N_TIMES) / 100)) is None
    smooth = np.repeat(evidence.training_eeg[:, :, :1], N_TIMES, axis=2)
    smooth = smooth * np.sin(2 * np.pi * 10 * TIMES_S).astype(np.float32)
    assert other_sources.above_55_hz(replace(evidence, training_eeg=smooth)) is None


def test_pictures_in_a_row_of_one_concept_name_their_neighbours() -> None:
    held_out, trials = study_of()
    found = other_sources.neighbours(evidence_of(held_out, in_blocks(trials)))
    assert found.score.value > 0.5
    assert "pictures of a concept follow one another" in found.score.verdict


def test_a_response_that_runs_into_the_next_one_is_found() -> None:
    held_out, trials = study_of()
    trials = by_lot(trials)
    before = trials.groupby("recording_id")["concept"].shift(1).fillna(trials["concept"])
    heard = dict(zip(trials["trial_id"], before, strict=True))
    vectors = {}
    for kind in held_out.predicted:
        naming, concepts = held_out.naming(kind)
        words = {c: naming[np.array(concepts) == c].mean(axis=0) for c in set(concepts)}
        vectors[kind] = unit(np.stack([words[heard[t]] for t in held_out.trials["trial_id"]]))
    late = evidence_of(replace(held_out, predicted=vectors), trials)
    found = other_sources.neighbours(late)
    assert found.score.value > 0.9
    assert beats_chance(found.score)
    assert found.curve.set_index("x")["value"].drop(-1).max() < 0.5


def by_lot(trials: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    lot = np.random.default_rng(seed).random(len(trials))
    mixed = trials.assign(lot=lot).sort_values(["recording_id", "lot"])
    order = mixed.groupby("recording_id").cumcount()
    return mixed.assign(presentation_order=order.astype(np.int32)).drop(columns="lot")


def test_neighbours_in_random_order_are_at_chance() -> None:
    held_out, trials = study_of()
    alarms = [
        beats_chance(other_sources.neighbours(evidence_of(held_out, by_lot(trials, seed))).score)
        for seed in range(20)
    ]
    assert sum(alarms) <= 3


@pytest.mark.parametrize(("n_directions", "low", "high"), [(0, 1.0, 1.0), (3, 2.0, 3.1)])
def test_collapsed_predictions_span_few_dimensions_and_retrieve_few_captions(
    n_directions: int, low: float, high: float
) -> None:
    held_out, trials = study_of()
    whole = evidence_of(held_out, trials)
    rank, distinct = collapse.effective_rank(whole).score, collapse.distinct_answers(whole).score
    assert rank.value == pytest.approx(rank.ceiling, rel=0.05)
    assert (
        f"{distinct.value:.1%} as many as the trials, {distinct.value:.1%} with" in distinct.verdict
    )
    vectors = {}
    for kind, own in held_out.predicted.items():
        rng = np.random.default_rng(0)
        directions = rng.standard_normal((n_directions, own.shape[1]))
        weights = rng.standard_normal((len(own), n_directions))
        vectors[kind] = unit(own[:1] + 0.5 * weights @ directions)
    collapsed = evidence_of(replace(held_out, predicted=vectors), trials)
    found = collapse.effective_rank(collapsed).score
    assert low - 1e-6 <= found.value <= high + 1
    assert found.value < rank.value / 1.5
    assert collapse.distinct_answers(collapsed).score.value < distinct.value


@pytest.mark.parametrize(("far", "low", "high"), [(False, 0.4, 0.6), (True, 0.0, 0.05)])
def test_pictures_of_other_kinds_lie_outside_the_clusters_of_training(
    far: bool, low: float, high: float
) -> None:
    held_out, trials = study_of()
    split = dict(zip(trials["stimulus_id"], trials["split"], strict=True))
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        vectors = {}
        for name, part in split.items():
            vector = rng.standard_normal(16)
            if far:  # pictures of training lie in other dimensions
                vector[:8] *= part == "train"
                vector[8:] *= part != "train"
            vectors[name] = unit(vector[None])[0]
        evidence = evidence_of(held_out, trials, image_vectors=vectors)
        shares.append(collapse.cluster_overlap(evidence).score.value)
    assert low <= np.mean(shares) <= high


@pytest.mark.parametrize("noise", [0.0, 0.8, 50.0])
def test_ways_of_counting_inflate_what_is_between_luck_and_certainty(noise: float) -> None:
    held_out, trials = study_of(noise=noise)
    evidence = evidence_of(held_out, trials)
    either = inflators.any_head_correct(evidence)
    assigned = inflators.assignment_over_batch(evidence).score
    if either is not None:
        assert either.score.value >= evidence.encoder.value - 1e-9
        assert either.score.chance >= evidence.encoder.chance - 0.02
    if noise == 50:
        assert assigned.value < 5 * assigned.chance
        assert either is None or at_chance(either.score)
    else:
        alone = float(assigned.verdict.split(" in the place of ")[1].split(" ")[0])
        assert assigned.value >= alone - 1e-3
