"""Whatever is killed, at whatever moment: the next run completes, DVC is content, nothing paid for is lost.

Two kills by default. ``PERCEPT_KILLS=20 pytest tests/flows/test_kills.py`` does twenty, of the server and of
the serving process as well; ``PERCEPT_KILL_SEED`` chooses other moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.flows.workspaces import environment, make_workspace, run

pytestmark = pytest.mark.slow
N_SHARDS = 8
SHARD_S = 0.1

PAYING = """
import os, sys, time
from pathlib import Path
from tasks.runtime.workspace import sole_writer
from tasks.runtime.files import write_text
round_ = Path("round").read_text().strip()
with sole_writer("percept run caption"):
    for k in range(int(sys.argv[1])):
        answer = Path("data/cache/paid") / f"{round_}_{k}"
        if not answer.exists():
            time.sleep(float(sys.argv[2]))
            with open("ledger", "a") as ledger:
                ledger.write(answer.name + "\\n")
            write_text(answer, "an answer")
    write_text(Path("captioned"), round_)
"""
DAG = f"""\
stages:
  simulate: {{cmd: cp round simulated, deps: [round], outs: [simulated]}}
  caption:
    cmd: PYTHON paying.py {N_SHARDS} {SHARD_S}
    deps: [round, simulated]
    outs: [captioned]
  report: {{cmd: cp captioned reported, deps: [captioned], outs: [reported]}}
"""
N_KILLS = int(os.environ.get("PERCEPT_KILLS") or 2)
SEED = int(os.environ.get("PERCEPT_KILL_SEED") or 0)
VICTIMS = ("stage", "dvc", "server", "serving") if N_KILLS > 2 else ("stage", "dvc")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, repository) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "workspace"
    make_workspace(folder, DAG.replace("PYTHON", f"PYTHONPATH={repository} {sys.executable}"))
    (folder / "paying.py").write_text(PAYING)
    return folder


def paid(workspace: Path) -> Counter:
    ledger = workspace / "ledger"
    return Counter(ledger.read_text().split() if ledger.exists() else [])


def kept(workspace: Path) -> set[str]:
    """Return the answers that are whole on the disk."""
    return {path.name for path in (workspace / "data/cache/paid").glob("[0-9]*_*")}


def wait_until(condition, timeout_s: float = 240.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def processes_of(workspace: Path, word: str) -> list[psutil.Process]:
    """Return the processes in the workspace whose command line holds a word."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        here = process.info["cwd"] == str(workspace)
        if here and any(word in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found


def kill_in_a_shell(workspace: Path, victim: str, moment_s: float, round_: str) -> None:
    """Kill the stage or DVC itself, some time after the first shard began."""
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"], cwd=workspace, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        wait_until(lambda: any(name.startswith(f"{round_}_") for name in paid(workspace)))
        time.sleep(moment_s)
        if victim == "dvc":
            process.kill()
        else:
            for stage in processes_of(workspace, "paying.py"):
                stage.kill()


def kill_under_prefect(workspace: Path, victim: str, moment_s: float, round_: str, repository):
    """Kill the server, or the process that serves the deployments, some time after the first shard began."""
    from flows.guarded import USER, key_of
    from tests.flows.test_ui import free_ports

    port = free_ports()
    own = environment(PERCEPT_ROOT=str(workspace), PERCEPT_UI_PORT=str(port))
    client = own | {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": f"{USER}:{key_of(workspace / '.prefect')}",
        "PREFECT_HOME": str(workspace / ".prefect"),
    }
    start = [sys.executable, "-m", "prefect", "deployment", "run", "percept/reproduce"]
    with subprocess.Popen(
        [sys.executable, "-m", "flows.serve"], cwd=repository, env=own, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as serving:  # fmt: skip
        try:
            wait_until(
                lambda: not subprocess.run(start, env=client, capture_output=True).returncode
            )
            wait_until(lambda: any(name.startswith(f"{round_}_") for name in paid(workspace)))
            time.sleep(moment_s)
            children = psutil.Process(serving.pid).children()
            servers = [c for c in children if "flows.guarded:application" in c.cmdline()]
            assert servers
            victims = servers if victim == "server" else [psutil.Process(serving.pid)]
            for process in victims:
                process.kill()
        finally:
            end_group(serving)


def end_group(leader: subprocess.Popen) -> None:
    """Stop what is left of it, as Ctrl-C in its terminal does; then, if need be, without asking."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(leader.pid, sign)
            leader.wait(20)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


@pytest.mark.parametrize("number", range(N_KILLS))
def test_next_run_completes_and_pays_for_nothing_twice(number, workspace, repository):
    draw = random.Random(f"{SEED}-{number}")
    victim, moment_s = VICTIMS[number % len(VICTIMS)], draw.uniform(0, N_SHARDS * SHARD_S)
    round_ = str(number)
    (workspace / "round").write_text(round_)
    if victim in ("stage", "dvc"):
        kill_in_a_shell(workspace, victim, moment_s, round_)
    else:
        kill_under_prefect(workspace, victim, moment_s, round_, repository)
    whole = {name for name in kept(workspace) if name.startswith(f"{round_}_")}
    assert any(name.startswith(f"{round_}_") for name in paid(workspace))

    run(workspace, "dvc", "repro")
    assert (workspace / "reported").read_text() == round_
    assert "up to date" in run(workspace, "dvc", "status")
    bills = paid(workspace)
    assert {f"{round_}_{k}" for k in range(N_SHARDS)} <= kept(workspace)
    assert all(bills[name] == 1 for name in whole), "an answer that was kept was paid for again"
    mine = sum(n for name, n in bills.items() if name.startswith(f"{round_}_"))
    assert mine <= N_SHARDS + 1, "only the answer under way may be paid for twice"
