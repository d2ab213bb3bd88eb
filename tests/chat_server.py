"""A chat-completions server on 127.0.0.1 that misbehaves on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-5f1c9b7e-do-not-leak"


@dataclass
class Ask:
    """One request as the server saw it."""

    picture: str
    kinds: list[str]
    body: dict[str, Any]
    time_s: float


@dataclass
class Say:
    """One response. `bill` says whether the model was run, so that the request costs money."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    bill: bool = True
    content_type: str = "application/json"


def completion(content: str | None, refusal: str | None = None, finish_reason: str = "stop") -> Say:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return Say(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "test-model",
            "choices": [choice],
            "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
        }
    )


def good(ask: Ask) -> Say:
    return completion(json.dumps({kind: f"{kind} of {ask.picture[:8]}" for kind in ask.kinds}))


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Say:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Say({"error": {"message": message, "code": code}}, status, named, bill=False)


class ChatServer(AbstractContextManager["ChatServer"]):
    """Answers every request with what `script` says."""

    def __init__(self, script: Callable[[ChatServer, Ask], Say] | None = None) -> None:
        self.script = script or (lambda _, ask: good(ask))
        self.asks: list[Ask] = []
        self.billed: Counter[str] = Counter()
        self.now = self.most_at_once = self.n_strangers = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def seen(self, picture: str) -> int:
        """How many requests about this picture have come, this one included."""
        return sum(ask.picture == picture for ask in self.asks)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, body: dict[str, Any], key: str) -> Say:
        if key != f"Bearer {KEY}":
            self.n_strangers += 1
            return failure(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}")
        uri = body["messages"][-1]["content"][1]["image_url"]["url"]
        picture = hashlib.sha256(base64.b64decode(uri.split(",", 1)[1])).hexdigest()
        kinds = list(body["response_format"]["json_schema"]["schema"]["properties"])
        ask = Ask(picture, kinds, body, time.monotonic())
        with self._lock:
            self.asks.append(ask)
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        say = self.script(self, ask)
        with self._lock:
            self.now -= 1
            self.billed[picture] += say.bill
        return say


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            say = server.answer(body, self.headers["Authorization"])
            content = (
                say.body.encode() if isinstance(say.body, str) else json.dumps(say.body).encode()
            )
            self.send_response(say.status)
            self.send_header("Content-Type", say.content_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in say.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Handler
