"""What has been asked about each picture, what came back, and what it cost: the same for every transport."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tasks.language.cache import Answer, CaptionCache, Question, Reply, Usage
from tasks.language.captioners.base import Caption, Stimulus
from tasks.language.captioners.chat import Completion, prompt_sha256, read_answer
from tasks.language.captioners.params import OpenAIParams
from tasks.language.checks import check_texts, shorten
from tasks.language.prompts import KINDS, CaptionKind, Tier
from tasks.language.quality import USABLE, Status

KEY_VARIABLE = "OPENAI_API_KEY"
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Account:
    """All answers about one picture.

    Attributes
    ----------
    answers : Sequence[Answer]
        In the order in which they came.
    max_answers : int
        Answers per caption at most.
    max_tokens : int
        Longest caption in CLIP's tokens.
    """

    answers: Sequence[Answer]
    max_answers: int
    max_tokens: int

    @cached_property
    def replies(self) -> Mapping[str, Sequence[Reply]]:
        """Checked replies to each kind under its present prompt."""
        replies: dict[str, list[Reply]] = {kind.name: [] for kind in KINDS}
        for answer in self.answers:
            for name, reply in self._checked(answer).items():
                replies[name].append(reply)
        return replies

    @property
    def missing(self) -> tuple[CaptionKind, ...]:
        """The kinds without a usable caption that may still be asked for."""
        return tuple(
            kind
            for kind in KINDS
            if all(reply.status not in USABLE for reply in self.replies[kind.name])
            and len(self.replies[kind.name]) < self.max_answers
        )

    @property
    def too_long(self) -> frozenset[CaptionKind]:
        """The kinds whose last caption was too long."""
        return frozenset(
            kind
            for kind in KINDS
            if (replies := self.replies[kind.name]) and replies[-1].status == Status.TOO_LONG
        )

    def best(self, kind: CaptionKind) -> Reply | None:
        """Return the first usable reply, else one that was too long, cut, else the last."""
        replies = self.replies[kind.name]
        for reply in replies:
            if reply.status in USABLE:
                return reply
        for reply in replies:
            short = shorten(reply.text, self.max_tokens) if reply.status == Status.TOO_LONG else ""
            if short:
                return Reply(short, Status.SHORTENED)
        return replies[-1] if replies else None

    def _checked(self, answer: Answer) -> dict[str, Reply]:
        """Check the captions of one answer that still count, beside those that are good already."""
        kept = {question.kind: reply for question, reply in answer.replies.items()}
        if (
            answer.said or answer.ended
        ):  # as it came: read anew, for the reader may have learned since
            kept = read_answer(answer.said, answer.ended, kept)
        asked = {
            kind.name: kept[kind.name]
            for kind in KINDS
            if Question(kind.name, prompt_sha256(kind)) in answer.replies
        }
        texts = {name: reply.text for name, reply in asked.items() if reply.status == Status.OK}
        statuses = check_texts(texts, self.max_tokens)
        return {
            name: Reply(reply.text, statuses.get(name, Status(reply.status)))
            for name, reply in asked.items()
        }


@dataclass(frozen=True)
class Ledger:
    """The accounts of all pictures with one model.

    Attributes
    ----------
    params : OpenAIParams
        Model and limits.
    max_tokens : int
        Longest caption in CLIP's tokens.
    cache : CaptionCache
        Every answer so far.
    """

    params: OpenAIParams
    max_tokens: int
    cache: CaptionCache

    def account(self, stimulus: Stimulus) -> Account:
        """Return the account of a picture."""
        answers = self.cache.read(stimulus.sha256, self.params.model)
        return Account(answers, self.params.max_answers, self.max_tokens)

    def keep(
        self,
        image_sha256: str,
        kinds: Sequence[CaptionKind],
        completion: Completion | None,
        guess: Usage,
        request_id: str = "",
    ) -> Answer:
        """Put an answer into the cache as it came; the key, should a server repeat it, stays out.

        Parameters
        ----------
        completion : Completion or None
            The answer; None if the server does not take the picture.
        guess : Usage
            What the answer took where the server does not count.
        request_id : str
            Request of a batch that is answered; empty where none was.
        """
        names = [kind.name for kind in kinds]
        if completion is None:
            said, ended, usage = "", "", replace(guess, prompt_tokens=0, completion_tokens=0)
            replies = dict.fromkeys(names, Reply("", Status.REJECTED))
        else:
            choice = completion.choices[0]
            said = without_key(choice.said).encode("utf-8", "replace").decode()
            ended, usage = without_key(choice.ended), _usage(completion, said, guess)
            replies = read_answer(said, ended, names)
        kept = {Question(kind.name, prompt_sha256(kind)): replies[kind.name] for kind in kinds}
        answer = Answer(kept, usage, request_id, said, ended)
        self.cache.write(image_sha256, self.params.model, answer)
        return answer

    def groups(self, kinds: Sequence[CaptionKind]) -> list[tuple[CaptionKind, ...]]:
        """Split kinds into those of one request."""
        if self.params.request_per == "picture":
            return [tuple(kinds)] if kinds else []
        by_tier = [tuple(kind for kind in kinds if kind.tier == tier) for tier in Tier]
        return [group for group in by_tier if group]

    def cost_usd(self, usage: Usage) -> float:
        """Return what an answer cost."""
        prices = self.params.prices
        million_usd = (
            usage.prompt_tokens * prices.input_usd_per_million
            + usage.completion_tokens * prices.output_usd_per_million
        )
        return million_usd / 1e6 * (prices.batch_factor if usage.batched else 1.0)

    def paid_usd(self, stimuli: Sequence[Stimulus]) -> list[float]:
        """Return what each answer about some pictures cost."""
        return [
            self.cost_usd(answer.usage)
            for stimulus in distinct(stimuli)
            for answer in self.account(stimulus).answers
        ]

    def captions(
        self, stimuli: Sequence[Stimulus], unasked: Mapping[str, Status], source: str
    ) -> Iterator[Caption]:
        """Yield the caption of every picture and kind, each with its status.

        Parameters
        ----------
        unasked : Mapping[str, Status]
            SHA-256 of pictures that cannot be asked about, and why.
        """
        for stimulus in stimuli:
            account = self.account(stimulus)
            never = Reply("", unasked.get(stimulus.sha256, Status.INVALID))
            for kind in KINDS:
                reply = account.best(kind) or never
                yield Caption(
                    stimulus_id=stimulus.stimulus_id,
                    kind=kind.name,
                    text=reply.text,
                    status=reply.status,
                    source=source,
                    model=self.params.model,
                    prompt_sha256=prompt_sha256(kind),
                )


def _usage(completion: Completion, said: str, guess: Usage) -> Usage:
    """Return what an answer took: as counted, else as guessed from the request and the length of the answer."""
    told = completion.usage
    sent, received = told.prompt_tokens, told.completion_tokens
    if sent is not None and received is not None:
        return replace(guess, prompt_tokens=sent, completion_tokens=received)
    length = max(guess.completion_tokens, math.ceil(len(said) / CHARACTERS_PER_TOKEN))
    return replace(
        guess,
        prompt_tokens=guess.prompt_tokens if sent is None else sent,
        completion_tokens=length if received is None else received,
        guessed=True,
    )


def distinct(stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    """Return one stimulus for each different picture."""
    return list({stimulus.sha256: stimulus for stimulus in stimuli}.values())


def without_key(text: str) -> str:
    """Return a text without the key, which some servers repeat."""
    key = os.environ.get(KEY_VARIABLE)
    return text.replace(key, "<key>") if key else text
