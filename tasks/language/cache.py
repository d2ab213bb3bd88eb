"""The caption cache: an answer that was paid for is never asked for again.

A caption is found by the SHA-256 of its picture's bytes, the model, its kind and the SHA-256 of the
kind's prompt. Each answer of a model is one small file that is written at once and never changed, so
several processes can share the folder and a kill at any moment loses nothing that had arrived::

    <folder>/<first 2 digits of the picture's SHA-256>/<hash of picture and model>/<hash of answer>.json

Who asks a model holds a lock of the operating system, which ends with the process: a second process
waits, then finds the answers of the first.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint, write_json

logger = logging.getLogger(__name__)

CAPTION_CACHE = Path("data/cache/captions")


class CaptionCacheError(PerceptError):
    """An entry of the caption cache cannot be trusted."""


@dataclass(frozen=True)
class Question:
    """What was asked about a picture.

    Attributes
    ----------
    kind : str
        Caption kind.
    prompt_sha256 : str
        Hexadecimal SHA-256 of the kind's prompt.
    """

    kind: str
    prompt_sha256: str


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes
    ----------
    text : str
        The caption, or why there is none.
    status : str
        ``ok`` if the caption arrived, else one of `tasks.language.quality.Status`.
    """

    text: str
    status: str


@dataclass(frozen=True)
class Usage:
    """What an answer took.

    Attributes
    ----------
    prompt_tokens, completion_tokens : int
        As the server counted them.
    batched : bool
        Whether it came at the price of a batch.
    guessed : bool
        Whether the server did not count, so that these are our guess.
    """

    prompt_tokens: int
    completion_tokens: int
    batched: bool
    guessed: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer of a model about a picture.

    Attributes
    ----------
    replies : Mapping[Question, Reply]
        What it says.
    usage : Usage
        What it took.
    request_id : str
        Request of a batch that it answers; empty where none was.
    said, ended : str
        What the model wrote, and why it ended, as it came: a better reader may find more in it. Empty where
        nothing came, and in entries from before these were kept.
    """

    replies: Mapping[Question, Reply]
    usage: Usage
    request_id: str = ""
    said: str = ""
    ended: str = ""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    prompt_sha256: str
    text: str
    status: str


class _Usage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt_tokens: int
    completion_tokens: int
    batched: bool
    guessed: bool = False


class Entry(BaseModel):
    """One file of the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image_sha256: str
    model: str
    rows: tuple[_Row, ...]
    usage: _Usage
    request_id: str
    said: str = ""
    ended: str = ""
    checksum: str

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds, no more."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def is_intact(self) -> bool:
        """Whether the checksum, which covers all else, holds."""
        return is_intact(self.content)

    def answer(self) -> Answer:
        """Return what the entry says."""
        replies = {
            Question(row.kind, row.prompt_sha256): Reply(row.text, row.status) for row in self.rows
        }
        usage = Usage(**self.usage.model_dump())
        return Answer(replies, usage, self.request_id, self.said, self.ended)


@dataclass(frozen=True)
class CaptionCache:
    """Every answer to questions about pictures.

    Attributes
    ----------
    folder : Path
        Where the answers lie; made with the first one.
    """

    folder: Path

    def read(self, image_sha256: str, model: str) -> list[Answer]:
        """Return every answer of a model about a picture, in an order that does not change.

        Raises
        ------
        CaptionCacheError
            If an entry is truncated, altered or does not belong here.
        """
        answers = []
        for path in sorted(self._folder_of(image_sha256, model).glob("[!.]*.json")):
            entry = _load(path)
            if (entry.image_sha256, entry.model) != (image_sha256, model):
                raise CaptionCacheError(_complaint(path, "it belongs to another picture or model"))
            answers.append(entry.answer())
        return answers

    def write(self, image_sha256: str, model: str, answer: Answer) -> None:
        """Add one answer of a model about a picture."""
        rows = [{**asdict(question), **asdict(reply)} for question, reply in answer.replies.items()]
        content: dict[str, Any] = {
            "image_sha256": image_sha256,
            "model": model,
            "rows": rows,
            "usage": asdict(answer.usage),
            "request_id": answer.request_id,
            "said": answer.said,
            "ended": answer.ended,
        }
        self._put(content | {"checksum": fingerprint(content)})

    def entries(self) -> Iterator[Entry]:
        """Yield everything that is in the cache, in an order that does not change.

        Raises
        ------
        CaptionCacheError
            If an entry is truncated or altered.
        """
        for path in sorted(self.folder.glob("??/*/[!.]*.json")):
            yield _load(path)

    def add(self, entries: Iterable[Entry]) -> int:
        """Add entries of another cache that are not there yet; return how many."""
        n_added = 0
        for entry in entries:
            folder = self._folder_of(entry.image_sha256, entry.model)
            if not list(folder.glob(f"[!.]*-{entry.checksum}.json")):
                self._put(entry.content)
                n_added += 1
        return n_added

    @contextmanager
    def asking(self, model: str) -> Iterator[None]:
        """Let no other process ask a model meanwhile: wait for one that does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{fingerprint(model)}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Another process asks %s for captions; waiting for it.", model)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _put(self, content: dict[str, Any]) -> None:
        folder = self._folder_of(content["image_sha256"], content["model"])
        number = len(list(folder.glob("[!.]*.json")))
        write_json(folder / f"{number:04d}-{content['checksum']}.json", content)

    def _folder_of(self, image_sha256: str, model: str) -> Path:
        return self.folder / image_sha256[:2] / fingerprint(image_sha256, model)


def _load(path: Path) -> Entry:
    """Read one answer; the checksum covers all that it says."""
    try:
        entry = Entry.model_validate_json(path.read_bytes())
    except ValidationError as error:
        if _is_newer(path):
            raise CaptionCacheError(
                f"{path} must be of a form that this version knows; it is whole, and was written by a newer one. "
                "Update Percept: the answer is paid for, so keep the file."
            ) from error
        problem = f"{error.error_count()} of its parts cannot be read"
        raise CaptionCacheError(_complaint(path, problem)) from error
    if not entry.is_intact:
        raise CaptionCacheError(_complaint(path, "its checksum is another"))
    return entry


def is_intact(content: Mapping[str, Any]) -> bool:
    """Return whether the checksum of an entry, which covers all else, holds."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return bool(content.get("checksum") == fingerprint(rest))


def _is_newer(path: Path) -> bool:
    """Return whether an entry that cannot be read is as it was written."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and is_intact(content)


def _complaint(path: Path, problem: str) -> str:
    return (
        f"{path} must be an answer as it was written; {problem}. "
        "Delete the file: its captions are then asked for again."
    )
