"""Every variable that docs/environment.md names is refused in one sentence where it holds what cannot be used."""

import os
import re
import subprocess
import sys

import pytest
import torch

from flows.workspace import root
from tasks.__main__ import main
from tasks.runtime.device import compute_device, named_device
from tasks.runtime.environment import seconds, whole_number
from tasks.runtime.errors import PerceptError
from tasks.runtime.map import worker_count
from tasks.train import set_threads

WHOLE = "{} must be a whole number above zero{}; it is {!r}. Set it to one, or unset it."


@pytest.mark.parametrize("given", ["0", "many", "-1", "1.5", "²", " 2"])
@pytest.mark.parametrize(
    ("variable", "read"), [("PERCEPT_WORKERS", worker_count), ("PERCEPT_THREADS", set_threads)]
)
def test_what_is_no_whole_number(variable, read, given, monkeypatch):
    monkeypatch.setenv(variable, given)
    with pytest.raises(PerceptError) as caught:
        read()
    assert str(caught.value) == WHOLE.format(variable, "", given)


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "1,5"])
def test_what_is_no_time_to_wait(given, monkeypatch):
    monkeypatch.setenv("PERCEPT_WAIT_S", given)
    with pytest.raises(PerceptError) as caught:
        seconds("PERCEPT_WAIT_S")
    assert str(caught.value) == (
        f"PERCEPT_WAIT_S must be a number of seconds, 0 or more; it is {given!r}. "
        "Set it to one, or unset it."
    )


@pytest.mark.parametrize("given", ["gpu", "cuda:99", "meta"])
def test_what_is_no_device_of_this_machine(given, monkeypatch):
    monkeypatch.setenv("PERCEPT_DEVICE", given)
    with pytest.raises(
        PerceptError,
        match=rf"^PERCEPT_DEVICE must be one of cpu.* on this machine; it is '{given}'\. Set it to ",
    ):
        compute_device()


def test_gpus_of_this_machine_are_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:1"):
        monkeypatch.setenv("PERCEPT_DEVICE", name)
        assert named_device() == torch.device(name)


def test_processes_share_the_gpus_of_a_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert compute_device() == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert compute_device() == torch.device("cuda:1")
    monkeypatch.setenv("PERCEPT_DEVICE", "cuda")
    assert compute_device() == torch.device("cuda:1")
    monkeypatch.setenv("PERCEPT_DEVICE", "cuda:0")
    assert compute_device() == torch.device("cuda:0")
    monkeypatch.setenv("PERCEPT_DEVICE", "cpu")
    assert compute_device() == torch.device("cpu")


def test_good_values_are_read_and_empty_ones_are_unset(monkeypatch):
    monkeypatch.setenv("PERCEPT_WORKERS", "3")
    monkeypatch.setenv("PERCEPT_WAIT_S", "0.5")
    monkeypatch.setenv("PERCEPT_DEVICE", "cpu")
    assert (worker_count(), seconds("PERCEPT_WAIT_S"), named_device()) == (
        3,
        0.5,
        torch.device("cpu"),
    )
    for name in ("PERCEPT_WORKERS", "PERCEPT_WAIT_S", "PERCEPT_DEVICE"):
        monkeypatch.setenv(name, "")
    assert worker_count() == os.cpu_count()
    assert (whole_number("PERCEPT_WORKERS"), seconds("PERCEPT_WAIT_S"), named_device()) == (
        None,
    ) * 3


@pytest.mark.parametrize("given", ["http", "65535"])
def test_ui_refuses_what_is_no_port(given, repository):
    done = subprocess.run(
        [sys.executable, "-m", "flows.serve"], cwd=repository, capture_output=True, text=True,
        env=os.environ | {"PERCEPT_UI_PORT": given}, timeout=60,
    )  # fmt: skip
    sentence = WHOLE.format("PERCEPT_UI_PORT", " and at most 65534", given)
    assert (done.returncode, done.stderr) == (1, f"percept: {sentence}\n")


def test_workspace_must_be_a_folder(monkeypatch):
    monkeypatch.setenv("PERCEPT_ROOT", "nowhere/at/all")
    with pytest.raises(PerceptError) as caught:
        root()
    assert str(caught.value) == (
        "PERCEPT_ROOT must name a folder; 'nowhere/at/all' is none. Mend it, or unset it."
    )


@pytest.mark.parametrize(
    ("variable", "given"),
    [("PERCEPT_WAIT_S", "soon"), ("PERCEPT_WORKERS", "many"), ("PERCEPT_RUNNER", "slurm")],
)
def test_command_says_so_in_one_sentence(
    variable, given, tmp_path, repository, monkeypatch, capsys
):
    (tmp_path / "params.yaml").symlink_to(repository / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, given)
    assert main(["run", "simulate"]) == 1
    assert re.fullmatch(
        rf"percept: {variable} must be [^\n]+; it is '{given}'\. Set it [^\n]+",
        capsys.readouterr().err.splitlines()[-1],
    )


def test_every_variable_of_the_code_is_on_its_page_or_internal(repository):
    named = set(re.findall(r"`(PERCEPT_\w+)`", (repository / "docs/environment.md").read_text()))
    read = {
        name
        for folder in ("tasks", "flows")
        for path in (repository / folder).rglob("*.py")
        for name in re.findall(r"\"(PERCEPT_\w+)\"", path.read_text())
    }
    internal = {"PERCEPT_WRITER", "PERCEPT_PARENT_TASK_RUN", "PERCEPT_FILES_URL"}
    assert read - internal == named
