"""The same shards on every runner: the same bytes, also when a worker is lost on the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tasks.runtime import workers
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of
from tasks.runtime.map import wants_gpu
from tasks.runtime.ray import executor
from tasks.runtime.runners import runner_map
from tasks.runtime.workers import RunnerError
from tasks.simulate import simulate
from tests.runtime.shard_work import (
    digests,
    fail_at_three,
    square,
    square_losing_a_worker,
    visible_gpus,
    worker_pid,
    worker_pid_on_gpu,
)
from tests.simulation.studies import make_params

pytestmark = pytest.mark.filterwarnings(
    # Ray's own: it opens pipes to processes that outlive their Python objects.
    "ignore:subprocess .* is still running:ResourceWarning",
    "ignore:unclosed file:ResourceWarning",
)
CLUSTERS = ["dask", "ray"]
NUMBERS = range(8)


@pytest.fixture(autouse=True)
def two_workers(monkeypatch):
    for name in ("PERCEPT_RUNNER", "PERCEPT_ADDRESS", "PERCEPT_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PERCEPT_WORKERS", "2")


@pytest.fixture(scope="module")
def environment():
    """Let the workers of clusters import what they are sent."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


@contextmanager
def dask_cluster(folder, *workers):
    """Start a scheduler and a process per worker, each with its options and its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    http = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    worker = ["dask_worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    commands = [(["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *http], os.environ)]
    commands += [([*worker, *options], environment) for options, environment in workers]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *options],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for (name, *options), environment in commands
    ]
    from distributed import Client

    with Client(address, timeout=120) as client:
        client.wait_for_workers(len(workers), timeout=120)
    yield address, processes[0]
    for process in reversed(processes):
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def dask_address(environment, tmp_path_factory):
    """Start two workers, one of which has a GPU, as on two machines."""
    workers = ([], environment), (["--resources", "GPU=1"], environment)
    with dask_cluster(tmp_path_factory.mktemp("dask"), *workers) as (address, _):
        yield address


@pytest.fixture(scope="module")
def ray_cluster(environment):
    """Start a cluster on this machine that has two cores and, so it believes, two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        patch.setenv("PERCEPT_WORKERS", "2")
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
        with executor(None, gpu=False):
            yield


@pytest.fixture
def use(request, monkeypatch):
    """Return a function that makes a runner the one in force."""

    def use(runner: str) -> None:
        monkeypatch.setenv("PERCEPT_RUNNER", runner)
        if runner == "dask":
            monkeypatch.setenv("PERCEPT_ADDRESS", request.getfixturevalue("dask_address"))
        elif runner == "ray":
            request.getfixturevalue("ray_cluster")

    return use


def results_of(work, folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True)
    paths = runner_map(work, [(str(folder), number) for number in NUMBERS])
    assert paths == [str(folder / f"{number}.txt") for number in NUMBERS]
    return digests(folder)


@pytest.fixture
def expected(tmp_path) -> dict[str, str]:
    (tmp_path / "plain").mkdir()
    for number in NUMBERS:
        square((str(tmp_path / "plain"), number))
    return digests(tmp_path / "plain")


@pytest.mark.parametrize("runner", ["local", "threads", *CLUSTERS])
def test_every_runner_gives_the_same_bytes_in_order(runner, use, tmp_path, expected):
    use(runner)
    assert results_of(square, tmp_path / runner) == expected


@pytest.mark.parametrize("runner", CLUSTERS)
def test_shards_of_a_lost_worker_run_again_elsewhere(runner, use, tmp_path, expected):
    use(runner)
    assert results_of(square_losing_a_worker, tmp_path / runner) == expected
    assert (tmp_path / runner / "a_worker_died_here").exists()


STUDY = make_params(n_stimuli=40, n_presentations=4, n_sessions=4)


def recordings_of(folder: Path) -> dict[str, str]:
    simulated = folder / "raw/simulated"
    simulate(simulated=simulated, params=STUDY, map=runner_map)
    return {path.name: sha256_of(path) for path in sorted(simulated.rglob("*_eeg.fif"))}


@pytest.fixture(scope="module")
def local_recordings(tmp_path_factory) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERCEPT_WORKERS", "2")
        found = recordings_of(tmp_path_factory.mktemp("local"))
    assert len(found) == STUDY.n_sessions
    return found


