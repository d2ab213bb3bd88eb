"""The captioner of pictures: a chat-completions server, OpenAI's or any compatible one.

Each answer is kept as it arrives, so whatever goes wrong, nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.captioners.costs import estimate
from tasks.language.captioners.ledger import Ledger, distinct
from tasks.language.captioners.sending import send_all

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenAICaptioner(Captioner):
    """Describes pictures through a chat-completions server, from the cache where it can.

    Attributes
    ----------
    ledger : Ledger
        Server, model and limits, and what was asked and answered so far.
    """

    ledger: Ledger

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
            with self.ledger.cache.asking(self.ledger.params.model):
                logger.info("%s", estimate(ledger, stimuli, batched=False))
                pending = [p for p in distinct(stimuli) if ledger.account(p).missing]
                paid_usd = ledger.paid_usd(stimuli)
                unasked = asyncio.run(send_all(ledger, pending, paid_usd)) if pending else {}
        return list(ledger.captions(stimuli, unasked, "openai"))
