"""What a person does in the browser: a stage fails, its cause is removed, Retry is clicked, the run is green."""

import http.client
import json
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

from flows.showing import RUNS
from tasks import STAGES
from tests.flows.workspaces import environment, make_workspace, ran, run

PATIENCE_MS = 300_000
BUSY = "503"
"""What Prefect answers while its database is locked: ask again."""

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
    end = time.monotonic() + 240
    while "Stop with Ctrl-C" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    url = f"http://127.0.0.1:{port}"
    login, last = (
        printed(workspace, "Log in as"),
        f"/api/deployments/name/percept/stage-{STAGES[-1]}",
    )
    while ask(url, "GET", last, "-u", login)[0] != 200:  # they are made one after another
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.5)
    yield url
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
    with page.expect_response(re.compile("/create_flow_run$")) as created:
        page.get_by_text("Quick run").click()
    assert created.value.ok, created.value.text()
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
    after = ["preprocess", "caption", "evaluate", "report"]
    assert ran(workspace) == ["simulate", "ingest", "preprocess", *after]
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
    (kept,) = (workspace / RUNS).iterdir()
    page.goto(f"{report}/runs/{kept.name}/index.html")
    page.get_by_text("The report of a small workspace").wait_for()


def test_a_run_is_named_by_what_it_does_and_bad_overrides_are_one_sentence(ui, page, workspace):
    key = with_the_key(ui, workspace)
    named = "/api/deployments/name/percept/stage-report"
    deployment = json.loads(ask(ui, "GET", named, *key)[1])["id"]
    page.goto(f"/deployments/deployment/{deployment}/run")
    page.get_by_text("Stages to bring up to date; where none is named, all of them.").wait_for()
    shoot(page, "6-form")
    wanted = {"stages": ["report"], "overrides": {"no.such": 1}}
    start = ask(
        ui, "POST", f"/api/deployments/{deployment}/create_flow_run", *key,
        body=json.dumps({"parameters": wanted}),
    )  # fmt: skip
    run_id = json.loads(start[1])["id"]
    page.goto(f"/runs/flow-run/{run_id}")
    page.get_by_text("Failed", exact=True).first.wait_for()
    shoot(page, "7-bad-overrides")
    run = json.loads(ask(ui, "GET", f"/api/flow_runs/{run_id}", *key)[1])
    assert run["name"] == "report; no.such 1"
    assert "params.yaml must exist; it does not." in run["state"]["message"]
    of_run = json.dumps({"logs": {"flow_run_id": {"any_": [run_id]}}})
    logs = [
        line["message"]
        for line in json.loads(ask(ui, "POST", "/api/logs/filter", *key, body=of_run)[1])
    ]
    assert any("params.yaml must exist" in line for line in logs)
    assert not any("Traceback" in line for line in logs)
    assert "Traceback" not in (workspace.parent / "serve.log").read_text()


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


KNOCK = """async ([ui, paths]) => {
    const status = ([method, path]) => fetch(ui + path, {method}).then(a => a.status, () => "refused");
    const socket = path => new Promise(done => {
        const opening = new WebSocket(ui.replace("http", "ws") + path, ["prefect"]);
        opening.onopen = () => done("opened");
        opening.onerror = () => done("refused");
    });
    return Promise.all([...paths.map(status), socket("/api/events/in"), socket("/api/events/out")]);
}"""
NOBODY = "00000000-0000-0000-0000-000000000000"
DOORS = [
    ["GET", "/api/csrf-token?client=x"],
    ["GET", "/api/admin/settings"],
    ["POST", "/api/deployments/filter"],
    ["PATCH", f"/api/deployments/{NOBODY}"],
    ["POST", f"/api/deployments/{NOBODY}/create_flow_run"],
]


def test_a_page_of_another_origin_reads_nothing_and_opens_no_socket(ui, browser):
    foreign = "http://127.0.0.1:8123/"  # another port of this machine is another origin
    page = browser.new_context().new_page()
    page.route(foreign, lambda route: route.fulfill(body="a page", content_type="text/html"))
    page.goto(foreign)
    assert set(page.evaluate(KNOCK, [ui, DOORS])) == {"refused"}
    page.context.close()


