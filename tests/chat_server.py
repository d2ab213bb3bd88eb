"""A chat-completions server on 127.0.0.1, with a batch service, that misbehaves on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
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
    """One response.

    `bill` says whether the model was run, so that the request costs money. `deliver` says how the
    response comes: whole, dripping byte by byte, half of it, its head alone, or not at all.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    bill: bool = True
    content_type: str = "application/json"
    deliver: str = "whole"


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
    return completion(json.dumps({kind: text_of(kind, ask.picture) for kind in ask.kinds}))


def text_of(kind: str, picture: str) -> str:
    return f"the {kind} that can be seen in picture {int(picture[:6], 16)}"


def broken(deliver: str) -> Say:
    """Return a response that never comes whole, so that the model was not run to its end."""
    return replace(completion("{}" * 200), deliver=deliver, bill=False)


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Say:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Say({"error": {"message": message, "code": code}}, status, named, bill=False)


class ChatServer(AbstractContextManager["ChatServer"]):
    """Answers every request with what `script` says."""

    def __init__(self, script: Callable[[ChatServer, Ask], Say] | None = None) -> None:
        self.script = script or (lambda _, ask: good(ask))
        self.asks: list[Ask] = []
        self.billed: Counter[str] = Counter()
        self.batches = BatchService(self)
        self.closing = threading.Event()
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
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, body: dict[str, Any], key: str) -> Say:
        if key != f"Bearer {KEY}":
            self.n_strangers += 1
            return failure(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}")
        uri = body["messages"][-1]["content"][1]["image_url"]["url"]
        picture = hashlib.sha256(base64.b64decode(uri.split(",", 1)[1])).hexdigest()
        kinds = re.findall(r"^- (\w+):", body["messages"][-1]["content"][0]["text"], re.MULTILINE)
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


class BatchService:
    """Files and batches: every request of a batch is answered by the script of the server."""

    def __init__(self, server: ChatServer) -> None:
        self.server = server
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.end: Callable[[dict[str, Any]], tuple[str, int]] = lambda _: ("completed", 10**9)
        """Returns how a batch ends, and how many of its requests are answered by then."""

    def create(self, wish: dict[str, Any]) -> dict[str, Any]:
        batch = {
            "id": f"batch_{len(self.batches)}",
            "object": "batch",
            "created_at": 0,
            "status": "in_progress",
            **wish,
        }
        self.batches[batch["id"]] = batch
        return batch

    def run(self, key: str = KEY) -> None:
        """Answer all batches that are under way."""
        for batch in self.batches.values():
            if batch["status"] == "in_progress":
                self._run(batch, key)

    def _run(self, batch: dict[str, Any], key: str) -> None:
        batch["status"], n_answered = self.end(batch)
        lines = self.files[batch["input_file_id"]].splitlines()[:n_answered]
        good, bad = [], []
        for line in reversed(lines):  # in no order to be relied on
            request = json.loads(line)
            say = self.server.answer(request["body"], f"Bearer {key}")
            response = {"status_code": say.status, "request_id": "r", "body": say.body}
            answer = {"id": "x", "custom_id": request["custom_id"], "response": response}
            (good if say.status == 200 else bad).append(json.dumps(answer | {"error": None}))
        for name, found in (("output_file_id", good), ("error_file_id", bad)):
            if found:
                batch[name] = f"file_{len(self.files)}"
                self.files[batch[name]] = "\n".join(found).encode()

    def upload(self, form: bytes) -> dict[str, Any]:
        """Take the file out of a multipart form."""
        boundary = form.split(b"\r\n", 1)[0]
        part = next(p for p in form.split(boundary) if b"filename=" in p)
        name = f"file_{len(self.files)}"
        self.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        about = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0}
        return about | {"filename": "requests.jsonl", "purpose": "batch", "status": "processed"}

    def get(self, path: str) -> object:
        """Return what lies at a path: a file's content, a batch, or all batches."""
        if "/files/" in path:
            return self.files[path.split("/files/")[1].removesuffix("/content")]
        if "/batches/" in path:
            return self.batches[path.split("/batches/")[1]]
        return {"object": "list", "data": list(self.batches.values()), "has_more": False}


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/files"):
                self._say(Say(server.batches.upload(body)))
            elif self.path.endswith("/batches"):
                self._say(Say(server.batches.create(json.loads(body))))
            else:
                self._say(server.answer(json.loads(body), self.headers["Authorization"]))

        def do_GET(self) -> None:
            found = server.batches.get(self.path.split("?")[0])
            self._say(Say(found.decode() if isinstance(found, bytes) else found))

        def _say(self, say: Say) -> None:
            content = (
                say.body.encode() if isinstance(say.body, str) else json.dumps(say.body).encode()
            )
            if say.deliver == "nothing":
                self.close_connection = True
                return
            self.send_response(say.status)
            self.send_header("Content-Type", say.content_type)
            self.send_header("Content-Length", str(len(content)))
            for name, value in say.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if say.deliver == "whole":
                self.wfile.write(content)
                return
            self.close_connection = True
            if say.deliver == "half":
                self.wfile.write(content[: len(content) // 2])
            elif say.deliver == "head":
                server.closing.wait(30)
            else:
                self._drip(content)

        def _drip(self, content: bytes) -> None:
            for byte in content:
                self.wfile.write(bytes([byte]))
                if server.closing.wait(0.05):
                    return

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client is gone
                super().handle()

        def log_message(self, *_: object) -> None:
            return

    return Handler
