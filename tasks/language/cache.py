"""The caption cache: an answer that was paid for is never asked for again.

A caption is found by the SHA-256 of its picture's bytes, the model, its kind and the SHA-256 of the
kind's prompt. Each answer of a model is one small file that is written at once and never changed, so
several processes can share the folder and a kill at any moment loses nothing that had arrived::

    <folder>/<first 2 digits of the picture's SHA-256>/<hash of picture and model>/<hash of answer>.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks._errors import PerceptError
from tasks.artifacts.files import fingerprint, write_json

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


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    prompt_sha256: str
    text: str
    status: str


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image_sha256: str
    model: str
    rows: tuple[_Row, ...]
    checksum: str


@dataclass(frozen=True)
class CaptionCache:
    """Every answer to questions about pictures.

    Attributes
    ----------
    folder : Path
        Where the answers lie; made with the first one.
    """

    folder: Path

    def read(self, image_sha256: str, model: str) -> dict[Question, list[Reply]]:
        """Return every reply of a model about a picture, in an order that does not change.

        Raises
        ------
        CaptionCacheError
            If an entry is truncated, altered or does not belong here.
        """
        replies: dict[Question, list[Reply]] = {}
        for path in sorted(self._folder_of(image_sha256, model).glob("[!.]*.json")):
            for row in _load(path, image_sha256, model).rows:
                question = Question(row.kind, row.prompt_sha256)
                replies.setdefault(question, []).append(Reply(row.text, row.status))
        return replies

    def write(self, image_sha256: str, model: str, replies: Mapping[Question, Reply]) -> None:
        """Add one answer of a model about a picture."""
        folder = self._folder_of(image_sha256, model)
        number = len(list(folder.glob("[!.]*.json")))
        rows = [
            {
                "kind": question.kind,
                "prompt_sha256": question.prompt_sha256,
                "text": reply.text,
                "status": reply.status,
            }
            for question, reply in replies.items()
        ]
        checksum = fingerprint(image_sha256, model, rows)
        entry = {"image_sha256": image_sha256, "model": model, "rows": rows, "checksum": checksum}
        write_json(folder / f"{number:04d}-{checksum}.json", entry)

    def _folder_of(self, image_sha256: str, model: str) -> Path:
        return self.folder / image_sha256[:2] / fingerprint(image_sha256, model)


def _load(path: Path, image_sha256: str, model: str) -> _Answer:
    """Read one answer; the checksum covers all that it says."""
    try:
        answer = _Answer.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = f"{error.error_count()} of its parts cannot be read"
        raise CaptionCacheError(_complaint(path, problem)) from error
    rows = [row.model_dump() for row in answer.rows]
    if answer.checksum != fingerprint(answer.image_sha256, answer.model, rows):
        raise CaptionCacheError(_complaint(path, "its checksum is another"))
    if (answer.image_sha256, answer.model) != (image_sha256, model):
        raise CaptionCacheError(_complaint(path, "it belongs to another picture or model"))
    return answer


def _complaint(path: Path, problem: str) -> str:
    return (
        f"{path} must be an answer as it was written; {problem}. "
        "Delete the file: its captions are then asked for again."
    )