def test_a_name_of_another_site_that_leads_here_finds_a_closed_door(ui, browser):
    """DNS rebinding: to the browser, the server's answers belong to that site's page."""
    rebound = ui.replace("127.0.0.1", "rebound.example")
    page = browser.new_context().new_page()
    assert page.goto(rebound).status == 403
    *answers, events_in, events_out = page.evaluate(KNOCK, [rebound, DOORS])
    assert set(answers) == {403}
    assert events_in == events_out == "refused"
    page.context.close()


def ask(ui: str, method: str, path: str, *words: str, body: str = "{}") -> tuple[int, str]:
    """Ask as curl does; return status and content."""
    words = (*words, "-X", method, "--json", body)
    command = ["curl", "-s", "-w", "\n%{http_code}", *words, f"{ui}{path}"]
    status = BUSY
    end = time.monotonic() + PATIENCE_MS / 1000
    while status == BUSY and time.monotonic() < end:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        content, _, status = done.stdout.rpartition("\n")
    return int(status), content


def with_the_key(ui: str, workspace: Path) -> list[str]:
    """Return curl's words for who is logged in: the key first, then a token against forged forms."""
    login = ["-u", printed(workspace, "Log in as")]
    token = json.loads(ask(ui, "GET", "/api/csrf-token?client=x", *login)[1])["token"]
    return [*login, "-H", "Prefect-Csrf-Client: x", "-H", f"Prefect-Csrf-Token: {token}"]


ATTACK = {
    "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "touch was_here"}}]
}


def test_another_account_of_this_machine_gets_no_token_and_starts_nothing(ui, workspace):
    """Nobody gets in without the key; with the key, but under another name, neither."""
    key = with_the_key(ui, workspace)
    csrf = key[2:]
    found = json.loads(ask(ui, "POST", "/api/deployments/filter", *key)[1])
    deployment = f"/api/deployments/{found[0]['id']}"
    runs = ask(ui, "POST", "/api/flow_runs/count", *key)
    for words, refusal in (
        (csrf, 401),
        ([*csrf, "-u", "percept:guess"], 401),
        ([*key, "-H", "Host: example.org"], 403),
        ([*key, "-H", "Origin: https://example.org"], 403),
    ):
        for method, path, body in (
            ("GET", "/api/csrf-token?client=x", ""),
            ("PATCH", deployment, json.dumps(ATTACK)),
            ("POST", f"{deployment}/create_flow_run", "{}"),
        ):
            assert ask(ui, method, path, *words, body=body)[0] == refusal, (words, path)
    now = json.loads(ask(ui, "POST", "/api/deployments/filter", *key)[1])
    assert [d["pull_steps"] for d in now] == [d["pull_steps"] for d in found]
    assert ATTACK["pull_steps"] not in [d["pull_steps"] for d in now]
    assert ask(ui, "POST", "/api/flow_runs/count", *key) == runs
    assert ask(ui, "PATCH", deployment, *key)[0] == 204  # what the others were refused


def test_every_door_of_the_api_asks_for_the_key(ui, workspace):
    schema = json.loads(
        ask(ui, "GET", "/api/openapi.json", "-u", printed(workspace, "Log in as"))[1]
    )
    doors = {
        (method.upper(), re.sub("{[^}]*}", NOBODY, path))
        for path, methods in schema["paths"].items()
        for method in methods
    }
    assert len(doors) > 150
    connection = http.client.HTTPConnection(ui.removeprefix("http://"))
    opened = set()
    for method, path in doors:
        connection.request(method, path if path.startswith("/api") else f"/api{path}")
        answer = connection.getresponse()
        answer.read()
        opened |= {path} if answer.status not in (401, 403) else set()
    connection.close()
    assert opened <= {"/api/health", "/api/ready", "/health", "/ready"}


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
@pytest.mark.parametrize("said", [{"type": "auth", "token": "percept:guess"}, {"type": "auth"}, {}])
def test_a_socket_without_the_key_is_closed(ui, path, said):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(ui.replace("http", "ws") + path, subprotocols=["prefect"]) as socket:
        socket.send(json.dumps(said))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)
        assert socket.close_code == 1008
