from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from tasks.artifacts.metrics import Score
from tasks.controls import drift, drift_probes
from tasks.controls import input as controls
from tasks.controls.answers import ControlParams
from tasks.controls.baseline import simple_decoder
from tasks.controls.evidence import Evidence
from tasks.controls.noise import gaussian_noise
from tasks.controls.small_decoder import can_learn, fit_small_decoder
from tasks.scores.held_out import HeldOut
from tests.synthetic_study import DIM, make_study, unit

PARAMS = ControlParams(
    n_shuffles=5,
    prestimulus_end_s=0.0,
    n_time_segments=4,
    n_pseudo_labels=2,
    high_pass_hz=(5.0,),
    bottlenecks=(1, 4, 16),
    n_resamples=200,
    n_permutations=999,
    confidence=0.95,
    seed=0,
)
N_CHANNELS, N_TIMES = 12, 20
CHANNELS = ("Fp1", "Fp2", *(f"P{i}" for i in range(10)))
TIMES_S = (np.arange(N_TIMES) - 5) / 25


def study_of(noise=0.0, **kwargs):
    """Return the trials of the split test with predictions as good as wanted, and all trials."""
    study = make_study(noise=noise, n_per_split=6, **kwargs)
    held_out = HeldOut.join(*study.tables)
    return held_out.of(held_out.trials["split"] == "test"), study.trials.to_pandas()


def evidence_of(held_out, trials, **asked):
    """Return evidence that holds what a control asks for, and nothing else."""
    nothing = dict.fromkeys(field.name for field in fields(Evidence))
    known = {"held_out": held_out, "trials": trials, "timed": True, "params": PARAMS}
    return Evidence(**nothing | known | asked)


def in_blocks(trials):
    """Show the trials of each concept in a row, each row a block."""
    parts = []
    for _, recording in trials.groupby("recording_id"):
        ordered = recording.sort_values(["concept", "presentation_order"], kind="stable")
        order = np.arange(len(ordered))
        _, block = np.unique(ordered["concept"], return_inverse=True)
        parts.append(ordered.assign(onset_s=1.0 * order, block=block.astype(np.int32)))
    return pd.concat(parts)


