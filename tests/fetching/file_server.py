"""Files on 127.0.0.1, from a server that drops connections, refuses ranges or changes its mind."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served, and how badly.

    Attributes
    ----------
    files
        Bytes by path.
    drop_after
        Bytes of a response after which the connection is cut; None never.
    drops
        How many responses are cut.
    ranges
        Whether ranges are honoured.
    etag
        Version of every file; empty: none is sent.
    asked
        Path and range of every request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    drop_after: int | None = None
    drops: int = 0
    ranges: bool = True
    etag: str = '"first"'
    status: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve until the block ends."""
    server = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append((self.path, wanted))
            data = server.files.get(self.path)
            if server.status or data is None:
                self._head(server.status or 404, 0)
                return
            changed = self.headers.get("If-Range", server.etag) != server.etag
            if wanted and server.ranges and not changed:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, stop = int(first), int(last or len(data) - 1) + 1
                if start >= len(data):
                    self._head(416, 0, f"bytes */{len(data)}")
                    return
                part = data[start:stop]
                self._head(206, len(part), f"bytes {start}-{stop - 1}/{len(data)}")
            else:
                part = data
                self._head(200, len(part))
            if server.drops and server.drop_after is not None and len(part) > server.drop_after:
                server.drops -= 1
                part = part[: server.drop_after]
                self.close_connection = True
            self.wfile.write(part)

        def _head(self, status: int, length: int, content_range: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            if content_range:
                self.send_header("Content-Range", content_range)
            if server.etag:
                self.send_header("ETag", server.etag)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
