"""Params of the captioners that ask a language model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tasks.runtime.params import Params


class PriceParams(Params):
    """What tokens cost.

    Attributes
    ----------
    input_usd_per_million, output_usd_per_million : float
        US dollars for a million tokens sent, and written.
    batch_factor : float
        Share of these prices that a batch costs.
    """

    input_usd_per_million: NonNegativeFloat
    output_usd_per_million: NonNegativeFloat
    batch_factor: Annotated[float, Field(ge=0, le=1)]


class OpenAIParams(Params):
    """How pictures are described by a language model.

    Attributes
    ----------
    model : str
        Who describes.
    request_per : {"picture", "tier"}
        Whether one request asks for all kinds of a picture, or for those of one tier.
    max_concurrency : int
        Requests at once.
    requests_per_minute, tokens_per_minute : int or None
        Limits of the account; None: no limit.
    max_retries : int
        Of a request that failed, with back-off, honouring Retry-After.
    max_answers : int
        Paid answers per caption at most: an unusable one is asked for again.
    max_completion_tokens : int
        Bound on one answer, reasoning included.
    max_cost_usd : float or None
        Bound on what all answers about the study cost together; None: no bound.
    prices : PriceParams
        What tokens cost.
    timeout_s : float
        For one whole answer.
    max_side_px : int
        Larger pictures are shrunk to this.
    """

    model: str
    request_per: Literal["picture", "tier"]
    max_concurrency: PositiveInt
    requests_per_minute: PositiveInt | None
    tokens_per_minute: PositiveInt | None
    max_retries: NonNegativeInt
    max_answers: PositiveInt
    max_completion_tokens: PositiveInt
    max_cost_usd: PositiveFloat | None
    prices: PriceParams
    timeout_s: PositiveFloat
    max_side_px: PositiveInt
