"""What has been asked about each picture, what came back, and what it cost: the same for every transport."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tasks.language.cache import Answer, CaptionCache, Question, Reply, Usage
from tasks.language.captioners.base import Caption, Stimulus
from tasks.language.captioners.chat import Completion, prompt_sha256, read_answer
from tasks.language.captioners.params import OpenAIParams
from tasks.language.checks import check_texts, shorten
from tasks.language.prompts import KINDS, CaptionKind, Tier
from tasks.language.quality import USABLE, Status

KEY_VARIABLE = "OPENAI_API_KEY"


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
        asked = {
            kind.name: reply
            for kind in KINDS
            if (reply := answer.replies.get(Question(kind.name, prompt_sha256(kind))))
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
        request_id: str = "",
    ) -> Answer:
        """Put an answer into the cache; the key, should a server repeat it, stays out.

        Parameters
        ----------
        completion : Completion or None
            The answer; None if the server does not take the picture.
        request_id : str
            Request of a batch that is answered; empty where none was.
        """
        tokens = completion.usage if completion else None
        if completion is None:
            replies = {kind.name: Reply("", Status.REJECTED) for kind in kinds}
        else:
            replies = read_answer(completion, kinds)
        usage = Usage(
            tokens.prompt_tokens if tokens else 0,
            tokens.completion_tokens if tokens else 0,
            batched=bool(request_id),
        )
        kept = {
            Question(kind.name, prompt_sha256(kind)): Reply(
                without_key(replies[kind.name].text), replies[kind.name].status
            )
            for kind in kinds
        }
        answer = Answer(kept, usage, request_id)
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

    def spent_usd(self, stimuli: Sequence[Stimulus]) -> float:
        """Return what all answers about some pictures cost."""
        return sum(
            self.cost_usd(answer.usage)
            for stimulus in distinct(stimuli)
            for answer in self.account(stimulus).answers
        )

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


def distinct(stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    """Return one stimulus for each different picture."""
    return list({stimulus.sha256: stimulus for stimulus in stimuli}.values())


def without_key(text: str) -> str:
    """Return a text without the key, which some servers repeat."""
    key = os.environ.get(KEY_VARIABLE)
    return text.replace(key, "<key>") if key else text
