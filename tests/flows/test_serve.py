"""`make ui` where its ports are taken, and after it was killed."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from flows.serve import _interrupts_wait, listener
from tests.flows.test_kills import end_group
from tests.flows.test_ui import free_ports
from tests.flows.workspaces import environment, make_workspace


def serve(repository, workspace, port: int, log=subprocess.PIPE) -> subprocess.Popen:
    own = environment(PERCEPT_ROOT=str(workspace), PERCEPT_UI_PORT=str(port), PYTHONUNBUFFERED="1")
    return subprocess.Popen(
        [sys.executable, "-m", "flows.serve"], cwd=repository, env=own, stdout=log, stderr=log,
        text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (
            0,
            "percept: Port {port} must be free; {name!r} has it (process {pid}). Stop that one, or set ",
        ),
        pytest.param(
            1,
            "percept: Port {port} must be free for the report; it is not (",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_port_that_something_else_has_is_named_in_one_sentence(repository, tmp_path, above, said):
    port = free_ports()
    with socket.create_server(("127.0.0.1", port + above)):
        process = serve(repository, tmp_path, port)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output == ""
    name = psutil.Process().name()
    assert errors.startswith(said.format(port=port + above, name=name, pid=os.getpid()))
    assert "PERCEPT_UI_PORT" in errors
    assert errors.count("\n") == 1


def wait_until_it_serves(process: subprocess.Popen, log) -> None:
    end = time.monotonic() + 240
    while "Stop with Ctrl-C" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


@pytest.mark.slow
def test_a_server_that_outlives_a_kill_is_taken_over_and_ended(repository, tmp_path):
    workspace, port = make_workspace(tmp_path / "workspace"), free_ports()
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    with logs[0].open("w") as log:
        first = serve(repository, workspace, port, log)
    wait_until_it_serves(first, logs[0])
    server = listener(port)
    first.kill()  # as the system does for want of memory: nothing is tidied up
    first.wait()
    try:
        assert listener(port) == server
        with logs[1].open("w") as log:
            second = serve(repository, workspace, port, log)
        wait_until_it_serves(second, logs[1])
        assert listener(port) == server
        second.send_signal(signal.SIGINT)
        assert second.wait(60) == 0
        assert not server.is_running()
        assert listener(port) is None
    finally:
        end_group(first)


def interrupted(number, done):
    with _interrupts_wait():
        signal.raise_signal(number)
        done.append("imported")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_end_of_the_imports(number):
    def ended(*_):
        raise KeyboardInterrupt

    done, before = [], signal.signal(number, ended)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted(number, done)
        assert signal.getsignal(number) is ended
    finally:
        signal.signal(number, before)
    assert done == ["imported"]
