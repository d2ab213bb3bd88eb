"""Who may knock at the Prefect server: the attack of a foreign page and of another account."""

import os
import socket
import stat

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from flows.guarded import Guard, key_of, path_of
from flows.serve import ServerError, listener, settings
from tasks.runtime.errors import PerceptError

PORT = 4321
HERE = f"http://127.0.0.1:{PORT}"


async def _answer(_):
    return PlainTextResponse("inside")


async def _socket(websocket):
    await websocket.accept()
    await websocket.send_text("inside")
    await websocket.close()


@pytest.fixture
def client():
    routes = [Route("/api", _answer, methods=["GET", "POST"]), WebSocketRoute("/events", _socket)]
    return TestClient(Guard(Starlette(routes=routes), PORT), base_url=HERE)


OTHERS = [
    {"host": "example.org"},
    {"host": f"example.org:{PORT}"},  # DNS rebinding
    {"host": "127.0.0.1:1"},
    {"host": "127.0.0.1.example.org"},
    {"host": f"example.org@127.0.0.1:{PORT}"},
    {"host": "["},
    {"origin": "https://example.org"},
    {"origin": "http://127.0.0.1:8000"},  # a page of another server of this machine
    {"origin": "null"},  # a file, or a frame in a sandbox
    {"origin": f"http://127.0.0.1:{PORT}.example.org"},
]


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_requests_and_sockets_of_others_are_refused(client, headers):
    for method in ("GET", "POST"):
        answer = client.request(method, "/api", headers=headers)
        assert answer.status_code == 403
        assert "inside" not in answer.text
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/events", headers={"host": f"127.0.0.1:{PORT}"} | headers),
    ):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize("headers", [{}, {"origin": HERE}, {"host": f"localhost:{PORT}"}], ids=str)
def test_the_servers_own_pages_and_programs_pass(client, headers):
    assert client.get("/api", headers=headers).text == "inside"
    with client.websocket_connect(
        "/events", headers={"host": f"127.0.0.1:{PORT}"} | headers
    ) as socket:
        assert socket.receive_text() == "inside"


def test_the_key_is_random_kept_and_the_owners_alone(tmp_path):
    first, other = key_of(tmp_path / "one"), key_of(tmp_path / "two")
    assert len(first) >= 32
    assert first != other
    assert key_of(tmp_path / "one") == first
    path = tmp_path / "one" / "key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(PerceptError, match="must be readable by its owner alone"):
        key_of(tmp_path / "one")


def test_the_server_asks_for_the_key_and_the_report_does_not_show_it(tmp_path):
    found = settings(tmp_path, PORT)
    key = key_of(tmp_path / ".prefect")
    assert found["PREFECT_SERVER_API_AUTH_STRING"] == f"percept:{key}"
    assert key not in path_of(found["PREFECT_SERVER_API_AUTH_STRING"])


def test_the_key_is_sent_to_no_process_of_another_account(monkeypatch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert listener(port) is None
        listening.listen()
        assert listener(port).pid == os.getpid()
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(ServerError, match="a process of another account has it"):
            listener(port)
