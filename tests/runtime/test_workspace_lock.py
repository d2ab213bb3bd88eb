"""One workspace, one writer, whatever becomes of the first."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.runtime.workspace import (
    WorkspaceError,
    is_free,
    share_cache,
    sole_writer,
    use_the_code_of,
)

HOLD = """
import os, sys, time
from pathlib import Path
from tasks.runtime.workspace import sole_writer
with sole_writer("the first run", Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(tmp_path, repository):
    """Return a function that starts a process that holds the workspace."""
    started = []

    def hold(seconds: float, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)],
            cwd=repository, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "holds\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_second_run_is_refused_in_one_sentence(hold, tmp_path, monkeypatch):
    first = hold(60)
    monkeypatch.setenv("PERCEPT_WAIT_S", "0.1")
    assert not is_free(tmp_path)
    with pytest.raises(WorkspaceError) as caught, sole_writer("the second run", tmp_path):
        pass
    message = str(caught.value)
    assert message.startswith(
        f"One run at a time may write this workspace; the first run (process {first.pid}, since "
    )
    assert message.endswith(") does. Wait until it ends or stop it, then run again.")


def test_second_run_waits_and_says_for_whom(hold, tmp_path, caplog):
    hold(1.0)
    with sole_writer("the second run", tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
    assert [r.message.endswith("does. Waiting until it ends.") for r in caplog.records] == [True]


def test_lock_ends_with_a_killed_process(hold, tmp_path, monkeypatch):
    first = hold(60)
    first.send_signal(signal.SIGKILL)
    first.wait()
    monkeypatch.setenv("PERCEPT_WAIT_S", "0.1")
    with sole_writer("the second run", tmp_path):
        pass


def test_new_writer_waits_for_a_stage_that_outlives_its_flow(hold, tmp_path, monkeypatch):
    flow = hold(60)
    stage = hold(60, PERCEPT_WRITER=str(flow.pid))
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    monkeypatch.setenv("PERCEPT_WAIT_S", "0.1")
    with pytest.raises(WorkspaceError), sole_writer("the second run", tmp_path):
        pass
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    start = time.monotonic()
    with sole_writer("the second run", tmp_path):
        assert time.monotonic() >= start


def test_queued_experiment_uses_the_caches_of_the_original(tmp_path):
    copy = tmp_path / ".dvc/tmp/exps/tmp123"
    copy.mkdir(parents=True)
    share_cache(copy)
    (copy / "data/cache/paid_for").touch()
    assert (tmp_path / "data/cache/paid_for").exists()
    share_cache(copy)
    share_cache(tmp_path)
    assert not (tmp_path / "data/cache").is_symlink()


def test_a_command_starts_anew_only_where_the_workspace_has_other_code(
    repository, tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(os, "execv", lambda *words: started.append(words))
    use_the_code_of(repository)
    use_the_code_of(tmp_path)  # a study without code of its own
    assert not started
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__main__.py").touch()
    use_the_code_of(tmp_path)
    assert len(started) == 1
