"""Training, prediction and explanation on a GPU: the same answers as on the CPU, and no waiting.

Tests of this file are skipped where torch finds no GPU.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tasks.encoder.checkpoints import load_encoder
from tasks.encoder.dataset import read_training_data
from tasks.encoder.preparation import fit_closed_form
from tasks.encoder.resumption import SavedRun
from tasks.encoder.training import Run, seeded
from tasks.explanation.heads import Heads
from tasks.train import train
from tests.encoder.small_study import PARAMS, changed, make_small_study

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")

STILL = {
    "synthetic_share": 0.0,
    "repetition_mix": 0.0,
    "channel_dropout": 0.0,
    "time_shift_samples": 0,
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(device, monkeypatch, params, name):
    monkeypatch.setenv("PERCEPT_DEVICE", device)
    study, folder = make_small_study(), Path(name)
    encoder, log = folder / "encoder", folder / "log.csv"
    train(*study.write(folder), encoder=encoder, training_log=log, params=params)
    return study, encoder, pd.read_csv(log)


@pytest.mark.parametrize(
    "architecture", ["st_transformer", "linear", "xdawn_lda", "paper_transformer"]
)
def test_the_gpu_learns_what_the_cpu_learns(architecture, monkeypatch):
    """Without chance between them, the first steps agree; then rounding grows as it does anywhere."""
    own = {"dropout": 0.0} if architecture == "st_transformer" else {}
    params = changed(architecture=architecture, max_epochs=2, **STILL, **own)
    study, on_cpu, cpu = trained("cpu", monkeypatch, params, "cpu")
    _, on_gpu, gpu = trained("cuda", monkeypatch, params, "gpu")
    np.testing.assert_allclose(gpu, cpu, atol=2e-3)
    eeg, subjects = study.eeg["sub-01"], ["sub-01"] * len(study.eeg["sub-01"])
    predicted = load_encoder(on_gpu).predict(eeg, subjects)
    assert next(load_encoder(on_gpu).module.buffers()).device.type == "cuda"
    monkeypatch.setenv("PERCEPT_DEVICE", "cpu")
    np.testing.assert_allclose(predicted, load_encoder(on_gpu).predict(eeg, subjects), atol=1e-5)
    np.testing.assert_allclose(predicted, load_encoder(on_cpu).predict(eeg, subjects), atol=2e-2)


@pytest.mark.parametrize("architecture", ["nice", "atm", "eegnet"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_every_precision_trains_networks(architecture, precision, monkeypatch):
    params = changed(architecture=architecture, precision=precision, max_epochs=2)
    _, _, log = trained("cuda", monkeypatch, params, "gpu")
    assert np.isfinite(log["train_loss"]).all()


def test_trials_that_stay_in_main_memory_give_the_same_bits(monkeypatch):
    _, there, _ = trained("cuda", monkeypatch, PARAMS, "there")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    _, here, _ = trained("cuda", monkeypatch, PARAMS, "here")
    weights = [(folder / "encoder.safetensors").read_bytes() for folder in (there, here)]
    assert weights[0] == weights[1]


def test_an_interrupted_run_goes_on_to_the_same_weights(monkeypatch):
    _, whole, _ = trained("cuda", monkeypatch, PARAMS, "whole")
    save = SavedRun.save

    def save_and_die(self, state):
        save(self, state)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            trained("cuda", patch, PARAMS, "resumed")
    _, resumed, _ = trained("cuda", monkeypatch, PARAMS, "resumed")
    for name, value in load_encoder(whole).module.state_dict().items():
        again = load_encoder(resumed).module.state_dict()[name]
        torch.testing.assert_close(again, value, atol=1e-4, rtol=1e-4)


def test_no_step_waits_for_the_gpu(monkeypatch):
    study, device = make_small_study(), torch.device("cuda:0")
    data = read_training_data(*study.write(Path("study")), params=PARAMS)
    with seeded(0, device):
        module, prepared = fit_closed_form(data, PARAMS)
        run = Run(module.to(device), prepared.to(device), PARAMS)
        run.module.train()
        step = Run._step

        def without_waiting(self, *batch):
            torch.cuda.set_sync_debug_mode("error")
            try:
                return step(self, *batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        monkeypatch.setattr(Run, "_step", without_waiting)
        run.train_epoch()
    assert run.epoch == 1


def test_gradients_are_those_of_the_cpu(monkeypatch):
    study, folder, _ = trained("cuda", monkeypatch, changed(max_epochs=1), "gpu")
    eeg, subjects = study.eeg["sub-01"], ["sub-01"] * len(study.eeg["sub-01"])
    directions = np.random.default_rng(0).normal(size=(len(eeg), 12))
    found = []
    for device in ("cuda", "cpu"):
        monkeypatch.setenv("PERCEPT_DEVICE", device)
        heads = Heads.of(load_encoder(folder), 16)
        found.append(
            heads.gradients(eeg, subjects, directions, "ObjectSnap", "integrated_gradients", 8)
        )
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