def shuffled_in_time(trials, seed=0):
    rng = np.random.default_rng(seed)
    onsets = trials.groupby("recording_id")["onset_s"].transform(rng.permutation)
    return trials.assign(onset_s=onsets, block=(onsets // 20).astype(np.int32))


def at_chance(score):
    return score.low <= score.chance <= score.high or score.p_value > 0.05


def test_encoder_that_reads_the_eeg_passes_every_control():
    held_out, trials = study_of()
    trials = shuffled_in_time(trials)
    evidence = evidence_of(held_out, trials)
    assert evidence.encoder.value > 0.95
    found = {
        "shuffled": controls.shuffled_eeg(evidence).score,
        "time_of_recording": drift.time_of_recording(evidence).score,
        "block_structure": drift.block_structure(evidence).score,
        "subject_prior": drift.subject_prior(evidence).score,
    }
    for name, score in found.items():
        assert at_chance(score), name
        assert score.value < 0.3, name
    assert found["shuffled"].verdict == (
        f"Shuffled EEG scores {found['shuffled'].value:.3f} (chance "
        f"{found['shuffled'].chance:.3f}); at most {found['shuffled'].high:.3f} (95 % upper bound; p = "
        f"{found['shuffled'].p_value:.2g}, stimuli exchanged)."
    )
    verdict = drift.explained_by_drift(
        evidence.encoder, {name: found[name] for name in ("time_of_recording", "block_structure")}
    )
    assert verdict.value == 0
    assert verdict.verdict.startswith("Not explained by drift: ")


def test_shuffled_eeg_beats_chance_where_subjects_saw_different_concepts():
    held_out, trials = study_of()
    first = held_out.trials["subject"] == "sub-01"
    half = held_out.trials["concept"].isin(sorted(set(held_out.trials["concept"]))[:4])
    score = controls.shuffled_eeg(evidence_of(held_out.of(first == half), trials)).score
    assert score.low > score.chance
    assert "part of the score does not need the trial's own EEG" in score.verdict


def test_label_permutation_reports_the_scores_of_permuted_stimuli():
    evidence = evidence_of(*study_of(noise=0.3))
    encoder = evidence.encoder
    permuted = controls.label_permutation(evidence).score
    assert permuted.chance == 1 / len(evidence.held_out.candidates())
    assert permuted.value == pytest.approx(
        1 / 8, abs=0.02
    )  # only eight of the candidates are shown
    assert permuted.low < permuted.value < permuted.high < encoder.value
    assert permuted.p_value is None  # it belongs to the true order
    assert f"(p = {encoder.p_value:.2g}, stimuli exchanged)" in permuted.verdict


def test_time_and_block_give_blocked_concepts_away():
    held_out, trials = study_of()
    evidence = evidence_of(held_out, in_blocks(trials))
    for control in (drift.time_of_recording, drift.block_structure):
        score = control(evidence).score
        assert score.value > 0.7
        assert "alone names the concept" in score.verdict
    assert drift.subject_prior(evidence).score.value < 0.3


def test_guesses_need_no_training_trial_in_the_recording():
    held_out, trials = study_of()
    others = trials[(trials["subject"] != "sub-01") | (trials["split"] != "train")]
    evidence = evidence_of(held_out, others)
    assert 0 <= drift.time_of_recording(evidence).score.value < 0.5
    assert 0 <= drift.block_structure(evidence).score.value < 0.5


@pytest.mark.parametrize(
    ("labels", "possible"),
    [("abc", False), ("aab", False), ("aaaa", False), ("aabb", True), ("aabbc", True)],
)
def test_a_small_decoder_learns_from_two_labels_of_two_trials(labels, possible):
    assert can_learn(list(labels)) == possible
    if possible:
        features = np.arange(len(labels))[:, None] + np.eye(len(labels), 3)
        said = fit_small_decoder(features, list(labels), seed=0).predict(features)
        assert set(said) <= {"a", "b"}


def test_blocks_of_one_held_out_trial_cannot_be_told_and_are_not_asked_for():
    held_out, trials = study_of(n_repetitions=1)
    alone = trials.assign(block=np.arange(len(trials), dtype=np.int32))
    assert drift_probes.block_from_features(evidence_of(held_out, alone)) is None


def drifting_decoder(held_out, trials, evoked, seed=0):
    """Make EEG of slow drift (and an evoked response) and decode it by class means of training EEG."""
    rng = np.random.default_rng(seed)
    names = held_out.concepts()
    naming, concepts = held_out.naming("ObjectSnap")
    word = np.stack([naming[np.array(concepts) == name].mean(axis=0) for name in names])
    response = rng.standard_normal((len(names), N_CHANNELS, N_TIMES)) * (TIMES_S >= 0)
    walk = np.cumsum(rng.standard_normal((len(trials), N_CHANNELS)), axis=0)
    trials = trials.sort_values(["recording_id", "onset_s"]).reset_index(drop=True)
    eeg = walk[:, :, None] + 0.5 * rng.standard_normal((len(trials), N_CHANNELS, N_TIMES))
    eeg += evoked * response[[names.index(concept) for concept in trials["concept"]]]
    eeg = eeg.astype(np.float32)
    training = (trials["split"] == "train").to_numpy()
    means = {
        (subject, concept): eeg[
            training & (trials["subject"] == subject) & (trials["concept"] == concept)
        ].mean(axis=0)
        for subject in set(trials["subject"])
        for concept in set(trials["concept"][training])
    }

    def predict(epochs, subjects):
        known = sorted({concept for _, concept in means})
        nearest = [
            min(known, key=lambda c, x=x, s=s: float(((x - means[s, c]) ** 2).sum()))
            for x, s in zip(epochs, subjects, strict=True)
        ]
        vectors = unit(word[[names.index(concept) for concept in nearest]])
        return dict.fromkeys(held_out.predicted, vectors)

    rows = {trial: row for row, trial in enumerate(trials["trial_id"])}
    own = eeg[[rows[trial] for trial in held_out.trials["trial_id"]]]
    decoded = replace(held_out, predicted=predict(own, held_out.trials["subject"]))
    return evidence_of(
        decoded,
        trials,
        predict=predict,
        eeg=own,
        channels=CHANNELS,
        times_s=TIMES_S,
        training=trials[training].reset_index(drop=True),
        training_eeg=eeg[training],
        read=lambda trial_ids: eeg[[rows[trial] for trial in trial_ids]],
    )


def test_a_simple_method_is_taught_all_that_the_encoder_was_taught():
    held_out, trials = study_of(n_subjects=3)
    trials = shuffled_in_time(trials)
    training = trials.index[trials["split"] == "train"]
    trials.loc[training[::4], "split"] = "validation"
    seen, drifting = (drifting_decoder(held_out, trials, evoked) for evoked in (6.0, 0.0))
    read = []

    def reading(trial_ids):
        read.extend(trial_ids)
        return seen.read(trial_ids)

    found = simple_decoder(replace(seen, read=reading)).score
    assert found.value > 0.8
    assert found.verdict.startswith(
        f"Shrinkage LDA on bins of time, a simple method, names the concept in {found.value:.3f}"
    )
    assert f"the encoder names {seen.encoder.value - found.value:+.3f} beside it" in found.verdict
    asked = set(trials[trials["split"].isin(["train", "validation"])]["trial_id"])
    assert set(read) == asked | set(held_out.trials["trial_id"])
    assert at_chance(simple_decoder(drifting).score)


def test_a_simple_method_cannot_name_concepts_that_it_was_never_taught():
    held_out, trials = study_of()
    strangers = trials.assign(split=trials["split"].where(trials["split"] == "test", "none"))
    evidence = drifting_decoder(held_out, trials, 1.0)
    assert simple_decoder(replace(evidence, trials=strangers)) is None


def audit_of(trials_of, evoked):
    held_out, trials = study_of()
    evidence = drifting_decoder(held_out, trials_of(trials), evoked)
    encoder = evidence.encoder
    before = controls.prestimulus(evidence).score
    known = {
        "time_of_recording": drift.time_of_recording(evidence).score,
        "block_structure": drift.block_structure(evidence).score,
        "prestimulus": before,
    }
    verdict = drift.explained_by_drift(encoder, known)
    return encoder, controls.noise_eeg(evidence).score, before, verdict


def test_drift_in_blocks_without_any_response_is_called_drift():
    encoder, _, before, verdict = audit_of(in_blocks, evoked=0.0)
    assert encoder.value > 0.6
    assert before.value > 0.3
    assert "gives the concept away before it is shown" in before.verdict
    assert verdict.value == 1
    assert verdict.verdict.startswith("Explained by drift: ")
    assert verdict.verdict.endswith("whose score is therefore no evidence of vision.")


def test_response_in_random_order_is_not_called_drift():
    encoder, noise, before, verdict = audit_of(shuffled_in_time, evoked=6.0)
    assert encoder.value > 0.6
    assert at_chance(noise)
    assert at_chance(before)
    assert verdict.value == 0
    assert verdict.verdict.startswith("Not explained by drift: ")


def test_guessing_leaves_nothing_to_explain():
    encoder, _, _, verdict = audit_of(shuffled_in_time, evoked=0.0)
    assert at_chance(encoder)
    assert verdict.verdict.startswith("Nothing to explain: ")


def test_weaker_drift_leaves_a_score_partly_open():
    encoder = Score(value=0.8, n=100, chance=0.1, low=0.7, high=0.9, p_value=0.001)
    weak = Score(value=0.4, n=100, chance=0.05, low=0.3, high=0.5, p_value=0.001)
    verdict = drift.explained_by_drift(encoder, {"time_of_recording": weak})
    assert verdict.value == pytest.approx(0.5)
    assert verdict.verdict == (
        "Partly open to drift: time of recording alone scores 0.400 (chance 0.050), and the "
        "encoder 0.800; drift could explain at most 75.0% of its margin."
    )


def test_one_lucky_control_of_three_is_not_drift():
    encoder = Score(value=0.8, n=100, chance=0.1, low=0.7, high=0.9, p_value=0.001)
    lucky = Score(value=0.16, n=100, chance=0.1, low=0.11, high=0.2, p_value=0.03)
    dull = Score(value=0.1, n=100, chance=0.1, low=0.05, high=0.15, p_value=0.5)
    known = {"a": lucky, "b": dull, "c": dull}
    assert drift.explained_by_drift(encoder, known).verdict.startswith("Not explained")


def test_noise_has_the_mean_and_the_covariance_of_its_subject():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, 6, 6)) * np.array([1, 3])[:, None, None]
    training = np.concatenate([rng.standard_normal((400, 6)) @ m + 5 for m in mixing])
    training = training.reshape(800, 3, 2).astype(np.float32)
    subjects = np.repeat(["a", "b"], 400).tolist()
    noise = gaussian_noise(training, subjects, ["b"] * 4000 + ["a"] * 10, seed=0)
    drawn, known = noise[:4000].reshape(4000, -1), training[400:].reshape(400, -1)
    np.testing.assert_allclose(drawn.mean(axis=0), known.mean(axis=0), atol=0.6)
    scale = np.abs(np.cov(known.T)).max()
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(known.T), atol=0.12 * scale)
    again = gaussian_noise(training, subjects, ["b"] * 4000 + ["a"] * 10, seed=0)
    np.testing.assert_array_equal(noise, again)


