"""Encoders retrained on what holds no answer: what is changed, what is not, and that it is found again."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table, write_table
from tasks.benchmark import CONTROLS
from tasks.benchmark.controls import control_root, is_retrained, retrain
from tasks.benchmark.runs import open_run
from tasks.eeg.epochs import read_epochs
from tasks.encoder.params import TrainParams
from tasks.wiring.contract import call, load_stage
from tests.encoder.small_study import INFO, changed, make_small_study

LAST = {"name": "last", "ema_decay": 0.9}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a run whose encoder could be trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERCEPT_THREADS", "1")
    n_threads = torch.get_num_threads()
    study, artifacts = make_small_study(), Artifacts(tmp_path / "run")
    names = ("trials", "epochs", "captions", "text_vectors", "image_targets")
    for name, path in zip(names, study.write(tmp_path / "written"), strict=True):
        target = getattr(artifacts, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    shown = study.trials.drop_duplicates("stimulus_id")
    rows = [(t.stimulus_id, t.concept, "none.png", 1, 1, "", "") for t in shown.itertuples()]
    stimuli = pd.DataFrame(rows, columns=STIMULI.names)
    table = pa.Table.from_pandas(stimuli, schema=STIMULI, preserve_index=False)
    write_table(table, artifacts.stimuli, STIMULI)
    params = changed(architecture="nice", image=1.0, keep_epochs=True, selection=LAST)
    train = params.model_dump(mode="json", exclude=set(TrainParams.shared()))
    retrieve = {"k": 2, "galleries": ["train"], "batch_size": 64}
    params = {"train": train, "retrieve": retrieve}
    (artifacts.root / "params.yaml").write_text(yaml.safe_dump(params))
    yield open_run("ours", artifacts.root)
    torch.set_num_threads(n_threads)


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_trained_on_what_holds_no_answer(run, control):
    assert not is_retrained(run, control)
    retrain(run, control)
    assert is_retrained(run, control)
    artifacts = Artifacts(control_root(run, control))
    before, after = (read_table(a.trials, TRIALS).to_pandas() for a in (run.artifacts, artifacts))
    ids = before["trial_id"].tolist()
    real, seen = (read_epochs(a.epochs, ids)[0] for a in (run.artifacts, artifacts))
    held_out = before["split"] == "test"
    assert before[held_out].equals(after[held_out])
    if control == "noise":
        assert before.equals(after)
        assert read_epochs(artifacts.epochs, ids)[1] == INFO
        deviations = [eeg - eeg.mean(axis=0) for eeg in (real, seen)]
        assert abs(np.corrcoef(*(eeg.ravel() for eeg in deviations))[0, 1]) < 0.05
        assert deviations[1].var() == pytest.approx(deviations[0].var(), rel=0.2)
    else:
        assert np.array_equal(real, seen)
        moved = before["stimulus_id"] != after["stimulus_id"]
        assert moved[~held_out].mean() > 0.8
        for subject, rows in after[~held_out].groupby("subject"):
            own = before[~held_out & (before["subject"] == subject)]
            assert sorted(rows["stimulus_id"]) == sorted(own["stimulus_id"])
        of = dict(zip(before["stimulus_id"], before["concept"], strict=True))
        assert [of[stimulus] for stimulus in after["stimulus_id"]] == list(after["concept"])
    predicted = set(read_table(artifacts.predictions, PREDICTIONS)["trial_id"].to_pylist())
    assert set(run.trials["trial_id"]) <= predicted
    assert not run.artifacts.predictions.exists(), "the run itself is not touched"


def test_a_run_with_other_params_has_other_controls(run):
    here = control_root(run, "noise")
    assert here == control_root(run, "noise")
    assert here != control_root(run, "shuffled_pairs")
    params = yaml.safe_load((run.root / "params.yaml").read_text())
    params["train"]["seed"] += 1
    (run.root / "params.yaml").write_text(yaml.safe_dump(params))
    assert here != control_root(run, "noise")


def test_every_epoch_that_was_kept_can_be_scored(run):
    assert run.kept_epochs() == []
    for name in ("train", "retrieve"):
        call(load_stage(name), run.artifacts, run.root / "params.yaml")
    epochs = run.kept_epochs()
    assert [one.epoch for one in epochs] == list(range(1, 7))
    ids = run.gallery["stimulus_id"].tolist()
    chosen, last, first = (one.predicted() for one in (run, epochs[-1], epochs[0]))
    np.testing.assert_allclose(last, chosen, atol=1e-6)
    assert np.abs(first - chosen).max() > 1e-3
    np.testing.assert_allclose(epochs[-1].image_vectors(ids), run.image_vectors(ids), atol=1e-6)
