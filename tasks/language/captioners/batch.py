"""The captioner of pictures through a batch service: half the price, within a day.

Submit, poll and collect are steps of their own. Each writes down what it did before the next begins,
so that any of them can be killed and run again: nothing is submitted twice and no answer is lost.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch
from pydantic import BaseModel, ValidationError

from tasks.artifacts.pictures import UnreadablePictureError, read_picture
from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.captioners.batch_files import (
    BATCHES,
    ENDPOINT,
    Asked,
    BatchFile,
    BatchFolder,
    Limits,
)
from tasks.language.captioners.chat import Completion
from tasks.language.captioners.costs import estimate, expected_usage
from tasks.language.captioners.ledger import Ledger, distinct
from tasks.language.captioners.params import OpenAIParams
from tasks.language.captioners.sending import CaptionBudgetError
from tasks.language.captioners.server import (
    REJECTING_STATUS_CODES,
    CaptionServerError,
    client_options,
    describe,
    stop,
)
from tasks.language.quality import Status
from tasks.runtime.errors import PerceptError

logger = logging.getLogger(__name__)

PLAN = "percept_requests"
"""Metadata of a batch that says which file it answers."""
OVER = ("completed", "expired", "cancelled", "failed")


class CaptionsUnderWayError(PerceptError):
    """A batch service has not answered yet."""


class _Response(BaseModel):
    status_code: int
    body: Any = None


class _Line(BaseModel):
    """One line of a batch's output, whatever else the service writes."""

    custom_id: str
    response: _Response | None = None


