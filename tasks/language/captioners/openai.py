"""The captioner of pictures: a chat-completions server, OpenAI's or any compatible one.

The key comes from the environment variable OPENAI_API_KEY alone and is never written anywhere. Each
answer is kept as it arrives, so whatever goes wrong, nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt

from tasks._errors import PerceptError, TransientError
from tasks._params import Params
from tasks.artifacts.pictures import UnreadablePictureError
from tasks.language.cache import CaptionCache, Question, Reply
from tasks.language.captioners.base import Caption, Stimulus
from tasks.language.captioners.chat import (
    Completion,
    build_request,
    data_uri,
    prompt_sha256,
    read_answer,
)
from tasks.language.prompts import KINDS, CaptionKind
from tasks.language.quality import Status, judge

logger = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
REJECTING_STATUS_CODES = (400, 413, 415, 422)


class OpenAIParams(Params):
    """How pictures are described by a language model."""

    model: str
    max_concurrency: PositiveInt
    max_retries: NonNegativeInt
    max_answers: PositiveInt
    max_completion_tokens: PositiveInt
    timeout_s: PositiveFloat
    max_side_px: PositiveInt


class CaptionServerError(PerceptError):
    """The captioning server cannot be used."""


class NoAnswerError(CaptionServerError, TransientError):
    """The captioning server did not answer for some pictures; it may the next time."""


@dataclass(frozen=True)
class OpenAICaptioner:
    """Describes pictures through a chat-completions server, from the cache where it can.

    Attributes
    ----------
    params : OpenAIParams
        Server, model and limits.
    max_words : int
        Longest caption that is accepted.
    cache : CaptionCache
        Every answer so far.
    """

    params: OpenAIParams
    max_words: int
    cache: CaptionCache

    def shards(self, stimuli: Sequence[Stimulus]) -> list[Sequence[Stimulus]]:
        """Keep the stimuli together: the bound on concurrent requests is for all of them."""
        return [stimuli]

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Ask for what the cache lacks, then return every caption with its status.

        Parameters
        ----------
        stimuli : Sequence[Stimulus]
            Pictures; those with the same bytes are asked about once.

        Raises
        ------
        CaptionServerError
            If the key is missing or refused, the model is unknown, or pictures got no answer.
        CaptionCacheError
            If an answer in the cache was altered.
        """
        pictures = {stimulus.sha256: stimulus for stimulus in stimuli}
        pending = [picture for picture in pictures.values() if self.missing(picture)]
        n_known = len(pictures) - len(pending)
        logger.info(
            "%d pictures: %d cached, %d to ask about.", len(pictures), n_known, len(pending)
        )
        unasked = asyncio.run(_ask_all(self, pending)) if pending else {}
        return [caption for stimulus in stimuli for caption in self._captions(stimulus, unasked)]

    def missing(self, stimulus: Stimulus) -> list[CaptionKind]:
        """Return the kinds without a usable caption that may still be asked for."""
        replies = self._replies(stimulus)
        return [
            kind
            for kind in KINDS
            if all(reply.status != Status.OK for reply in replies[kind.name])
            and len(replies[kind.name]) < self.params.max_answers
        ]

    def keep(
        self, stimulus: Stimulus, kinds: Sequence[CaptionKind], completion: Completion
    ) -> None:
        """Put an answer into the cache."""
        replies = read_answer(completion, kinds)
        answer = {Question(kind.name, prompt_sha256(kind)): replies[kind.name] for kind in kinds}
        self.cache.write(stimulus.sha256, self.params.model, answer)

    def _captions(self, stimulus: Stimulus, unasked: Mapping[str, Status]) -> Iterator[Caption]:
        never = Reply("", unasked.get(stimulus.sha256, Status.INVALID))
        replies = self._replies(stimulus)
        for kind in KINDS:
            best = self._best(replies[kind.name] or [never])
            yield Caption(
                stimulus_id=stimulus.stimulus_id,
                kind=kind.name,
                text=best.text,
                status=best.status,
                source="openai",
                model=self.params.model,
                prompt_sha256=prompt_sha256(kind),
            )

    def _replies(self, stimulus: Stimulus) -> dict[str, list[Reply]]:
        """Return what the cache holds of each kind under its present prompt, judged."""
        cached = self.cache.read(stimulus.sha256, self.params.model)
        return {
            kind.name: [
                Reply(reply.text, judge(reply.text, self.max_words))
                if reply.status == Status.OK
                else reply
                for reply in cached.get(Question(kind.name, prompt_sha256(kind)), [])
            ]
            for kind in KINDS
        }

    @staticmethod
    def _best(replies: Sequence[Reply]) -> Reply:
        """Return the first usable reply, else the last."""
        usable = (reply for reply in replies if reply.status == Status.OK)
        return next(usable, replies[-1])


async def _ask_all(captioner: OpenAICaptioner, pictures: Sequence[Stimulus]) -> dict[str, Status]:
    """Ask about every picture, a bounded number at once; return which cannot be asked about, and why.

    The first picture goes alone, so that a wrong key or model costs one request. Requests under way
    are always waited for: they are paid for.
    """
    async with _client(captioner.params) as client:
        session = _Session(captioner, client)
        queue = iter(pictures)
        await session.ask(next(queue))
        workers = range(captioner.params.max_concurrency)
        await asyncio.gather(*(session.work(queue) for _ in workers))
    logger.info("%d answers arrived, %d tokens.", session.n_answers, session.n_tokens)
    if session.fatal:
        raise session.fatal
    if session.n_unanswered:
        raise NoAnswerError(
            f"Each of {len(pictures)} pictures must get an answer; {session.n_unanswered} got none "
            f"({session.last_problem}). Run the stage again: all answers so far are kept in "
            f"{captioner.cache.folder}, so only the missing ones are asked for."
        )
    return session.unasked