def test_noise_of_an_unknown_subject_is_that_of_everybody():
    rng = np.random.default_rng(0)
    training = rng.standard_normal((600, 3, 2)).astype(np.float32)
    training[300:] += 8
    subjects = np.repeat(["a", "b"], 300).tolist()
    noise = gaussian_noise(training, subjects, ["c"] * 2000, seed=0)
    assert noise.mean() == pytest.approx(4, abs=0.5)
    assert np.var(noise, axis=0) == pytest.approx(17, rel=0.2)


def test_prestimulus_needs_samples_before_the_picture():
    times_s = np.array([0.0, 0.1, 0.2])
    assert controls.prestimulus(evidence_of(*study_of(), times_s=times_s)) is None


def test_prestimulus_sees_nothing_of_what_follows():
    held_out, trials = study_of()
    rng = np.random.default_rng(0)
    eeg = rng.standard_normal((len(held_out.trials), 2, N_TIMES)).astype(np.float32)
    seen = []

    def predict(epochs, subjects):
        seen.append(epochs)
        return {
            kind: np.eye(DIM, dtype=np.float32)[[0] * len(epochs)] for kind in held_out.predicted
        }

    training_eeg = np.full((1, 2, N_TIMES), 7, np.float32)
    asked = {"eeg": eeg, "times_s": TIMES_S, "training_eeg": training_eeg, "predict": predict}
    controls.prestimulus(evidence_of(held_out, trials, **asked))
    np.testing.assert_array_equal(seen[0][:, :, :5], eeg[:, :, :5])
    assert (seen[0][:, :, 5:] == 7).all()
