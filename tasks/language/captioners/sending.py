"""Many requests at once to a chat-completions server, within its limits and the budget."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import openai
from pydantic import BaseModel
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt

from tasks.artifacts.pictures import UnreadablePictureError
from tasks.language.cache import Answer, Usage
from tasks.language.captioners.base import Stimulus
from tasks.language.captioners.chat import Completion, Form, build_request, data_uri
from tasks.language.captioners.costs import Budget, expected_usage, picture_size
from tasks.language.captioners.ledger import Account, Ledger
from tasks.language.captioners.server import (
    CaptionServerError,
    NoAnswerError,
    NoCompletionError,
    client_options,
    describe,
    is_rejection,
    is_transient,
    stop,
)
from tasks.language.captioners.throttle import Pace, Throttle, retry_after_s
from tasks.language.prompts import CaptionKind
from tasks.language.quality import USABLE, Status
from tasks.runtime.errors import PerceptError

logger = logging.getLogger(__name__)

WORKERS_PER_SLOT = 1.25
"""Some read the next picture or write the last answer, so that a request is always under way."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
FIRST = 2
"""Pictures that go alone, one after the other, until one is answered: all rejected, the request is to blame."""
USELESS = 5
"""Answers without any usable caption after which no more are paid for."""
SHOWN = 80
"""Characters of an answer in a message."""
SERVER_ERRORS = (openai.APIError, NoCompletionError, TimeoutError)


class CaptionBudgetError(PerceptError):
    """The budget does not allow for all answers."""


async def send_all(
    ledger: Ledger, pictures: Sequence[Stimulus], paid_usd: Sequence[float]
) -> dict[str, Status]:
    """Ask about every picture, a bounded number at once.

    Pictures go one by one until one is answered, so that a wrong key or model costs one request and a request
    that the server does not take is not blamed on every picture. Requests under way are always waited for: they
    are paid for.

    Parameters
    ----------
    pictures : Sequence[Stimulus]
        Different ones, of which something is missing.
    paid_usd : Sequence[float]
        What each answer has cost so far.

    Returns
    -------
    dict[str, Status]
        SHA-256 of the pictures that cannot be asked about, and why.

    Raises
    ------
    CaptionServerError
        If the server cannot be used, or pictures got no answer.
    CaptionBudgetError
        If the budget is reached.
    """
    params = ledger.params
    async with openai.AsyncOpenAI(**client_options(params.timeout_s)) as client:
        throttle = Throttle(Pace(params.requests_per_minute), Pace(params.tokens_per_minute))
        spent_usd = sum(paid_usd)
        budget = Budget(params.max_cost_usd, spent_usd, max(paid_usd, default=0.0))
        with _progress() as bar:
            task = bar.add_task("captions", total=len(pictures))
            slots = asyncio.Semaphore(params.max_concurrency)
            session = _Session(ledger, client, throttle, budget, slots, bar, task)
            queue = iter(pictures)
            for _ in range(min(FIRST, len(pictures))):
                if not session.n_answers and not session.n_unpaid:
                    await session.work(queue, at_most=1)
            n_workers = math.ceil(params.max_concurrency * WORKERS_PER_SLOT)
            await asyncio.gather(*(session.work(queue) for _ in range(n_workers)))
    logger.info(
        "%d answers arrived, %d tokens, %.2f USD.",
        session.n_answers,
        session.n_tokens,
        budget.spent_usd - spent_usd,
    )
    session.raise_for_problems(len(pictures))
    return session.unasked


def _progress() -> Progress:
    """Return a bar that only a terminal sees."""
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(
        *columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty(), transient=True
    )


@dataclass
class _Shown:
    """A picture as it is sent, and all that has been said of it."""

    picture: Stimulus
    uri: str
    size_px: tuple[int, int]
    account: Account

    def keep(
        self, ledger: Ledger, kinds: Sequence[CaptionKind], completion: Completion, guess: Usage
    ) -> Answer:
        """Keep an answer and check its captions."""
        answer = ledger.keep(self.picture.sha256, kinds, completion, guess)
        self.account = replace(self.account, answers=[*self.account.answers, answer])
        _ = self.account.replies
        return answer


