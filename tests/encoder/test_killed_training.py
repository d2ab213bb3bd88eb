"""Training that loses its process, or one of several, at a random step: nothing is lost but an epoch."""

import multiprocessing
import os
import random
import re
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tasks.encoder import processes
from tasks.encoder.dataset import TrainingDataError
from tasks.encoder.training import Run
from tasks.runtime.errors import PerceptError
from tasks.train import train
from tests.encoder.small_study import changed, make_small_study

N_STEPS = 6 * 6  # of 108 trials in batches of 16, over six epochs
PARAMS = changed(batch_size=16, max_epochs=6, patience=6)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def train_here(folder, out, dies_at=-1, environment=None):
    """Train in a process of its own, which kills itself at a step."""
    os.chdir(folder)
    os.environ.update(environment or {})
    torch.set_num_threads(1)
    step, n_done = Run._step, 0

    def counted(self, *batch):
        nonlocal n_done
        if n_done == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        n_done += 1
        return step(self, *batch)

    Run._step = counted
    names = ("trials", "epochs", "captions", "text_vectors", "image_targets")
    paths = [Path("study", name) for name in names]
    try:
        train(*paths, encoder=Path(out), training_log=Path(out) / "log.csv", params=PARAMS)
    except PerceptError as error:
        Path("error.txt").write_text(str(error))
        sys.exit(1)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERCEPT_THREADS", "1")
    make_small_study().write(Path("study"))
    return tmp_path


def start(*arguments):
    process = CONTEXT.Process(target=train_here, args=arguments)
    process.start()
    return process


def end(process):
    process.join(600)
    return process.exitcode


def weights(out):
    return load_file(Path(out) / "encoder.safetensors")


@pytest.mark.slow
def test_killed_at_a_random_step_and_resumed_it_ends_with_the_same_bits(study):
    dies_at = random.randrange(7, N_STEPS)
    assert end(start(study, "resumed", dies_at)) == -signal.SIGKILL, f"at step {dies_at}"
    assert len(list(Path("data/cache/train").glob("*/state.pt"))) == 1
    assert not Path("resumed").exists()
    assert end(start(study, "resumed")) == 0
    assert end(start(study, "whole")) == 0
    for name in ("encoder.safetensors", "encoder.json", "log.csv"):
        same = Path("resumed", name).read_bytes() == Path("whole", name).read_bytes()
        assert same, f"{name} differs after a kill at step {dies_at}"


@pytest.mark.slow
def test_a_lost_process_is_named_and_the_other_s_state_is_enough_to_go_on(study):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    survivor = start(study, "together", -1, common | {"RANK": "0"})
    lost = start(study, "together", 20, common | {"RANK": "1"})
    assert end(lost) == -signal.SIGKILL
    assert end(survivor) == 1
    (state,) = Path("data/cache/train").glob("*/state.pt")
    assert re.fullmatch(
        r"All 2 processes of a training must live until it ends; one cannot be reached any more "
        rf"\(.+\)\. What the finished epochs taught is kept in {state}: start the training again, with "
        r"as many processes as you like, and it goes on from there\.",
        Path("error.txt").read_text(),
    )
    assert end(start(study, "together")) == 0
    assert weights("together")


def test_two_processes_started_by_torchrun_learn_what_one_learns(study):
    together = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
        max_restarts=0,
    )
    elastic_launch(together, train_here)(study, "two")
    assert end(start(study, "one")) == 0
    two, one = weights("two"), weights("one")
    assert two.keys() == one.keys()
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=0.05, err_msg=name)


def test_a_batch_that_processes_cannot_share_is_refused(study, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    names = ("trials", "epochs", "captions", "text_vectors", "image_targets")
    paths = [Path("study", name) for name in names]
    with pytest.raises(TrainingDataError) as error:
        train(*paths, encoder=Path("odd"), training_log=Path("log.csv"), params=PARAMS)
    assert str(error.value) == (
        "train.batch_size must be a multiple of the 3 processes that train; it is 16. "
        "Change one of them."
    )
