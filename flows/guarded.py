"""What stands in front of the Prefect server and the report: who may knock, and the key that opens.

A web page in any browser of this machine can send requests to loopback, and so can every other account of
it. A request passes where it names this server as its host, comes from none but this server's own pages,
and, for the Prefect API, carries the key of the project. WebSockets are held to the same.
"""

from __future__ import annotations

import os
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from tasks.runtime.errors import PerceptError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = "127.0.0.1"
PORT = "PERCEPT_UI_PORT"
USER = "percept"
KEY_FILE = "key"
POLICY_VIOLATION = 1008  # close code of a WebSocket, RFC 6455


class Guard:
    """Lets a request pass that names this server and comes from its own pages, or from no page at all.

    Parameters
    ----------
    port
        On which this server is reached; None where a request may name any.
    """

    def __init__(self, app: ASGIApp, port: int | None = None) -> None:
        self.app = app
        names = "|".join(re.escape(name) for name in (LOOPBACK, "localhost"))
        self.address = re.compile(rf"({names}):{port or '[0-9]+'}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or close the WebSocket, where a request does not pass."""
        if scope["type"] == "lifespan" or self._passes(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        else:
            await PlainTextResponse("This page is for this machine alone.", 403)(
                scope, receive, send
            )

    def _passes(self, headers: Headers) -> bool:
        host = headers.get("host", "")
        origin = headers.get("origin", f"http://{host}")  # programs name none
        scheme, _, address = origin.partition("://")
        known = self.address.fullmatch(host) and self.address.fullmatch(address)
        return bool(known) and scheme == "http"


def key_of(home: Path) -> str:
    """Return the key of a project, made at random when it is first asked for; its owner alone can read it.

    Parameters
    ----------
    home
        Folder of the project's Prefect server.

    Raises
    ------
    PerceptError
        If others can read the file that holds it.
    """
    path = home / KEY_FILE
    home.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
            made.write(secrets.token_urlsafe(24))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise PerceptError(
                f"{path} must be readable by its owner alone; others can read it. "
                "Remove it: `make ui` makes a new key."
            ) from None
    return path.read_text()


def path_of(login: str) -> str:
    """Return what paths of the report begin with: known to whoever knows the key, and no key itself."""
    return sha256(f"report {login}".encode()).hexdigest()[:32]


def application() -> Guard:
    """Return the Prefect server behind the guard: what uvicorn is told to run."""
    from prefect.server.api.server import create_app

    server: FastAPI = create_app(final=True)
    return Guard(server, int(os.environ[PORT]))