@dataclass(frozen=True)
class OpenAIBatchCaptioner(Captioner):
    """Describes pictures through a batch service, from the cache where it can.

    Attributes
    ----------
    ledger : Ledger
        Server, model and limits, and what was asked and answered so far.
    limits : Limits
        Of one file of requests.
    """

    ledger: Ledger
    limits: Limits = field(default_factory=Limits)

    @property
    def files(self) -> BatchFolder:
        """The files of requests."""
        return BatchFolder(self.ledger.cache.folder / BATCHES)

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Collect what is there, submit what is missing, and return the captions once all came.

        Parameters
        ----------
        stimuli : Sequence[Stimulus]
            Pictures; those with the same bytes are asked about once.

        Raises
        ------
        CaptionsUnderWayError
            If the service has not answered yet.
        CaptionServerError
            If it cannot be used.
        CaptionBudgetError
            If ``max_cost_usd`` does not allow for the answers.
        """
        if any(self.ledger.account(picture).missing for picture in distinct(stimuli)):
            self.collect()
            self.submit(stimuli)
            if batches := self.files.open_files(self.ledger.params.model):
                raise CaptionsUnderWayError(
                    f"All batches must be answered; {len(batches)} are under way "
                    f"({sum(len(b.requests) for b in batches)} requests). Run the stage again later; "
                    "`percept captions poll` says how far they are."
                )
        left = [p for p in distinct(stimuli) if self.ledger.account(p).missing]
        return list(self.ledger.captions(stimuli, dict(_unreadable(left)), "openai_batch"))

    def prepare(self, stimuli: Sequence[Stimulus]) -> list[BatchFile]:
        """Write what is missing as files of requests; nothing is sent.

        Raises
        ------
        CaptionBudgetError
            If the dearest answers to all of them would go beyond ``max_cost_usd``.
        """
        with self.ledger.cache.asking(self.ledger.params.model):
            ledger, most_usd = self.ledger, self.ledger.params.max_cost_usd
            cost = estimate(ledger, stimuli, batched=True)
            logger.info("%s", cost)
            if most_usd is not None and cost.spent_usd + cost.most_usd > most_usd:
                raise CaptionBudgetError(
                    f"caption.openai.max_cost_usd must pay for every request of a batch; "
                    f"{cost.n_requests} may cost {cost.most_usd:.2f} USD beside {cost.spent_usd:.2f} "
                    f"that are spent, which is more than {most_usd:g}. Raise it, or lower "
                    "caption.openai.max_completion_tokens."
                )
            list(self.files.prepare(ledger, distinct(stimuli), self.limits))
        return self.files.open_files(self.ledger.params.model)

    def submit(self, stimuli: Sequence[Stimulus]) -> list[BatchFile]:
        """Send what is missing and not under way; return the batches under way.

        Raises
        ------
        CaptionServerError
            If the service cannot be used.
        CaptionBudgetError
            If ``max_cost_usd`` does not allow for the answers.
        """
        prepared = [batch for batch in self.prepare(stimuli) if batch.state == "prepared"]
        if prepared:
            with self._service() as client:
                known = _by_plan(client)
                for batch in prepared:
                    batch_id = known.get(batch.name) or self._create(client, batch)
                    update = {"state": "submitted", "batch_id": batch_id}
                    self.files.write(batch.model_copy(update=update))
                    logger.info("%s: %d requests.", batch_id, len(batch.requests))
        return self.files.open_files(self.ledger.params.model)

    def poll(self) -> list[Batch]:
        """Return what the service says of the batches under way.

        Raises
        ------
        CaptionServerError
            If the service cannot be used.
        """
        submitted = self._submitted()
        if not submitted:
            return []
        with self._service() as client:
            return [client.batches.retrieve(batch.batch_id) for batch in submitted]

    def collect(self) -> int:
        """Keep the answers of every batch that is over; return how many came.

        What a batch leaves unanswered, because it expired or in parts, is missing again and goes into
        the next one.

        Raises
        ------
        CaptionServerError
            If the service cannot be used, or did not take a batch.
        """
        submitted = self._submitted()
        n_kept = 0
        if submitted:
            with self._service() as client:
                for batch in submitted:
                    status = client.batches.retrieve(batch.batch_id)
                    if status.status in OVER:
                        n_kept += self._collect(client, batch, status)
        return n_kept

    def collect_file(self, path: Path) -> int:
        """Keep the answers in a file that ``vllm run-batch`` wrote; return how many came.

        Parameters
        ----------
        path : Path
            JSONL, one answer per line.

        Raises
        ------
        CaptionServerError
            If a line is none or answers nothing that was asked.
        """
        open_files = self.files.open_files(self.ledger.params.model)
        n_kept = self._keep(path.read_text().splitlines(), open_files, str(path))
        for batch in open_files:
            if batch.state == "prepared" and not self._unanswered(batch):
                self.files.close(batch)
        return n_kept

    def _submitted(self) -> list[BatchFile]:
        open_files = self.files.open_files(self.ledger.params.model)
        return [batch for batch in open_files if batch.state == "submitted"]

    def _service(self) -> _Service:
        return _Service(self.ledger.params)

    def _create(self, client: openai.OpenAI, batch: BatchFile) -> str:
        with self.files.path_of(batch).open("rb") as handle:
            uploaded = client.files.create(file=handle, purpose="batch")
        created = client.batches.create(
            input_file_id=uploaded.id,
            endpoint=ENDPOINT,
            completion_window="24h",
            metadata={PLAN: batch.name},
        )
        return created.id

    def _collect(self, client: openai.OpenAI, batch: BatchFile, status: Batch) -> int:
        """Keep what a batch that is over has brought."""
        n_kept = 0
        for file_id in (status.output_file_id, status.error_file_id):
            if file_id:
                text = client.files.content(file_id).text
                n_kept += self._keep(text.splitlines(), [batch], status.id)
        n_left = len(self._unanswered(batch))
        self.files.close(batch)
        logger.info(
            "%s is %s: %d answers, %d unanswered.", status.id, status.status, n_kept, n_left
        )
        if status.status == "failed":
            problems = status.errors.data if status.errors and status.errors.data else []
            reasons = "; ".join(problem.message or "" for problem in problems) or "no reason given"
            raise CaptionServerError(
                f"The batch service must take the requests; it did not take {status.id} ({reasons}). "
                "Mend it in caption.openai or with the service, then run the stage again."
            )
        return n_kept

    def _keep(self, lines: Iterable[str], batches: Sequence[BatchFile], origin: str) -> int:
        """Keep each answer once, whatever comes twice; tell how many were new."""
        asked = {key: value for batch in batches for key, value in batch.requests.items()}
        n_kept = 0
        for number, line in enumerate(lines, 1):
            if line.strip():
                found = _read_line(line, f"{origin}, line {number}")
                if found.custom_id in asked:
                    n_kept += self._keep_line(found, asked[found.custom_id])
        return n_kept

    def _keep_line(self, line: _Line, asked: Asked) -> bool:
        if line.response is None or self._is_answered(line.custom_id, asked):
            return False
        kinds = asked.kinds()
        rejected = line.response.status_code in REJECTING_STATUS_CODES
        completion = None if rejected else _completion(line.response.body)
        if completion is None and not rejected:
            return False
        side_px = self.ledger.params.max_side_px
        guess = expected_usage(kinds, (side_px, side_px), self.ledger, batched=True)
        self.ledger.keep(asked.image_sha256, kinds, completion, guess, line.custom_id)
        return True

    def _is_answered(self, custom_id: str, asked: Asked) -> bool:
        answers = self.ledger.cache.read(asked.image_sha256, self.ledger.params.model)
        return any(answer.request_id == custom_id for answer in answers)

    def _unanswered(self, batch: BatchFile) -> list[str]:
        return [
            custom_id
            for custom_id, asked in batch.requests.items()
            if not self._is_answered(custom_id, asked)
        ]


class _Service:
    """A client whose errors are told in one sentence."""

    def __init__(self, params: OpenAIParams) -> None:
        options = client_options(params.timeout_s) | {"max_retries": params.max_retries}
        self._params, self._client = params, openai.OpenAI(**options)

    def __enter__(self) -> openai.OpenAI:
        return self._client.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._client.close()
        if isinstance(error, openai.APIError):
            server = self._client.base_url.netloc.decode()
            raise stop(error, self._params.model, server, answered=False) or CaptionServerError(
                f"The batch service must answer; {server}: {describe(error)}. Run the step again: "
                "what is done is remembered."
            ) from error


def _by_plan(client: openai.OpenAI) -> Mapping[str, str]:
    """Return the batches that the service has already, by the file that they answer."""
    return {
        batch.metadata[PLAN]: batch.id
        for batch in client.batches.list(limit=100)
        if batch.metadata and PLAN in batch.metadata
    }


def _read_line(line: str, where: str) -> _Line:
    try:
        return _Line.model_validate(json.loads(line))
    except (ValueError, ValidationError) as error:
        raise CaptionServerError(
            f"{where} must be an answer of a batch; it cannot be read. Fetch the file again."
        ) from error


def _completion(body: object) -> Completion | None:
    try:
        return Completion.model_validate(body)
    except ValidationError:
        return None


def _unreadable(stimuli: Iterable[Stimulus]) -> Iterator[tuple[str, Status]]:
    for stimulus in stimuli:
        try:
            read_picture(stimulus.image_path, stimulus.sha256)
        except UnreadablePictureError:
            yield stimulus.sha256, Status.UNREADABLE
