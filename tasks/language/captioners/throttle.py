"""How fast requests may go: requests and tokens per minute, and the silence a server asks for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SILENCE_S = 600.0


@dataclass
class Pace:
    """Spaces what is taken evenly over time.

    Attributes
    ----------
    per_minute : float or None
        How much may be taken; None: anything.
    """

    per_minute: float | None
    _free_at_s: float = 0.0

    def take(self, amount: float, now_s: float) -> float:
        """Take an amount; return how many seconds to wait before it is used.

        Parameters
        ----------
        amount : float
            How much; negative gives back.
        """
        if self.per_minute is None:
            return 0.0
        start_s = max(now_s, self._free_at_s)
        self._free_at_s = start_s + amount * 60 / self.per_minute
        return start_s - now_s


@dataclass
class Throttle:
    """Holds requests back as the account's limits and the server demand.

    Attributes
    ----------
    requests, tokens : Pace
        The account's limits.
    """

    requests: Pace
    tokens: Pace
    _silent_until_s: float = field(default=0.0)

    async def wait(self, n_tokens: int) -> None:
        """Wait until a request may go.

        Parameters
        ----------
        n_tokens : int
            What it will take, about.
        """
        clock = asyncio.get_running_loop().time
        delay_s = max(self.requests.take(1, clock()), self.tokens.take(n_tokens, clock()))
        await asyncio.sleep(delay_s)
        while (silence_s := self._silent_until_s - clock()) > 0:
            await asyncio.sleep(silence_s)

    def correct(self, n_tokens: int) -> None:
        """Take tokens that an answer took beyond what was expected."""
        self.tokens.take(n_tokens, asyncio.get_running_loop().time())

    def silence(self, seconds: float) -> None:
        """Let no request go for some seconds: the server said so."""
        until_s = asyncio.get_running_loop().time() + seconds
        self._silent_until_s = max(self._silent_until_s, until_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a server wants to be left alone; None where it does not say (RFC 9110, 10.2.3).

    Parameters
    ----------
    headers : Mapping[str, str]
        Of its answer; names in lower case.
    """
    for name, seconds in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wish_s = float(headers.get(name, "")) * seconds
        except ValueError:
            continue
        return None if math.isnan(wish_s) else min(max(wish_s, 0.0), LONGEST_SILENCE_S)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    left_s = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(left_s, 0.0), LONGEST_SILENCE_S)
