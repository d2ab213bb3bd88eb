"""Requests as JSONL, in files that a batch service takes, and what is remembered of each file.

The same lines go to OpenAI's batch service and to ``vllm run-batch``. What a file asks is written down
beside it before anything is sent, so that an answer finds its picture by its ``custom_id``, in
whatever order and through whatever file it comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.artifacts.pictures import UnreadablePictureError
from tasks.language.cache import CaptionCacheError
from tasks.language.captioners.base import Stimulus
from tasks.language.captioners.chat import build_request, data_uri, prompt_sha256
from tasks.language.captioners.ledger import Account, Ledger
from tasks.language.prompts import KINDS, CaptionKind
from tasks.runtime.files import fingerprint, write_bytes, write_text

MAX_BYTES = 200_000_000
MAX_REQUESTS = 50_000
ENDPOINT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
BATCHES = "batches"


class Asked(BaseModel):
    """What one request asks: about which picture, and the kinds with their prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_sha256: str
    prompts: dict[str, str]

    def kinds(self) -> list[CaptionKind]:
        """Return the kinds that still have the prompt that was sent."""
        return [kind for kind in KINDS if self.prompts.get(kind.name) == prompt_sha256(kind)]


class BatchFile(BaseModel):
    """One file of requests and how far it has come.

    Attributes
    ----------
    name : str
        Hash of its requests.
    model : str
        Who is asked.
    state : {"prepared", "submitted", "closed"}
        Whether it lies here, was taken by the service, or needs nothing more.
    batch_id : str
        Name of the service's batch; empty before.
    requests : dict[str, Asked]
        By ``custom_id``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    model: str
    state: Literal["prepared", "submitted", "closed"]
    batch_id: str
    requests: dict[str, Asked]


@dataclass(frozen=True)
class Limits:
    """What a batch service takes in one file."""

    max_bytes: int = MAX_BYTES
    max_requests: int = MAX_REQUESTS


@dataclass(frozen=True)
class BatchFolder:
    """The batch files of a caption cache.

    Attributes
    ----------
    folder : Path
        Where they lie.
    """

    folder: Path

    def path_of(self, batch: BatchFile) -> Path:
        """Return where the requests lie as JSONL."""
        return self.folder / f"{batch.name}.jsonl"

    def write(self, batch: BatchFile) -> None:
        """Remember how far a file has come."""
        write_text(self.folder / f"{batch.name}.json", batch.model_dump_json(indent=1) + "\n")

    def close(self, batch: BatchFile) -> None:
        """Remember that a file needs nothing more, and remove its requests."""
        self.write(batch.model_copy(update={"state": "closed"}))
        self.path_of(batch).unlink(missing_ok=True)

    def open_files(self, model: str) -> list[BatchFile]:
        """Return the files of a model that are not closed.

        Raises
        ------
        CaptionCacheError
            If what was remembered cannot be read.
        """
        return [
            batch
            for path in sorted(self.folder.glob("[!.]*.json"))
            if (batch := _load(path)).model == model and batch.state != "closed"
        ]

    def prepare(
        self, ledger: Ledger, pictures: Sequence[Stimulus], limits: Limits
    ) -> Iterator[BatchFile]:
        """Write what is missing and not under way as files, each as large as it may be.

        Parameters
        ----------
        pictures : Sequence[Stimulus]
            Different ones; those that cannot be decoded are left out.
        """
        under_way = self._under_way(ledger.params.model)
        lines: list[tuple[str, Asked, bytes]] = []
        n_bytes = 0
        for request in _requests(ledger, pictures, under_way):
            size = len(request[2])
            full = len(lines) == limits.max_requests or n_bytes + size > limits.max_bytes
            if lines and full:
                yield self._put(ledger.params.model, lines)
                lines, n_bytes = [], 0
            lines.append(request)
            n_bytes += size
        if lines:
            yield self._put(ledger.params.model, lines)

    def _under_way(self, model: str) -> set[tuple[str, str, str]]:
        return {
            (asked.image_sha256, kind, prompt)
            for batch in self.open_files(model)
            for asked in batch.requests.values()
            for kind, prompt in asked.prompts.items()
        }

    def _put(self, model: str, lines: Sequence[tuple[str, Asked, bytes]]) -> BatchFile:
        requests = {custom_id: asked for custom_id, asked, _ in lines}
        # The number of files so far tells one that repeats an expired one from it.
        n_files = len(list(self.folder.glob("[!.]*.json")))
        name = fingerprint(model, sorted(requests), n_files)
        batch = BatchFile(name=name, model=model, state="prepared", batch_id="", requests=requests)
        write_bytes(self.path_of(batch), b"".join(line for _, _, line in lines))
        self.write(batch)
        return batch


def _requests(
    ledger: Ledger, pictures: Iterable[Stimulus], under_way: set[tuple[str, str, str]]
) -> Iterator[tuple[str, Asked, bytes]]:
    """Yield custom_id, meaning and line of every request that is neither answered nor under way."""
    for picture in pictures:
        account = ledger.account(picture)
        kinds = [
            kind
            for kind in account.missing
            if (picture.sha256, kind.name, prompt_sha256(kind)) not in under_way
        ]
        try:
            uri = data_uri(picture, ledger.params.max_side_px) if kinds else ""
        except UnreadablePictureError:
            continue  # has its status from whoever describes it
        for group in ledger.groups(kinds):
            yield _request(ledger, picture, uri, group, account)


def _request(
    ledger: Ledger,
    picture: Stimulus,
    uri: str,
    kinds: Sequence[CaptionKind],
    account: Account,
) -> tuple[str, Asked, bytes]:
    params = ledger.params
    body = build_request(
        uri,
        kinds,
        model=params.model,
        max_completion_tokens=params.max_completion_tokens,
        shorter=account.too_long,
    )
    prompts = {kind.name: prompt_sha256(kind) for kind in kinds}
    asked = Asked(image_sha256=picture.sha256, prompts=prompts)
    # The number of answers so far tells a second request for the same from the first.
    custom_id = fingerprint(asked.model_dump(), params.model, len(account.answers))
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return custom_id, asked, json.dumps(line).encode() + b"\n"


def _load(path: Path) -> BatchFile:
    try:
        return BatchFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CaptionCacheError(
            f"{path} must say what a batch asks; {error.error_count()} of its parts cannot be read. "
            "Delete it, and its answers are asked for again."
        ) from error
