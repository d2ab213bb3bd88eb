"""The captioner of pictures: a chat-completions server, OpenAI's or any compatible one.

Each answer is kept as it arrives, so whatever goes wrong, nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.language.cache import CaptionCache
from tasks.language.captioners.base import Caption, Stimulus
from tasks.language.captioners.costs import estimate
from tasks.language.captioners.ledger import Ledger, distinct
from tasks.language.captioners.params import OpenAIParams
from tasks.language.captioners.sending import send_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenAICaptioner:
    """Describes pictures through a chat-completions server, from the cache where it can.

    Attributes
    ----------
    params : OpenAIParams
        Server, model and limits.
    max_tokens : int
        Longest caption that is accepted, in CLIP's tokens.
    cache : CaptionCache
        Every answer so far.
    """

    params: OpenAIParams
    max_tokens: int
    cache: CaptionCache

    @property
    def ledger(self) -> Ledger:
        """What has been asked and answered."""
        return Ledger(self.params, self.max_tokens, self.cache)

    def shards(self, stimuli: Sequence[Stimulus]) -> list[Sequence[Stimulus]]:
        """Keep the stimuli together: the limits are for all of them."""
        return [stimuli] if stimuli else []

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
        CaptionBudgetError
            If ``max_cost_usd`` does not allow for all answers.
        CaptionCacheError
            If an answer in the cache was altered.
        """
        ledger = self.ledger
        unasked = {}
        if any(ledger.account(picture).missing for picture in distinct(stimuli)):
            with self.cache.asking(self.params.model):
                logger.info("%s", estimate(ledger, stimuli, batched=False))
                pending = [p for p in distinct(stimuli) if ledger.account(p).missing]
                spent_usd = ledger.spent_usd(stimuli)
                unasked = asyncio.run(send_all(ledger, pending, spent_usd)) if pending else {}
        return list(ledger.captions(stimuli, unasked, "openai"))
