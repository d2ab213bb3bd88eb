"""What a person does in the browser: a stage fails, its cause is removed, Retry is clicked, the run is green."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.workspaces import environment, make_workspace, ran, run

PATIENCE_MS = 120_000

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def free_ports() -> int:
    """Return a port that is free, as is the one after it."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("ui") / "workspace")


@pytest.fixture(scope="module")
def ui(workspace, repository) -> Iterator[str]:
    """Start what `make ui` starts; return the URL that it prints."""
    port = free_ports()
    log = workspace.parent / "serve.log"
    own = environment(PERCEPT_ROOT=str(workspace), PERCEPT_UI_PORT=str(port), PYTHONUNBUFFERED="1")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.serve"], cwd=repository, env=own, stdout=output,
            stderr=output, start_new_session=True,
        )  # fmt: skip
    end = time.monotonic() + 180
    while "Stop with Ctrl-C" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    process.wait(60)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server outlives `make ui`"


@pytest.fixture(scope="module")
def page(ui, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 1000}, base_url=ui)
    page.set_default_timeout(PATIENCE_MS)
    return page


def shoot(page, name: str) -> None:
    """Keep a picture of the page where PERCEPT_SCREENSHOTS names a folder."""
    if folder := os.environ.get("PERCEPT_SCREENSHOTS"):
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_failed_stage_is_retried_by_a_click_and_finished_ones_are_skipped(page, workspace):
    cause = workspace / "cause"
    cause.touch()
    page.goto("/deployments")
    page.get_by_role("link", name="reproduce", exact=True).click()
    shoot(page, "1-deployment")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Quick run").click()
    page.goto("/runs")
    page.locator('a[href*="/runs/flow-run/"]').first.click()
    page.get_by_text("Failed", exact=True).first.wait_for()
    page.get_by_text("Read its log, remove the cause, and retry this run").first.wait_for()
    shoot(page, "2-failed")
    assert ran(workspace) == ["simulate", "ingest", "preprocess"]

    cause.unlink()
    page.get_by_role("button", name="Retry", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Retry", exact=True).click()
    page.get_by_text("Completed", exact=True).first.wait_for()
    page.get_by_text("Stage 'ingest' didn't change, skipping.").first.wait_for()
    shoot(page, "3-retried")
    assert ran(workspace) == ["simulate", "ingest", "preprocess", "preprocess", "caption"]
    assert "up to date" in run(workspace, "dvc", "status")

    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts")).first.click()
    page.get_by_text("Scores of this run").first.wait_for()
    shoot(page, "4-artifacts")
    page.get_by_text("Task Runs", exact=True).first.click()
    page.get_by_text("UpToDate").first.wait_for()
    shoot(page, "5-task-runs")


def test_report_opens_from_the_run(page, ui):
    port = int(ui.rsplit(":", 1)[1]) + 1
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_text("The report of a small workspace").wait_for()
    assert page.url == f"http://127.0.0.1:{port}/reports/index.html"


def test_nothing_listens_beyond_loopback_and_other_sites_are_kept_out(ui):
    import psutil

    port = int(ui.rsplit(":", 1)[1])
    listening = [
        c.laddr.ip
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port in (port, port + 1)
    ]
    assert set(listening) == {"127.0.0.1"}
    request = urllib.request.Request(f"{ui}/api/health", headers={"Origin": "https://example.org"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["access-control-allow-origin"] is None


def test_history_is_the_projects_own(ui, workspace):
    assert (workspace / ".prefect/prefect.db").exists()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ui)
