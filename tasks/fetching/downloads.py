"""One file over HTTP, from where the last attempt ended, whatever ended it."""

import json
import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_json

logger = logging.getLogger(__name__)

CHUNK = 1 << 16  # bytes; at most as many are lost with a connection
TIMEOUT_S = 60.0  # without a byte
DROPPED = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
AGAIN = "Run the same command again: it goes on from there."

Advance = Callable[[int], None]  # is told how many bytes of the file there are by now


class FetchError(PerceptError):
    """A file could not be fetched."""


@dataclass(frozen=True)
class Remote:
    """What a server says of a file; ``etag`` is empty and ``n_bytes`` None where it does not say."""

    n_bytes: int | None
    etag: str


def look_up(url: str, attempts: int = 6, pause_s: float = 1.0) -> Remote:
    """Ask for one byte of a file, to know its size and its version.

    Parameters
    ----------
    attempts
        After which it gives up.
    pause_s
        Before the second attempt; twice that before the next.

    Raises
    ------
    FetchError
        If the server cannot be reached or does not have it.
    """
    reason = ""
    for attempt in range(attempts):
        try:
            with _get(url, {"Range": "bytes=0-0"}) as response:
                return _remote(response)
        except DROPPED as error:
            reason = _reason(error)
            time.sleep(pause_s * 2**attempt)
    raise FetchError(
        f"{url} must be reachable; {attempts} times it was not ({reason}). "
        "Mend the connection and run the same command again."
    )


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps what it has got in a file of its own, and asks for the rest.

    What was there is used again only where the server says that the file is the same: by its ETag, or
    by its size where it has none.

    Attributes
    ----------
    partial
        Where the bytes so far are kept, also after a kill; its version lies beside.
    advance
        Is told of every block.
    attempts
        Dropped connections in a row, without a byte between them, after which it gives up.
    pause_s
        Before the second attempt in a row; twice that before the next.
    """

    partial: Path
    advance: Advance
    attempts: int = 6
    pause_s: float = 1.0

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Download ``url`` to ``output_file``.

        Raises
        ------
        FetchError
            If the server refuses, the connection keeps dropping, or the disk is full.
        """
        del pooch, check_only
        failures = 0
        while True:
            before = self.n_bytes
            try:
                self._go_on(url)
                break
            except DROPPED as error:
                failures = 1 if self.n_bytes > before else failures + 1
                if failures >= self.attempts:
                    raise FetchError(
                        f"{url} must be fetched whole; the connection dropped {failures} times in a "
                        f"row after {self.n_bytes:,} bytes ({_reason(error)}). {AGAIN}"
                    ) from error
                logger.info("Connection dropped after %s bytes; going on.", f"{self.n_bytes:,}")
                time.sleep(self.pause_s * 2 ** (failures - 1))
            except OSError as error:
                raise FetchError(
                    f"{self.partial} must be written; after {self.n_bytes:,} bytes it could not be "
                    f"({error.strerror or error}). Free the disk. {AGAIN}"
                ) from error
        shutil.move(self.partial, output_file)
        self._version.unlink(missing_ok=True)

    @property
    def n_bytes(self) -> int:
        """How many bytes are there."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    @property
    def _version(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def _go_on(self, url: str) -> None:
        """Ask for what is missing, or for everything where the file has changed, and append it."""
        start, known = self.n_bytes, self._known()
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and known.etag:
            headers["If-Range"] = known.etag
        with _get(url, headers, also=(416,)) as response:
            found = _remote(response)
            whole = response.status_code == 416 and found.n_bytes == start
            if whole:
                return
            if response.status_code == 416 or (response.status_code == 206 and found != known):
                self.partial.unlink()
                self._go_on(url)
                return
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            if response.status_code == 200:
                write_json(self._version, {"n_bytes": found.n_bytes, "etag": found.etag})
            with self.partial.open("ab" if response.status_code == 206 else "wb") as handle:
                for chunk in response.iter_content(CHUNK):
                    handle.write(chunk)
                    handle.flush()
                    self.advance(handle.tell())

    def _known(self) -> Remote:
        try:
            return Remote(**json.loads(self._version.read_text()))
        except (OSError, ValueError, TypeError):
            return Remote(None, "")


def _get(url: str, headers: dict[str, str], also: tuple[int, ...] = ()) -> requests.Response:
    headers = headers | {"Accept-Encoding": "identity"}  # ranges count bytes of the file itself
    response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
    if response.ok or response.status_code in also:
        return response
    response.close()
    if response.status_code >= 500:
        raise requests.ConnectionError(f"status {response.status_code}")
    raise FetchError(
        f"{url} must be there for anybody; its server answers {response.status_code} "
        f"{response.reason}. See whether the publisher has moved it."
    )


def _remote(response: requests.Response) -> Remote:
    within = re.fullmatch(r"bytes .*/(\d+)", response.headers.get("Content-Range", ""))
    length = within[1] if within else response.headers.get("Content-Length")
    etag = response.headers.get("ETag", "")
    return Remote(int(length) if length else None, "" if etag.startswith("W/") else etag)


def _reason(error: BaseException) -> str:
    return type(error).__name__ if len(str(error)) > 80 else str(error)
