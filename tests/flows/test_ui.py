"""What a person does in the browser: a stage fails, its cause is removed, Retry is clicked, the run is green."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
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


def printed(workspace: Path, name: str) -> str:
    """Return what `make ui` printed behind a name."""
    text = (workspace.parent / "serve.log").read_text()
    return re.search(rf"^{name}: +(\S+)$", text, re.MULTILINE)[1]


def log_in(page, login: str) -> None:
    page.goto("/")
    page.get_by_label(re.compile("password", re.IGNORECASE)).or_(
        page.locator("input[type=password]")
    ).first.fill(login)
    page.get_by_role("button", name="Login").click()


@pytest.fixture(scope="module")
def page(ui, browser, workspace):
    page = browser.new_page(viewport={"width": 1300, "height": 1000}, base_url=ui)
    page.set_default_timeout(PATIENCE_MS)
    log_in(page, printed(workspace, "Log in as"))
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
    with page.expect_response(re.compile("/create_flow_run$")):
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


def test_report_opens_from_the_run(page, workspace):
    report = printed(workspace, "Report")
    page.goto(f"{report}/")
    page.get_by_text("The report of a small workspace").wait_for()
    assert page.url == f"{report}/reports/index.html"


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
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 403
    assert refused.value.headers["access-control-allow-origin"] is None
    refused.value.close()


def test_history_is_the_projects_own(ui, workspace):
    assert (workspace / ".prefect/prefect.db").exists()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ui)


ATTACK = """async (ui) => {
    const ask = (path, options) => fetch(ui + path, options).then(a => a.text(), e => "refused");
    const socket = new WebSocket(ui.replace("http", "ws") + "/api/events/in", ["prefect"]);
    const opened = await new Promise(done => {
        socket.onopen = () => done("opened");
        socket.onerror = () => done("refused");
    });
    return [await ask("/api/admin/settings"), await ask("/api/flow_runs/filter", {method: "POST"}), opened];
}"""


def test_a_page_of_another_origin_reads_nothing_and_opens_no_socket(ui, browser):
    foreign = "http://127.0.0.1:8123/"  # another port of this machine is another origin
    page = browser.new_context().new_page()
    page.route(foreign, lambda route: route.fulfill(body="a page", content_type="text/html"))
    page.goto(foreign)
    assert page.evaluate(ATTACK, ui) == ["refused", "refused", "refused"]
    page.context.close()


def test_another_account_of_this_machine_gets_no_token_and_starts_nothing(ui):
    """DNS rebinding as well: curl sends any host name, and no key."""
    for words in (
        ["-H", "Host: example.org", f"{ui}/api/csrf-token?client=x"],
        [f"{ui}/api/csrf-token?client=x"],
        ["-X", "PATCH", "-d", "{}", f"{ui}/api/deployments/00000000-0000-0000-0000-000000000000"],
        ["-u", "percept:guess", f"{ui}/api/admin/settings"],
    ):
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout in ("401", "403"), words
