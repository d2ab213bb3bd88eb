"""The audit as a whole, on studies whose confound is known: drift, leaked pictures, leaked captions."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.controls.registry import CONTROLS, NEED_TIME, run_controls
from tasks.statistics.verdicts import beats_chance, missed
from tests.controls.test_controls import (
    drifting_decoder,
    in_blocks,
    shuffled_in_time,
    study_of,
)


def whole_evidence_of(trials_of, evoked):
    """Return what the controls look at: slow drift, an order of presentation, and a response or none."""
    held_out, trials = study_of(n_subjects=3)
    trials = trials_of(trials)
    stimuli = trials.drop_duplicates("stimulus_id")[["stimulus_id", "concept"]]
    stimuli = stimuli.assign(sha256=stimuli["stimulus_id"])
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(stimuli), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    captions = held_out.captions[held_out.captions["split"] == "train"]["caption_id"]
    return replace(
        drifting_decoder(held_out, trials, evoked),
        stimuli=stimuli,
        retrievals=pd.DataFrame({"gallery": "train", "caption_id": captions}),
        image_vectors=dict(zip(stimuli["stimulus_id"], vectors, strict=True)),
    )


@pytest.fixture(scope="module")
def seen():
    return whole_evidence_of(shuffled_in_time, evoked=6.0)


@pytest.fixture(scope="module")
def drifting():
    return whole_evidence_of(in_blocks, evoked=0.0)


def verdicts(evidence, *names):
    return {n: found.score.verdict for n, found in run_controls(evidence, names).items()}


def test_every_control_speaks_and_every_curve_has_axes(seen):
    found = run_controls(seen, list(CONTROLS))
    for name, finding in found.items():
        assert finding.score.verdict.endswith("."), name
        if finding.curve is not None:
            assert {"series", "x", "value"} <= set(finding.curve), name
            assert finding.x_label, name
            assert finding.y_label, name
    assert {"bottleneck", "repetitions", "high_pass"} <= set(found)


def test_vision_in_random_order_passes(seen):
    found = run_controls(seen, list(CONTROLS))
    assert found["encoder"].score.value > 0.6
    starts = {
        "explained_by_drift": "Not explained by drift: ",
        "explained_by_leakage": "No leak is found: ",
        "label_permutation_within_blocks": "Answers exchanged within a block score",
        "subject_only": "The mean epoch of the subject scores",
        "gallery_permutation": "No ranking changes",
        "batch_dependence": "The encoder predicts each trial the same",
    }
    for name, start in starts.items():
        assert found[name].score.verdict.startswith(start), found[name].score.verdict
    for name in ("time_from_features", "time_to_training", "subject_only", "shuffled_eeg"):
        assert not beats_chance(found[name].score), name
        assert missed(found[name].score) in found[name].score.verdict


def test_nothing_is_said_of_time_where_the_order_was_not_published(seen, drifting):
    found = run_controls(replace(seen, timed=False), list(CONTROLS))
    assert not set(NEED_TIME) & set(found)
    assert "block_structure" in found
    assert found["explained_by_drift"].score.verdict.startswith(
        "Whether drift explains the score cannot be told: the order of presentation was not published."
    )
    blocks = run_controls(replace(drifting, timed=False), list(CONTROLS))
    assert blocks["explained_by_drift"].score.verdict.startswith("Explained by drift: ")


def test_drift_in_blocks_is_named_by_every_probe(drifting):
    found = run_controls(drifting, list(CONTROLS))
    assert found["encoder"].score.value > 0.6
    starts = {
        "explained_by_drift": "Explained by drift: ",
        "time_from_features": "The time of a trial within its recording, as what the heads say tells it",
        "block_from_features": "What the heads say tells the block of a trial",
        "pseudo_labels": "Labels drawn at random for blocks are decoded",
        "label_permutation_within_blocks": "Answers exchanged within a block score",
    }
    for name, start in starts.items():
        assert found[name].score.verdict.startswith(start), found[name].score.verdict
        if found[name].above:
            assert beats_chance(found[name].score), name
            assert found[name].above in found[name].score.verdict
    level = found["high_pass"].curve.set_index("x")["value"]
    assert level["less mean and slope"] < level["as they are"] / 2


def test_mistakes_of_drift_lie_near_in_time():
    evidence = whole_evidence_of(in_blocks, evoked=0.0)
    named = evidence.held_out.concepts()
    order = sorted(set(evidence.shown["concept"]))
    neighbour = [order[min(order.index(c) + 1, len(order) - 1)] for c in evidence.shown["concept"]]
    assert set(neighbour) <= set(named)
    naming, concepts = evidence.held_out.naming("ObjectSnap")
    words = {c: naming[np.array(concepts) == c].mean(axis=0) for c in order}
    vectors = np.stack([words[c] / np.linalg.norm(words[c]) for c in neighbour])
    mistaken = replace(evidence.held_out, predicted={"ObjectSnap": vectors})
    found = run_controls(replace(evidence, held_out=mistaken), ["errors_follow_time"])
    assert found["errors_follow_time"].score.verdict.startswith(
        "Concepts are taken for those shown at about the same time (nearness 0.86 of 1, chance"
    )


@pytest.mark.parametrize("by", ["id", "bytes"])
def test_leaked_pictures_are_found(seen, by):
    leaked = sorted(set(seen.shown["stimulus_id"]))
    training = sorted(set(seen.training["stimulus_id"]))[: len(leaked)]
    if by == "bytes":
        same = dict(zip(leaked, training, strict=True))
        digests = [same.get(s, s) for s in seen.stimuli["stimulus_id"]]
        evidence = replace(seen, stimuli=seen.stimuli.assign(sha256=digests))
    else:
        again = seen.trials[seen.trials["stimulus_id"].isin(leaked)].assign(split="train")
        again = again.assign(trial_id=again["trial_id"] + "-again")
        evidence = replace(seen, trials=pd.concat([seen.trials, again]))
    said = verdicts(evidence, "stimulus_overlap")
    assert said["stimulus_overlap"] == (
        "Leaked pictures: 100.0% of the audited trials show a picture that is in training, by its id or "
        "its bytes. Their score measures memory."
    )
    assert said["explained_by_leakage"] == (
        "Explained by leakage: 100.0% of the audited trials leaked from training, so that none is left "
        "to judge by."
    )


def test_a_score_that_survives_without_the_leak_is_not_explained_by_it(seen):
    few = sorted(set(seen.shown["stimulus_id"]))[:5]
    digests = dict.fromkeys(few, seen.training["stimulus_id"].iloc[0])
    digests = [digests.get(s, s) for s in seen.stimuli["stimulus_id"]]
    evidence = replace(seen, stimuli=seen.stimuli.assign(sha256=digests))
    said = verdicts(evidence, "stimulus_overlap")
    assert said["explained_by_leakage"].startswith("Not explained by leakage: 10.4% of the audited")


def test_leaked_captions_are_found(seen):
    captions = seen.held_out.captions
    own = captions.assign(text=captions["stimulus_id"] + " " + captions["kind"])
    clean = replace(seen, held_out=replace(seen.held_out, captions=own))
    said = verdicts(clean, "caption_overlap")
    assert said["caption_overlap"].startswith("No leaked captions are found: 0.0% of the held-out")
    assert re.search(r"at most \d+\.\d% \(95 % upper bound\)", said["caption_overlap"])
    assert said["explained_by_leakage"].startswith("No leak is found: ")

    training = sorted(set(own.loc[own["split"] == "train", "stimulus_id"]))
    unseen = sorted(set(own.loc[own["split"] != "train", "stimulus_id"]))
    source = dict(zip(unseen, np.resize(training, len(unseen)), strict=True))
    copied = own["stimulus_id"].map(lambda s: source.get(s, s)) + " " + own["kind"]
    held_out = replace(seen.held_out, captions=own.assign(text=copied))
    said = verdicts(replace(seen, held_out=held_out), "caption_overlap")
    assert said["caption_overlap"].startswith("Leaked captions: 100.0% of the held-out pictures")
    assert said["explained_by_leakage"].startswith("Explained by leakage: 100.0%")


def test_captions_of_pictures_that_are_in_training_are_said_to_be(seen):
    ids = seen.shown["stimulus_id"]
    trained = seen.training.assign(stimulus_id=np.resize(sorted(set(ids)), len(seen.training)))
    trials = pd.concat([seen.trials, trained.assign(split="train", kept=True)])
    said = verdicts(replace(seen, trials=trials), "caption_overlap")
    assert said["caption_overlap"] == (
        "Every audited picture is a training picture, and its captions are training captions."
    )


def test_presentations_are_averaged_as_often_as_two_pictures_were_shown(seen):
    held_out = seen.held_out
    first, second, *_ = sorted(set(held_out.trials["stimulus_id"]))
    counts = held_out.trials.groupby("stimulus_id").cumcount()
    of = held_out.trials["stimulus_id"]
    rows = (of == first) | ((of == second) & (counts < 2))
    assert (of == first).sum() > 2
    few = replace(seen, held_out=held_out.of(rows))
    for name in ("shown", "own_hits", "hits", "encoder"):
        few.__dict__.pop(name, None)
    verdict = verdicts(few, "repetitions")["repetitions"]
    assert "the mean of 2 in " in verdict
    alone = replace(seen, held_out=held_out.of(of == first))
    assert "repetitions" not in verdicts(alone, "repetitions")


def test_captions_of_held_out_pictures_in_the_train_gallery_are_found(seen):
    retrievals = pd.DataFrame(
        {"gallery": "train", "caption_id": seen.held_out.captions["caption_id"]}
    )
    said = verdicts(replace(seen, retrievals=retrievals), "gallery_overlap")
    assert said["gallery_overlap"].endswith("identification, not decoding.")
    assert verdicts(seen, "gallery_overlap")["gallery_overlap"] == (
        "Every caption retrieved as decoded was written about a training picture."
    )


def test_trials_that_inform_each_other_are_found(seen):
    def transductive(eeg, subjects):
        vectors = seen.predict(eeg, subjects)
        return {
            kind: v - v.mean(axis=0) * (len(eeg) < len(seen.eeg)) for kind, v in vectors.items()
        }

    said = verdicts(replace(seen, predict=transductive), "batch_dependence")
    assert "trials inform each other" in said["batch_dependence"]


def test_pictures_like_training_pictures_that_alone_are_named_are_found(seen):
    nearest = seen.image_vectors[seen.training["stimulus_id"].iloc[0]]
    share_named = pd.Series(seen.own_hits).groupby(seen.shown["stimulus_id"]).mean()
    named = set(share_named.index[share_named == 1])
    vectors = {s: nearest if s in named else v for s, v in seen.image_vectors.items()}
    found = run_controls(replace(seen, image_vectors=vectors), ["picture_similarity"])
    verdict = found["picture_similarity"].score.verdict
    assert "pictures like training pictures are named better (p = 0.001" in verdict