def kill_a_worker_midway(pids: list[int], folder: Path) -> threading.Thread:
    """Kill one worker process, as a machine that fails would, once the first recording is whole."""

    def kill() -> None:
        while not list(folder.rglob("*_eeg.fif")):
            time.sleep(0.02)
        os.kill(pids[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("runner", CLUSTERS)
def test_recordings_of_a_stage_are_the_same_though_a_worker_dies(
    runner, use, tmp_path, local_recordings
):
    use(runner)
    pids = sorted(set(runner_map(worker_pid, range(20))))
    killer = kill_a_worker_midway(pids, tmp_path)
    assert recordings_of(tmp_path) == local_recordings
    killer.join()


def test_lost_local_process_is_one_sentence_and_finished_shards_stay(tmp_path, expected):
    with pytest.raises(RunnerError) as caught:
        results_of(square_losing_a_worker, tmp_path / "local")
    assert str(caught.value) == (
        "Worker processes must live until their shard ends; one was killed, most often for "
        "want of memory. Lower PERCEPT_WORKERS and run again: finished shards are kept."
    )
    assert digests(tmp_path / "local").items() <= expected.items()


@pytest.mark.parametrize("runner", ["local", "threads", *CLUSTERS])
def test_error_of_a_shard_comes_back_as_itself(runner, use, tmp_path):
    use(runner)
    with pytest.raises(PerceptError) as caught:
        results_of(fail_at_three, tmp_path / runner)
    assert type(caught.value) is PerceptError
    assert str(caught.value) == "A number must not be 3; it is. Remove it."


def test_one_worker_and_one_shard_need_no_process(monkeypatch):
    assert runner_map(worker_pid, [0]) == [os.getpid()]
    monkeypatch.setenv("PERCEPT_WORKERS", "1")
    assert runner_map(worker_pid, [0, 1]) == [os.getpid()] * 2


def test_shards_that_want_a_gpu_get_one_each_in_local_processes(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("PERCEPT_WORKERS", "8")
    assert wants_gpu(partial(visible_gpus))
    assert set(runner_map(visible_gpus, range(20))) <= {"4", "7"}


def test_shards_that_want_a_gpu_ask_ray_for_one(use):
    use("ray")
    assert set(runner_map(visible_gpus, range(4))) <= {"0", "1"}


def test_shards_that_want_a_gpu_go_to_the_dask_worker_that_has_one(use):
    use("dask")
    assert len(set(runner_map(worker_pid_on_gpu, range(12)))) == 1


def test_without_an_address_a_dask_cluster_of_this_machine_starts_and_ends(monkeypatch):
    monkeypatch.setenv("PERCEPT_RUNNER", "dask")
    assert os.getpid() not in runner_map(worker_pid, range(4))


def test_unknown_runner(monkeypatch):
    monkeypatch.setenv("PERCEPT_RUNNER", "slurm")
    with pytest.raises(RunnerError) as caught:
        runner_map(worker_pid, range(2))
    assert str(caught.value) == (
        "PERCEPT_RUNNER must be one of local, threads, dask, ray; it is 'slurm'. "
        "Set it to one of these, or unset it."
    )


def test_no_scheduler_at_the_address(monkeypatch):
    monkeypatch.setenv("PERCEPT_RUNNER", "dask")
    monkeypatch.setenv("PERCEPT_ADDRESS", "tcp://127.0.0.1:1")
    monkeypatch.setattr("tasks.runtime.dask.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(RunnerError) as caught:
        runner_map(worker_pid, range(2))
    assert str(caught.value) == (
        "PERCEPT_ADDRESS must name a running Dask scheduler; none answers at tcp://127.0.0.1:1. "
        "Start one with `dask scheduler`, or unset PERCEPT_ADDRESS."
    )


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_one_sentence(
    environment, tmp_path, monkeypatch, caplog, expected
):
    monkeypatch.setenv("PERCEPT_RUNNER", "dask")
    with dask_cluster(tmp_path, ([], environment)) as (address, scheduler):
        monkeypatch.setenv("PERCEPT_ADDRESS", address)
        killer = threading.Timer(2, scheduler.kill)
        killer.start()
        with pytest.raises(RunnerError) as caught:
            runner_map(worker_pid, range(1000))
        killer.join()
    assert str(caught.value) == (
        f"The Dask scheduler at {address} must answer until the last shard ends; it went away. "
        "Start it and its workers again, then run again: finished shards are kept."
    )
    assert not [r for r in caplog.records if r.exc_info and r.name == "distributed.client"]


NOT_INSTALLED = """\
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name == "tasks":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
"""


@pytest.mark.slow
def test_a_worker_that_cannot_import_the_code_is_one_sentence(environment, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    monkeypatch.setenv("PERCEPT_RUNNER", "dask")
    with dask_cluster(tmp_path, ([], environment | {"PYTHONPATH": str(tmp_path)})) as (address, _):
        monkeypatch.setenv("PERCEPT_ADDRESS", address)
        with pytest.raises(RunnerError) as caught:
            runner_map(worker_pid, range(4))
    assert str(caught.value) == (
        "Dask workers must have all code that a shard needs; one lacks some (No module named 'tasks'). Install "
        "Percept as here where the workers run, start them anew and run again."
    )


def test_a_byte_anywhere_in_the_code_keeps_a_worker_out(tmp_path, monkeypatch):
    copied = shutil.copytree(workers.CODE, tmp_path / "tasks")
    monkeypatch.setattr(workers, "CODE", copied)
    assert workers.code_fingerprint.__wrapped__() == workers.code_fingerprint()
    with (copied / "encoder" / "losses.py").open("a") as module:
        module.write("#")
    assert workers.code_fingerprint.__wrapped__() != workers.code_fingerprint()
