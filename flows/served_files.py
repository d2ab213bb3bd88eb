"""The report of the workspace and those of runs over HTTP, for the links in the UI: loopback only."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from flows.guarded import LOOPBACK, Guard
from flows.showing import RUNS
from tasks.runtime.errors import PerceptError


def file_application(root: Path, key: str) -> Starlette:
    """Return an application that serves two folders of the workspace, and nothing outside them.

    Parameters
    ----------
    key
        What every path begins with: who does not know it finds nothing.

    Returns
    -------
    Starlette
        Paths that climb out of a folder, or follow a link out of it, do not exist; requests that another
        site's name leads here are refused.
    """
    folders = {"/reports": root / "reports", "/runs": root / RUNS}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return Starlette(
        routes=[
            Route(f"/{key}/", _to_the_report),
            *(
                Mount(f"/{key}{path}", StaticFiles(directory=folder))
                for path, folder in folders.items()
            ),
        ],
        middleware=[Middleware(Guard)],
    )


@contextmanager
def served(root: Path, port: int, key: str) -> Iterator[str]:
    """Serve the files in a thread for as long as the block runs.

    Parameters
    ----------
    port
        On loopback; 0 takes any.
    key
        What every path begins with.

    Yields
    ------
    str
        The URL.

    Raises
    ------
    PerceptError
        If something else has the port.
    """
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(file_application(root, key), log_level="warning"))
    try:
        listening = socket.create_server((LOOPBACK, port))  # who asks early waits for the server
    except OSError as error:
        raise PerceptError(
            f"Port {port} must be free for the report; it is not ({error.strerror}). Where `make ui` runs "
            "already, stop that one; where something else has the port, set PERCEPT_UI_PORT to another: "
            "the report takes the one above it."
        ) from error
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}/{key}"
    finally:
        server.should_exit = True
        thread.join()


def _to_the_report(_: Request) -> Response:
    return RedirectResponse("reports/index.html")
