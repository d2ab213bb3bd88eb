"""`make ui`: a local Prefect server, and the deployments that its UI starts and retries."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, cast

import psutil

from flows.guarded import PORT as PORT_NAME
from flows.guarded import USER, key_of, path_of
from flows.workspace import root
from tasks import STAGES
from tasks.runtime.environment import whole_number
from tasks.runtime.errors import PerceptError

HOST = "127.0.0.1"
PORT = 4200
LAST_PORT = 65_534  # the files are served on the one above
POLL_S = 2
MOST_RUNS = 200  # that the API returns at once


class ServerError(PerceptError):
    """The Prefect server does not answer."""


def main() -> int:
    """Start the server on loopback, print its URL, and serve until interrupted.

    Returns
    -------
    int
        The exit code: 1 after saying in one sentence what must be mended.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` leaves it ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server is stopped, too
    try:
        port = whole_number(PORT_NAME, most=LAST_PORT) or PORT
        os.environ.update(settings(root(), port))  # before Prefect is imported: it reads them then
        login = os.environ["PREFECT_API_AUTH_STRING"]
        left_over = _left_over(port)
        from flows.served_files import served

        with served(root(), port + 1, path_of(login)) as files, _server(port, left_over):
            os.environ["PERCEPT_FILES_URL"] = files
            sys.stdout.write(
                f"Prefect UI: http://{HOST}:{port}\nLog in as:  {login}\nReport:     {files}\n"
                "Stop with Ctrl-C.\n"
            )
            sys.stdout.flush()
            _serve()
    except PerceptError as error:
        sys.stderr.write(f"percept: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("The server has stopped; `make ui` starts it again, with its history.\n")
    return 0


def settings(workspace: Path, port: int) -> dict[str, str]:
    """Return the settings of Prefect: a home of this project's own, loopback, no telemetry.

    Returns
    -------
    dict of str to str
        Environment variables. Neither pages of other sites nor other accounts of this machine may read
        the server or start runs on it.

    Raises
    ------
    PerceptError
        If others can read the file that holds the project's key.
    """
    url, home = f"http://{HOST}:{port}", workspace.resolve() / ".prefect"
    login = f"{USER}:{key_of(home)}"
    return {
        PORT_NAME: str(port),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_AUTH_STRING": login,
        "PREFECT_API_AUTH_STRING": login,
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_RUNNER_POLL_FREQUENCY": str(POLL_S),
    }


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C and a wish to end wait: in the middle of an import, libraries take them for errors of their own."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for seen in came:
        signal.raise_signal(seen)


def _serve() -> None:
    """Serve the pipeline and each of its stages; runs wait for one another."""
    with _interrupts_wait():
        from prefect import serve
        from prefect.deployments.runner import RunnerDeployment

        from flows.reproduce import reproduce

    _end_lost_runs()
    deployments = [
        reproduce.to_deployment("reproduce", description="Bring every stage up to date."),
        *(
            reproduce.to_deployment(
                f"stage-{name}",  # the UI sorts by name: `reproduce` comes first
                parameters={"stages": [name]},
                description=f"Bring {name} alone up to date.",
            )
            for name in STAGES
        ),
    ]
    serve(*cast("list[RunnerDeployment]", deployments), limit=1, print_starting_message=False)


def _end_lost_runs() -> None:
    """Mark runs whose process was killed without a word as crashed, so that they can be retried.

    Nothing of this workspace runs while its lock can be had.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    from tasks.runtime.workspace import is_free

    if not is_free(root()):
        return
    under_way = StateTypes(any_=[StateType.RUNNING, StateType.PENDING, StateType.CANCELLING])
    lost = FlowRunFilter(state=FlowRunFilterState(type=under_way))
    message = "The process ended without a word. Retry goes on from there."
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_run_filter=lost, limit=MOST_RUNS, sort=FlowRunSort.ID_DESC
        ):
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)


@contextmanager
def _server(port: int, left_over: psutil.Process | None) -> Iterator[None]:
    """Run the server of this project, or go on with one that outlived its `make ui`; end either."""
    process = left_over or psutil.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "flows.guarded:application"),
            *("--host", HOST, "--port", str(port), "--log-level", "warning"),
        ],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_answer(process, port)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.wait()


def _left_over(port: int) -> psutil.Process | None:
    """Return the process of a server of this project that a killed `make ui` has left; None where there is none.

    Raises
    ------
    ServerError
        If something else has the port.
    """
    process = listener(port)
    if process is None:
        return None
    home = _home_of_the_server(port)
    if home == os.environ["PREFECT_HOME"]:
        return process
    what = f"a Prefect server with its home in {home}" if home else f"{process.name()!r}"
    raise ServerError(
        f"Port {port} must be free; {what} has it (process {process.pid}). "
        "Stop that one, or set PERCEPT_UI_PORT to another port."
    )


def _wait_for_answer(server: psutil.Process, port: int, timeout_s: float = 180.0) -> None:
    """Return once the server answers.

    Raises
    ------
    ServerError
        If the server ends or does not answer in time.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if _home_of_the_server(port) is not None:
            return
        ended, _ = psutil.wait_procs([server], timeout=0.5)
        if ended:
            break
    raise ServerError(
        f"The Prefect server must answer on port {port}; it does not. Free the port, or set "
        "PERCEPT_UI_PORT to another, and try again."
    )


def listener(port: int) -> psutil.Process | None:
    """Return the process of this account that listens on a port of this machine; None where none does.

    Raises
    ------
    ServerError
        If one of another account does.
    """
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            process = psutil.Process(connection.pid) if connection.pid else None
            if process and process.uids().real == os.getuid():
                return process
            raise ServerError(
                f"Port {port} must be free; a process of another account has it. "
                "Set PERCEPT_UI_PORT to another port."
            )
    return None


def _home_of_the_server(port: int) -> str | None:
    """Return the home of the Prefect server that answers on a port; None where none does.

    Raises
    ------
    ServerError
        If the port belongs to another account, which must not be told the key.
    """
    if listener(port) is None:
        return None
    login = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(
            "GET", "/api/admin/settings", headers={"Authorization": f"Basic {login}"}
        )
        answer = connection.getresponse()
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return "another folder, whose key is another"
        found: dict[str, Any] = json.load(answer)
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return str(found.get("home"))


if __name__ == "__main__":
    sys.exit(main())