def _look_at(picture: Stimulus, ledger: Ledger) -> _Shown:
    """Do what a picture takes before the first request; in a thread, so that no other waits for it."""
    uri = data_uri(picture, ledger.params.max_side_px)
    account = ledger.account(picture)
    _ = account.replies
    return _Shown(picture, uri, picture_size(picture), account)


@dataclass
class _Session:
    """One run of requests: what it brought and what went wrong."""

    ledger: Ledger
    client: openai.AsyncOpenAI
    throttle: Throttle
    budget: Budget
    slots: asyncio.Semaphore
    bar: Progress
    task: TaskID
    n_answers: int = 0
    n_tokens: int = 0
    n_unanswered: int = 0
    n_unpaid: int = 0
    n_failures_in_a_row: int = 0
    last_problem: str = ""
    form: Form = field(default_factory=Form)
    useful: bool = False
    fatal: PerceptError | None = None
    unasked: dict[str, Status] = field(default_factory=dict)

    @property
    def hopeless(self) -> bool:
        """Whether to stop: nothing can be asked, or nothing answers any more."""
        limit = self.ledger.params.max_concurrency
        return self.fatal is not None or self.n_failures_in_a_row > limit

    def raise_for_problems(self, n_pictures: int) -> None:
        """Raise the error that the session ends with, if there is one."""
        if self.fatal:
            raise self.fatal
        folder = self.ledger.cache.folder
        if self.n_unanswered:
            raise NoAnswerError(
                f"Each of {n_pictures} pictures must get an answer; {self.n_unanswered} got none "
                f"({self.last_problem}). Run the stage again: all answers so far are kept in "
                f"{folder}, so only the missing ones are asked for."
            )
        if self.n_unpaid:
            raise CaptionBudgetError(
                f"caption.openai.max_cost_usd must pay for every picture; {self.n_unpaid} of "
                f"{n_pictures} would go beyond {self.budget.max_usd:g} USD, of which "
                f"{self.budget.spent_usd:.4f} are spent. Raise it and run the stage again: all "
                f"answers so far are kept in {folder}."
            )

    async def work(self, queue: Iterator[Stimulus], at_most: int = sys.maxsize) -> None:
        """Ask about one picture after the other until none is left."""
        for _, picture in zip(range(at_most), queue, strict=False):
            if self.hopeless:
                self.n_unanswered += 1
            elif self.n_unpaid:
                self.n_unpaid += 1
            else:
                await self._ask(picture)
            self.bar.advance(self.task)

    async def _ask(self, picture: Stimulus) -> None:
        """Ask about a picture until nothing is missing; keep each answer as it comes."""
        try:
            shown = await asyncio.to_thread(_look_at, picture, self.ledger)
            while missing := shown.account.missing:
                for kinds in self.ledger.groups(missing):
                    if not await self._ask_for(shown, kinds):
                        self.n_unpaid += 1
                        return
        except UnreadablePictureError as error:
            self.unasked[picture.sha256] = Status.UNREADABLE
            logger.warning("%s", error)
        except PerceptError as error:
            self.fatal = error
        except SERVER_ERRORS as error:
            self._note(picture, error)

    async def _ask_for(self, shown: _Shown, kinds: Sequence[CaptionKind]) -> bool:
        """Send one request and keep its answer; tell whether there was money for it."""
        ledger = self.ledger
        expected = expected_usage(kinds, shown.size_px, ledger, batched=False)
        most = Usage(expected.prompt_tokens, ledger.params.max_completion_tokens, batched=False)
        reserved_usd, paid_usd = await self.budget.reserve(ledger.cost_usd(most)), 0.0
        if reserved_usd is None:
            return False
        try:
            completion = await self._complete(shown, kinds, expected)
            # A disk that is waited for must not hold up the other requests.
            answer = await asyncio.to_thread(shown.keep, ledger, kinds, completion, expected)
            paid_usd = ledger.cost_usd(answer.usage)
        finally:
            await self.budget.settle(reserved_usd, paid_usd)
        self._judge(shown, kinds, answer)
        return True

    def _judge(self, shown: _Shown, kinds: Sequence[CaptionKind], answer: Answer) -> None:
        """Stop a run that is paid for and brings nothing: none of the first answers holds a caption."""
        last = [shown.account.replies[kind.name][-1].status for kind in kinds]
        self.useful |= any(status in USABLE for status in last)
        if not self.useful and self.n_answers >= USELESS and self.fatal is None:
            self.fatal = CaptionServerError(
                f"Answers must hold captions; none of the first {self.n_answers} holds a usable one (the last: "
                f"{', '.join(sorted(set(last)))}; it begins {answer.said[:SHOWN]!r}). Choose another "
                "caption.openai.model, or mend the server, then run the stage again: all answers are kept."
            )

    async def _complete(
        self, shown: _Shown, kinds: Sequence[CaptionKind], expected: Usage
    ) -> Completion:
        """Send one request until it is answered, or as often as it may be tried."""
        params = self.ledger.params
        n_expected = expected.prompt_tokens + expected.completion_tokens
        attempts = AsyncRetrying(
            stop=stop_after_attempt(params.max_retries + 1),
            wait=self._wait_s,
            retry=self._may_retry,
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                async with self.slots:
                    await self.throttle.wait(n_expected)
                    completion = await self._send_in_form(shown, kinds)
        self._count(completion, n_expected)
        return completion

    async def _send_in_form(self, shown: _Shown, kinds: Sequence[CaptionKind]) -> Completion:
        """Send one request in the form that the server takes, finding out which."""
        params = self.ledger.params
        while True:
            form = self.form
            body = build_request(
                shown.uri,
                kinds,
                model=params.model,
                max_completion_tokens=params.max_completion_tokens,
                shorter=shown.account.too_long,
                form=form,
            )
            try:
                return await self._send(body)
            except openai.APIStatusError as error:
                simpler = form.simpler(str(error)) if is_rejection(error) else None
                if simpler is None:
                    raise
                if self.form == form:
                    logger.warning("The server does not take %s; going on with %s.", form, simpler)
                    self.form = simpler

    async def _send(self, body: dict[str, Any]) -> Completion:
        """Send one request once; a server that drips is not waited for."""
        try:
            async with asyncio.timeout(self.ledger.params.timeout_s):
                # In extra_body, which takes precedence, the client sends the body as it is; it spends
                # more time on going through one piece by piece than on all else.
                answer = await self.client.chat.completions.create(
                    messages=[], model=body["model"], extra_body=body
                )
            # The client hands on whatever came: a text where it was no JSON, unchecked fields.
            content = answer.model_dump(warnings=False) if isinstance(answer, BaseModel) else answer
            return Completion.model_validate(content)
        except ValueError as error:
            raise NoCompletionError("the answer is no chat completion") from error

    def _count(self, completion: Completion, n_expected: int) -> None:
        tokens = completion.usage
        n_tokens = (tokens.prompt_tokens or 0) + (tokens.completion_tokens or 0)
        self.n_answers += 1
        self.n_failures_in_a_row = 0
        self.n_tokens += n_tokens
        self.throttle.correct(n_tokens - n_expected)

    def _may_retry(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return error is not None and is_transient(error, answered=self.n_answers > 0)

    def _wait_s(self, state: RetryCallState) -> float:
        """Return how long to wait before the next attempt, and let all wait where the server says so."""
        error = state.outcome.exception() if state.outcome else None
        response = getattr(error, "response", None)
        wish_s = None if response is None else retry_after_s(response.headers)
        if wish_s is not None:
            self.throttle.silence(wish_s)
            return wish_s
        ceiling_s = min(FIRST_WAIT_S * 2 ** (state.attempt_number - 1), LONGEST_WAIT_S)
        return random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311  (spreads retries, no secret)

    def _note(self, picture: Stimulus, error: Exception) -> None:
        """Decide what a failed request means: for all pictures, for this one, or for now."""
        params, server = self.ledger.params, self.client.base_url.netloc.decode()
        self.last_problem = describe(error)
        self.n_failures_in_a_row += 1
        self.fatal = self.fatal or stop(error, params.model, server, answered=self.n_answers > 0)
        if self.fatal is None and is_rejection(error):
            self.unasked[picture.sha256] = Status.REJECTED
            if not self.n_answers and len(self.unasked) >= FIRST:
                self.fatal = CaptionServerError(
                    f"{server} must take requests with pictures; it rejected the first {FIRST} ({self.last_problem}). "
                    "Choose another caption.openai.model, or mend caption.openai, then run the stage again."
                )
        elif self.fatal is None:
            self.n_unanswered += 1
        logger.warning("No captions of %s: %s.", picture.image_path, self.last_problem)