def _client(params: OpenAIParams) -> openai.AsyncOpenAI:
    """Return a client that retries with back-off and honours Retry-After."""
    if not os.environ.get(KEY_VARIABLE):
        raise CaptionServerError(
            f"{KEY_VARIABLE} must hold the key of the captioning server; it is not set. Export it "
            "(any word for a server without keys), or set caption.backend: scene."
        )
    return openai.AsyncOpenAI(max_retries=params.max_retries, timeout=params.timeout_s)


class _NoCompletionError(Exception):
    """Something came back that is no chat completion."""


@dataclass
class _Session:
    """One run of requests: what it brought and what went wrong."""

    captioner: OpenAICaptioner
    client: openai.AsyncOpenAI
    n_answers: int = 0
    n_tokens: int = 0
    n_unanswered: int = 0
    n_failures_in_a_row: int = 0
    last_problem: str = ""
    fatal: PerceptError | None = None
    unasked: dict[str, Status] = field(default_factory=dict)

    @property
    def hopeless(self) -> bool:
        """Whether to stop: nothing can be asked, or nothing answers any more."""
        limit = self.captioner.params.max_concurrency
        return self.fatal is not None or self.n_failures_in_a_row > limit

    async def work(self, queue: Iterator[Stimulus]) -> None:
        """Ask about one picture after the other until none is left."""
        for picture in queue:
            if self.hopeless:
                self.n_unanswered += 1
            else:
                await self.ask(picture)

    async def ask(self, picture: Stimulus) -> None:
        """Ask about a picture until nothing is missing; keep each answer as it comes."""
        try:
            uri = data_uri(picture, self.captioner.params.max_side_px)
            while kinds := self.captioner.missing(picture):
                completion = await self._complete(uri, kinds)
                # A disk that is waited for must not hold up the other requests.
                await asyncio.to_thread(self.captioner.keep, picture, kinds, completion)
        except UnreadablePictureError as error:
            self.unasked[picture.sha256] = Status.UNREADABLE
            logger.warning("%s", error)
        except PerceptError as error:
            self.fatal = error
        except (openai.APIError, _NoCompletionError) as error:
            self._note(picture, error)

    async def _complete(self, uri: str, kinds: Sequence[CaptionKind]) -> Completion:
        """Send one request and return its answer."""
        params = self.captioner.params
        body: dict[str, Any] = build_request(
            uri, kinds, model=params.model, max_completion_tokens=params.max_completion_tokens
        )
        try:
            answer = await self.client.chat.completions.create(**body)
            # The client hands on whatever came: a text where it was no JSON, unchecked fields.
            content = answer.model_dump(warnings=False) if isinstance(answer, BaseModel) else answer
            completion = Completion.model_validate(content)
        except ValueError as error:
            raise _NoCompletionError("the answer is no chat completion") from error
        self.n_answers += 1
        self.n_failures_in_a_row = 0
        self.n_tokens += completion.usage.total_tokens if completion.usage else 0
        return completion

    def _note(self, picture: Stimulus, error: openai.APIError | _NoCompletionError) -> None:
        """Decide what a failed request means: for all pictures, for this one, or for now."""
        self.last_problem = _describe(error)
        self.n_failures_in_a_row += 1
        advice = _advice(error, self.captioner.params.model, nothing_yet=not self.n_answers)
        if advice:
            must_hold, remedy = advice
            server = self.client.base_url.netloc.decode()
            self.fatal = CaptionServerError(
                f"{must_hold}; {server}: {self.last_problem}. {remedy}, then run the stage again."
            )
        elif getattr(error, "status_code", None) in REJECTING_STATUS_CODES:
            self.unasked[picture.sha256] = Status.REJECTED
        else:
            self.n_unanswered += 1
        logger.warning("No captions of %s: %s.", picture.image_path, self.last_problem)


def _describe(error: Exception) -> str:
    """Return what went wrong, without the key, which some servers repeat."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"HTTP {error.status_code}"
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return f"{str(error)[:300]}{cause}".replace(os.environ[KEY_VARIABLE], "<key>")


def _advice(error: Exception, model: str, *, nothing_yet: bool) -> tuple[str, str] | None:
    """Return what must hold and what to do about an error that the next picture would meet too."""
    if isinstance(error, openai.AuthenticationError):
        return f"{KEY_VARIABLE} must be a key that the server accepts", "Export a valid one"
    if isinstance(error, openai.PermissionDeniedError):
        return f"The key must be allowed to use {model}", "Choose another caption.openai.model"
    if isinstance(error, openai.NotFoundError):
        return (
            f"The server must serve the model {model}",
            "Mend caption.openai.model or OPENAI_BASE_URL",
        )
    if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
        return "The account must have quota left", "Top it up"
    if isinstance(error, openai.APIConnectionError) and nothing_yet:
        return "The captioning server must be reachable", "Start it or mend OPENAI_BASE_URL"
    return None
