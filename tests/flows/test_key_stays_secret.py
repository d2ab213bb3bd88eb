"""A key that captions are paid with is in no file, log, Prefect record, artefact or report, whatever the server says.

The key of the Prefect server itself lies in its own file and is printed once.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.guarded import KEY_FILE, USER
from tasks.runtime.files import sha256_of
from tests.chat_server import KEY, ChatServer, completion, failure, text_of
from tests.flows.test_kills import end_group
from tests.flows.test_ui import free_ports
from tests.flows.workspaces import environment, make_workspace
from tests.language.asking import OPENAI
from tests.reporting.fabricated import fabricate, get, put

pytestmark = pytest.mark.slow
DAG = """\
stages:
  caption:
    cmd: PERCEPT run caption
    deps: [data/interim/stimuli.parquet]
    params: [caption]
    outs: [data/processed/captions.parquet, reports/metrics/caption.json]
  report:
    cmd: PERCEPT run report
    deps: [data/processed/captions.parquet]
    outs: [reports/index.html]
"""


@pytest.fixture
def workspace(tmp_path, repository) -> Path:
    """A made-up study whose captions are asked for and whose report is written, by DVC under Prefect."""
    percept = f"PYTHONPATH={repository} {sys.executable} -m tasks"
    folder = make_workspace(tmp_path / "workspace", DAG.replace("PERCEPT", percept))
    shutil.rmtree(folder / "reports")
    artifacts = fabricate(folder)
    stimuli = get(artifacts, "stimuli")
    for row in stimuli:
        row["sha256"] = sha256_of(folder / row["image_path"])
    put(artifacts, "stimuli", stimuli)
    (folder / "data/processed/captions.parquet").unlink()
    params = yaml.safe_load((repository / "params.yaml").read_text())
    params["caption"] |= {
        "backend": "openai",
        "on_failure": "placeholder",
        "openai": OPENAI | {"max_concurrency": 1},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


@pytest.fixture
def prefect(workspace, repository) -> Iterator[dict[str, str]]:
    """Serve the deployments as `make ui` does; return the environment of a client."""
    port = free_ports()
    own = environment(
        PERCEPT_ROOT=str(workspace), PERCEPT_UI_PORT=str(port), PREFECT_LOGGING_LEVEL="DEBUG",
        OPENAI_API_KEY=KEY, OPENAI_BASE_URL=os.environ["OPENAI_BASE_URL"],
    )  # fmt: skip
    log = (workspace / "serve.log").open("w")
    with log, subprocess.Popen(
        [sys.executable, "-m", "flows.serve"], cwd=repository, env=own, stdout=log, stderr=log,
        start_new_session=True,
    ) as serving:  # fmt: skip
        end = time.monotonic() + 240
        while "Stop with Ctrl-C" not in (workspace / "serve.log").read_text():
            assert serving.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        login = f"{USER}:{(workspace / '.prefect' / KEY_FILE).read_text()}"
        api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": login}
        yield own | api | {"PREFECT_HOME": str(workspace / ".prefect")}
        end_group(serving)


@pytest.fixture
def server(monkeypatch) -> Iterator[ChatServer]:
    """A server that repeats the key in whatever it says."""

    def blab(server, ask):
        if server.seen(ask.picture) == 1 and len(server.asks) % 3 == 1:
            return failure(500, f"the key {KEY} is fine, I am not", retry_after="0")
        said = {kind: text_of(kind, ask.picture) for kind in ask.kinds}
        return completion(str(said | {"ThemeTag": f"the key {KEY} on paper"}).replace("'", '"'))

    with ChatServer(blab) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def watch(prefect: dict[str, str]) -> str:
    words = [sys.executable, "-m", "prefect", "deployment", "run", "percept/reproduce", "--watch"]
    done = subprocess.run(words, env=prefect, capture_output=True, text=True, timeout=400)
    return done.stdout + done.stderr


def test_no_key_anywhere(server, prefect, workspace):
    printed = watch(prefect)
    report = workspace / "reports/index.html"
    assert report.exists(), (workspace / "serve.log").read_text()[-3000:]
    assert server.billed.total() == len(server.billed) > 10
    answers = [path.read_text() for path in (workspace / "data/cache/captions").rglob("*.json")]
    assert answers
    assert all("the key <key> on paper" in answer for answer in answers)
    server.script = lambda *_: failure(401, f"Incorrect API key provided: {KEY}")
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("test-model", "another-model"))
    printed += watch(prefect)
    log = (workspace / "serve.log").read_text()
    assert "HTTP 401" in log
    assert "a picture" in report.read_text()

    files = [path for path in workspace.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"prefect.db", "serve.log", "index.html", "dvc.lock"} <= names
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in printed

    login = prefect["PREFECT_API_AUTH_STRING"].removeprefix(f"{USER}:")
    holders = [path for path in files if login.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {KEY_FILE, "serve.log"}
    assert log.count(login) == 1
    assert login not in printed


def test_the_search_would_find_a_key(tmp_path):
    (tmp_path / "leak.db").write_bytes(b"\0\1" + KEY.encode() + b"\0")
    assert [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
