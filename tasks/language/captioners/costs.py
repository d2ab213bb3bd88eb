"""What requests will take, before they are sent: tokens and money."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean

from tasks.artifacts.pictures import UnreadablePictureError, size_in_header
from tasks.language.cache import Usage
from tasks.language.captioners.base import Stimulus
from tasks.language.captioners.chat import build_request
from tasks.language.captioners.ledger import CHARACTERS_PER_TOKEN, Ledger, distinct
from tasks.language.prompts import KINDS, CaptionKind

TOKENS_PER_CAPTION = 25
"""A short phrase, its field's name and its share of the JSON."""
PATCH_PX, TOKENS_PER_PATCH = 32, 1.62
"""How the small models of OpenAI count pictures; the larger ones count less."""


@dataclass(frozen=True)
class Estimate:
    """What is still to be sent for a study.

    Attributes
    ----------
    n_pictures, n_requests : int
        To be asked about, and sent.
    prompt_tokens, completion_tokens : int
        As expected.
    expected_usd, most_usd : float
        With answers as long as expected, and as long as they may get.
    spent_usd : float
        Cost of the answers so far.
    n_known : int
        Pictures that have all their answers.
    is_measured : bool
        Whether the tokens are the mean of answers so far, not a guess.
    """

    n_pictures: int
    n_requests: int
    prompt_tokens: int
    completion_tokens: int
    expected_usd: float
    most_usd: float
    spent_usd: float
    n_known: int
    is_measured: bool

    def __str__(self) -> str:
        """Say it in one line."""
        how = "measured on answers so far" if self.is_measured else "guessed"
        return (
            f"{self.n_pictures} pictures to ask about ({self.n_known} are cached): "
            f"{self.n_requests} requests, about {self.prompt_tokens} tokens to send and "
            f"{self.completion_tokens} to receive ({how}), about {self.expected_usd:.2f} USD, "
            f"at most {self.most_usd:.2f} USD; {self.spent_usd:.2f} USD are spent."
        )


def estimate(ledger: Ledger, stimuli: Sequence[Stimulus], *, batched: bool) -> Estimate:
    """Estimate what the missing captions of a study take; nothing is sent.

    Parameters
    ----------
    ledger : Ledger
        What has been asked, and the prices.
    """
    pictures = distinct(stimuli)
    accounts = [ledger.account(stimulus) for stimulus in pictures]
    whole = [
        answer.usage
        for account in accounts
        for answer in account.answers
        if len(answer.replies) == len(ledger.groups(KINDS)[0])
    ]
    requests = [
        _expected(group, stimulus, ledger, whole, batched=batched)
        for stimulus, account in zip(pictures, accounts, strict=True)
        for group in ledger.groups(account.missing)
    ]
    limit = ledger.params.max_completion_tokens
    return Estimate(
        n_pictures=sum(bool(account.missing) for account in accounts),
        n_requests=len(requests),
        prompt_tokens=sum(usage.prompt_tokens for usage in requests),
        completion_tokens=sum(usage.completion_tokens for usage in requests),
        expected_usd=sum(ledger.cost_usd(usage) for usage in requests),
        most_usd=sum(
            ledger.cost_usd(Usage(usage.prompt_tokens, limit, batched)) for usage in requests
        ),
        spent_usd=sum(ledger.paid_usd(pictures)),
        n_known=sum(not account.missing for account in accounts),
        is_measured=bool(whole),
    )


def expected_usage(
    kinds: Sequence[CaptionKind], size_px: tuple[int, int], ledger: Ledger, *, batched: bool
) -> Usage:
    """Guess the tokens of one request, from the letters of its text and the size of its picture.

    Parameters
    ----------
    size_px : tuple[int, int]
        Width and height of the picture as it is.
    batched : bool
        Whether a batch is used.
    """
    params = ledger.params
    n_characters = _n_characters(tuple(kinds))
    shrink = min(1.0, params.max_side_px / max(size_px))
    patches = math.prod(math.ceil(side * shrink / PATCH_PX) for side in size_px)
    return Usage(
        math.ceil(n_characters / CHARACTERS_PER_TOKEN + patches * TOKENS_PER_PATCH),
        min(TOKENS_PER_CAPTION * len(kinds), params.max_completion_tokens),
        batched,
    )


@cache
def _n_characters(kinds: tuple[CaptionKind, ...]) -> int:
    """Return how long the words of a request are."""
    body = build_request("", kinds, model="", max_completion_tokens=1)
    return len(str(body["messages"])) + len(str(body["response_format"]))


def picture_size(stimulus: Stimulus) -> tuple[int, int]:
    """Return width and height from the header of a picture; 1 x 1 where it cannot be read."""
    try:
        return size_in_header(stimulus.image_path)
    except UnreadablePictureError:
        return 1, 1


def _expected(
    group: Sequence[CaptionKind],
    stimulus: Stimulus,
    ledger: Ledger,
    whole: Sequence[Usage],
    *,
    batched: bool,
) -> Usage:
    if not whole:
        return expected_usage(group, picture_size(stimulus), ledger, batched=batched)
    return Usage(
        math.ceil(fmean(usage.prompt_tokens for usage in whole)),
        math.ceil(fmean(usage.completion_tokens for usage in whole)),
        batched,
    )


@dataclass
class Budget:
    """Lets a request go only while its dearest answer still fits, beside those under way.

    No answer is expected to cost less than the dearest so far: the bound is passed only where answers that are
    under way cost more than any before them.

    Attributes
    ----------
    max_usd : float or None
        The bound; None: there is none.
    spent_usd : float
        What arrived so far.
    dearest_usd : float
        What the dearest of these cost.
    """

    max_usd: float | None
    spent_usd: float
    dearest_usd: float = 0.0
    reserved_usd: float = 0.0
    n_under_way: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def reserve(self, most_usd: float) -> float | None:
        """Reserve money, waiting for requests under way to be cheaper than feared; None if it is not there.

        Parameters
        ----------
        most_usd : float
            What the request may cost, as far as it is known beforehand.
        """
        async with self._changed:
            while not self._fits(wanted_usd := max(most_usd, self.dearest_usd)):
                if not self.n_under_way:
                    return None
                await self._changed.wait()
            self.reserved_usd += wanted_usd
            self.n_under_way += 1
            return wanted_usd

    async def settle(self, reserved_usd: float, paid_usd: float) -> None:
        """Replace what was reserved by what was paid."""
        async with self._changed:
            self.n_under_way -= 1
            self.reserved_usd = self.reserved_usd - reserved_usd if self.n_under_way else 0.0
            self.spent_usd += paid_usd
            self.dearest_usd = max(self.dearest_usd, paid_usd)
            self._changed.notify_all()

    def _fits(self, most_usd: float) -> bool:
        return self.max_usd is None or self.spent_usd + self.reserved_usd + most_usd <= self.max_usd
