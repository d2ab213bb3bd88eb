"""The stage `train`: what it writes, what it must not see, and what it refuses."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

from tasks.encoder import checkpoints, preparation, training
from tasks.encoder.batches import _Reader
from tasks.encoder.checkpoints import load_encoder
from tasks.encoder.dataset import TrainingDataError, decoded_channels
from tasks.encoder.resumption import CACHE, ResumptionError, SavedRun
from tasks.encoder.training import Run, TrainingStoppedError
from tasks.runtime.device import device_of
from tasks.train import train
from tests.encoder.small_study import CONCEPTS, INFO, KINDS, PARAMS, changed, make_small_study


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    n_threads = torch.get_num_threads()
    monkeypatch.setenv("PERCEPT_THREADS", "1")
    yield
    torch.set_num_threads(n_threads)


def run(study, name="run", params=PARAMS):
    """Write the study, train on it and return the folder of the encoder and the log."""
    folder = Path(name)
    encoder, log = folder / "encoder", folder / "log.csv"
    train(*study.write(folder), encoder=encoder, training_log=log, params=params)
    return encoder, log


def weights(encoder):
    return (encoder / "encoder.safetensors").read_bytes()


def test_it_learns_and_says_what_it_learned_from(tmp_path):
    study = make_small_study()
    encoder, log = run(study)

    rows = pd.read_csv(log)
    assert list(rows["epoch"]) == list(range(len(rows)))
    assert rows["validation_loss"].iloc[-1] < rows["validation_loss"].iloc[0]
    description = json.loads((encoder / "encoder.json").read_text())
    assert description["channels"] == list(INFO.channels)
    assert description["kinds"] == list(KINDS)
    best = rows.iloc[description["best_epoch"]]
    assert best["validation_recall_at_1"] == rows["validation_recall_at_1"].max()
    with safe_open(encoder / "encoder.safetensors", "pt") as file:
        assert len(file.metadata() or {}) <= 1
    assert not list(CACHE.glob("*"))


def test_it_names_the_concepts_of_unseen_pictures():
    """18 test trials say little: four studies are drawn, and chance is a third."""
    shares = []
    for seed in range(4):
        study = make_small_study(seed=seed)
        encoder, _ = run(study, f"draw-{seed}")
        test = study.trials[study.trials["split"] == "test"]
        eeg = np.stack(
            [study.eeg[s][o] for s, o in zip(test.subject, test.presentation_order, strict=True)]
        )
        predicted = load_encoder(encoder).predict(eeg, test["subject"].tolist())
        assert np.linalg.norm(predicted, axis=2) == pytest.approx(1, abs=1e-5)
        snaps = study.captions["kind"] == "ObjectSnap"
        words = dict(zip(study.captions["text"][snaps], study.text_vectors[snaps], strict=True))
        nearest = (predicted[:, 0] @ np.stack([words[c] for c in CONCEPTS]).T).argmax(axis=1)
        shares.append(np.mean(np.array(CONCEPTS)[nearest] == test["concept"]))
    assert np.mean(shares) > 0.8


@pytest.mark.parametrize(
    "architecture", ["st_transformer", "linear", "ridge", "xdawn_lda", "paper_transformer", "nice"]
)
def test_scrambled_test_trials_leave_the_same_bits(architecture):
    params = changed(architecture=architecture, max_epochs=2)
    study = make_small_study()
    plain, _ = run(study, "plain", params)

    rng = np.random.default_rng(1)
    held_out = study.trials["split"] == "test"
    for subject, rows in study.trials[held_out].groupby("subject"):
        chosen = rows["presentation_order"].to_numpy()
        study.eeg[subject][chosen] = rng.normal(size=study.eeg[subject][chosen].shape)
    hidden = study.captions["stimulus_id"].isin(study.trials["stimulus_id"][held_out])
    study.text_vectors[hidden] = rng.permutation(study.text_vectors[hidden])
    study.captions.loc[hidden, "text"] = "scrambled words"
    scrambled, _ = run(study, "scrambled", params)

    assert weights(plain) == weights(scrambled)
    assert (plain / "encoder.json").read_bytes() == (scrambled / "encoder.json").read_bytes()


@pytest.mark.parametrize("architecture", ["st_transformer", "linear", "nice"])
def test_what_captions_are_called_leaves_the_same_bits(architecture):
    """The same vectors under other words, or in several wordings, are the same to an encoder."""
    params, study = changed(architecture=architecture, max_epochs=2), make_small_study()
    plain, _ = run(study, "plain", params)
    said = study.captions["text"]
    renamed = {text: f"w{i}" for i, text in enumerate(dict.fromkeys(said))}
    for name, texts in (
        ("renamed", said.map(renamed)),
        ("wordings", [f"{'look, a ' * (i % 5)}{text}" for i, text in enumerate(said)]),
    ):
        study.captions["text"] = texts
        assert weights(run(study, name, params)[0]) == weights(plain)


def test_scrambled_training_trials_change_the_bits():
    study = make_small_study()
    params = changed(max_epochs=1)
    plain, _ = run(study, "plain", params)
    study.eeg["sub-01"] = study.eeg["sub-01"][::-1].copy()
    assert weights(plain) != weights(run(study, "scrambled", params)[0])


def test_an_interrupted_run_ends_with_the_same_bits(monkeypatch, caplog):
    study = make_small_study()
    whole, whole_log = run(study, "whole")
    save, saves = SavedRun.save, []

    def save_twice_then_die(self, state):
        save(self, state)
        saves.append(state["epoch"])
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "save", save_twice_then_die)
        with pytest.raises(KeyboardInterrupt):
            run(study, "resumed")
    with caplog.at_level(logging.INFO):
        resumed, resumed_log = run(study, "resumed")

    assert saves == [1, 2]
    assert "Going on after epoch 2" in caplog.text
    assert weights(whole) == weights(resumed)
    assert whole_log.read_bytes() == resumed_log.read_bytes()


def test_a_truncated_state_is_named(monkeypatch):
    study = make_small_study()
    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "remove", lambda self: None)
        run(study)
    (state,) = CACHE.glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:1000])
    message = (
        f"{state} must be a whole state of training; its 1000 bytes cannot be read. "
        "Delete it and run `dvc repro train` to train from the start."
    )
    with pytest.raises(ResumptionError) as error:
        run(study)
    assert str(error.value) == message


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_good_epoch(monkeypatch):
    study, seen = make_small_study(), []
    loss = Run._loss

    def diverging(self, *args):
        seen.append(self.epoch)
        return loss(self, *args) * (float("nan") if self.epoch == 2 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_loss", diverging)
        with pytest.raises(TrainingStoppedError) as error:
            run(study)
    assert str(error.value).startswith(
        "The loss must stay finite; in epoch 3, step 1 of 6, it was nan, at a learning rate of 0.00"
    )
    (state,) = CACHE.glob("*/state.pt")
    assert torch.load(state, weights_only=True)["epoch"] == 2
    encoder, _ = run(study)
    assert load_encoder(encoder)


def test_a_gpu_that_is_too_small_is_said(monkeypatch):
    def too_much(self, *args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    monkeypatch.setattr(Run, "_step", too_much)
    with pytest.raises(TrainingStoppedError) as error:
        run(make_small_study())
    assert str(error.value) == (
        "A step of train.batch_size (16) trials must fit into the memory of cpu; it does not (CUDA out "
        "of memory. Tried to allocate 2 GiB.). Lower train.batch_size, set train.precision: bfloat16, "
        "or train on the CPU with PERCEPT_DEVICE=cpu. What the finished epochs taught is kept."
    )


def test_trials_and_weights_lie_on_the_device_of_this_process(monkeypatch):
    elsewhere = torch.device("meta")  # stands for a GPU
    monkeypatch.setattr(training, "compute_device", lambda: elsewhere)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    found = []

    def placed(self, module, prepared, params):
        train, encoding = prepared.train, prepared.encoding
        found.extend([*module.state_dict().values(), prepared.targets, encoding.templates])
        found.extend([train.virtual, train.groups, train.stimuli])
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "__init__", placed)
    with pytest.raises(KeyboardInterrupt):
        run(make_small_study())
    assert {tensor.device for tensor in found} == {elsewhere}


@pytest.mark.parametrize("architecture", ["st_transformer", "nice"])
def test_trials_that_do_not_fit_into_memory_are_read_batch_by_batch_to_the_same_bits(
    architecture, monkeypatch
):
    study, params = make_small_study(), changed(architecture=architecture, max_epochs=2)
    kept = run(study, "kept", params)
    monkeypatch.setattr(preparation, "available_bytes", lambda: 1000)
    sizes, fetch = [], _Reader.fetch
    monkeypatch.setattr(
        _Reader, "fetch", lambda self, rows: (sizes.append(len(rows)), fetch(self, rows))[1]
    )
    assert weights(run(study, "unread", params)[0]) == weights(kept[0])
    assert kept[1].read_text() == Path("unread/log.csv").read_text()
    assert sizes.count(params.batch_size) >= 2 * (108 // params.batch_size)


def test_a_trained_encoder_is_loaded_onto_the_device_of_this_process(monkeypatch):
    encoder, _ = run(make_small_study(), params=changed(max_epochs=1))
    monkeypatch.setattr(checkpoints, "compute_device", lambda: torch.device("meta"))
    assert device_of(load_encoder(encoder).module) == torch.device("meta")


def test_it_stops_when_no_better_epoch_comes():
    params = changed(patience=1, max_epochs=40, learning_rate=1e-12)
    _, log = run(make_small_study(), params=params)
    assert len(pd.read_csv(log)) < 40


@pytest.mark.parametrize(
    "updates",
    [
        {"image": 0.5},
        {"image_levels": "learned_mix", "image": 0.5},
        {"image_projection": 3, "image": 0.5},
        {"text": 0.0, "image": 1.0},
        {"caption_kinds": ["ThemeTag"]},
        {"shared_text": True},
        {"soft_targets": 0.3},
        {"one_for_all": True, "learning_rate": 0.1},
        {"learned": False},
        {"map": "softplus"},
        {"map": "raw"},
        {"mse": 1.0},
        {"mmd": 1.0},
        {"cross_entropy": 1.0},
        {"normalise_eeg": False},
        {"betas": [0.5, 0.9]},
        {"gradient_norm": None},
        {"ema_decay": 0.0},
        {"selection": {"name": "last", "ema_decay": 0.5}},
        {"selection": {"name": "epoch", "epoch": 1, "ema_decay": 0.9}},
        {"schedule": {"name": "constant", "max_epochs": 2}},
        {"noise": 0.5},
        {"smoothing": 1.0},
        {"precision": "bfloat16"},
    ],
    ids=lambda updates: next(iter(updates)),
)
def test_what_is_learned_follows_the_params(updates):
    name, *others = updates
    same = {"max_epochs": 2, "by": "loss"} | {other: updates[other] for other in others}
    study = make_small_study()
    plain, _ = run(study, "plain", changed(**same))
    taken = {"selection": ("by",), "schedule": ("max_epochs",)}.get(name, ())
    others = {key: value for key, value in same.items() if key not in taken}
    other, _ = run(study, "changed", changed(**others | {name: updates[name]}))
    assert weights(other) != weights(plain)


MEND = "Mend `preprocess.split` in params.yaml and run `dvc repro preprocess`."


def nan_in_an_epoch(study):
    order = study.trials.query("subject == 'sub-02' and split == 'train'")["presentation_order"]
    study.eeg["sub-02"][order.iloc[0], 3, 5] = np.nan
    return (
        f"Epochs must be finite; channel E3 of trial sub-02_ses-01_trial-{order.iloc[0]:04d} is not (1 "
        "channels of trials in all). Mend the recording or reject the trial, then run "
        "`dvc repro preprocess`."
    )


def one_concept(study):
    study.trials = study.trials[study.trials["concept"] == "cat"]
    study.eeg = {
        s: study.eeg[s][rows["presentation_order"]] for s, rows in study.trials.groupby("subject")
    }
    return f"The training trials of run/trials must show at least two concepts; found cat. {MEND}"


def no_validation(study):
    study.trials["split"] = study.trials["split"].replace("validation", "test")
    return (
        "run/trials must hold kept trials of the split 'validation', by which the epoch is chosen; it "
        f"holds none. {MEND}"
    )


def missing_caption(study):
    study.captions = study.captions.iloc[1:]
    study.text_vectors = study.text_vectors[1:]
    return (
        "run/captions must hold every kind of caption of every training and validation stimulus; 1 "
        "are missing, for instance ObjectSnap of stim-0000. Run `dvc repro caption`."
    )


def subject_without_training(study):
    rows = (study.trials["subject"] == "sub-02") & (study.trials["split"] == "train")
    study.trials.loc[rows, "split"] = "test"
    return (
        "Every subject of run/trials with validation trials must have training trials; sub-02 has "
        f"none. {MEND}"
    )


@pytest.mark.parametrize(
    "spoil",
    [nan_in_an_epoch, one_concept, no_validation, missing_caption, subject_without_training],
)
def test_bad_input_is_refused_before_training(spoil, monkeypatch):
    study = make_small_study()
    message = spoil(study)
    with pytest.raises(TrainingDataError) as error:
        run(study)
    assert str(error.value) == message
    assert not CACHE.exists()


def test_a_batch_larger_than_the_stimuli_is_refused():
    with pytest.raises(TrainingDataError) as error:
        run(make_small_study(), params=changed(batch_size=64))
    assert str(error.value) == (
        "There must be at least as many training stimuli as train.batch_size (64); run/trials holds "
        "18. Lower train.batch_size in params.yaml."
    )


def test_unknown_kinds_are_refused():
    with pytest.raises(TrainingDataError) as error:
        run(make_small_study(), params=changed(caption_kinds=["Smell"]))
    assert str(error.value) == (
        "train.caption_kinds must name caption kinds of run/captions; Smell is none of ObjectSnap, ThemeTag. "
        "Mend train.caption_kinds in params.yaml."
    )


def test_channels_that_were_not_recorded_are_refused():
    with pytest.raises(TrainingDataError) as error:
        run(make_small_study(), params=changed(channels=["E1", "Oz"]))
    assert str(error.value) == (
        "train.channels must name recorded channels; Oz is none of E0, E1, E2, E3, E4, E5, E6, E7. "
        "Mend train.channels in params.yaml."
    )
    with pytest.raises(TrainingDataError) as error:
        run(make_small_study(), params=changed(channels="posterior"))
    assert str(error.value) == (
        "train.channels: posterior needs channels with 10-20 names that begin with P, O or TP; found "
        "E0, E1, E2, E3, E4 and so on. List the channels by name."
    )


def test_posterior_channels_are_those_over_the_back_of_the_head():
    names = ("Fz", "Cz", "CP1", "TP9", "Pz", "PO4", "Oz", "FT8", "T7")
    assert decoded_channels(names, "posterior") == (3, 4, 5, 6)
    assert decoded_channels(names, ["Oz", "Fz"]) == (0, 6)
    assert decoded_channels(names, "all") is None


def test_a_channel_that_is_not_decoded_does_not_matter():
    params, study = (
        changed(channels=["E0", "E2", "E5", "E6", "E7"], max_epochs=1),
        make_small_study(),
    )
    encoder = load_encoder(run(study, "some", params)[0])
    eeg = study.eeg["sub-01"][:4]
    spoiled = eeg.copy()
    spoiled[:, [1, 3, 4]] = 1000.0
    before = encoder.predict(eeg, ["sub-01"] * 4)
    np.testing.assert_array_equal(encoder.predict(spoiled, ["sub-01"] * 4), before)
    spoiled[:, [0, 2, 5]] *= -3.0
    assert not np.allclose(encoder.predict(spoiled, ["sub-01"] * 4), before, atol=1e-3)


def test_without_filters_per_subject_everybody_can_be_decoded():
    study = make_small_study()
    encoder = load_encoder(run(study, params=changed(per_subject=False, max_epochs=1))[0])
    predicted = encoder.predict(study.eeg["sub-01"][:3], ["sub-09"] * 3)
    assert predicted.shape == (3, 2, 12)


def test_a_subject_left_out_is_refused_before_training_where_filters_are_per_subject():
    study = make_small_study()
    left_out = (study.trials["subject"] == "sub-02").to_numpy()
    study.trials.loc[left_out, "split"] = "test"
    with pytest.raises(TrainingDataError) as error:
        run(study)
    assert str(error.value) == (
        "train.per_subject must be false where a subject is held out altogether: there are no "
        "filters for sub-02. Set it to false in params.yaml."
    )
    encoder = load_encoder(run(study, params=changed(per_subject=False, max_epochs=1))[0])
    assert encoder.subjects == ("sub-01",)
