"""The report and the pictures of the workspace over HTTP, for the links in the UI: loopback only."""

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
from flows.showing import PICTURES


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
    folders = {"/reports": root / "reports", "/pictures": root / PICTURES}
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
    """
    import uvicorn

    config = uvicorn.Config(
        file_application(root, key), host=LOOPBACK, port=port, log_level="warning"
    )
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()  # who asks before the server runs waits for it
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{socket.getsockname()[1]}/{key}"
    finally:
        server.should_exit = True
        thread.join()


def _to_the_report(_: Request) -> Response:
    return RedirectResponse("reports/index.html")
