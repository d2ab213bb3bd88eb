"""The captioning server: how it is reached, and what its errors mean.

The key comes from the environment variable OPENAI_API_KEY alone and is never written anywhere.
"""

from __future__ import annotations

import os
from typing import Any

import openai

from tasks.language.captioners.ledger import KEY_VARIABLE, without_key
from tasks.runtime.errors import PerceptError, TransientError

REJECTING_STATUS_CODES = frozenset({400, 413, 415, 422})
"""What a server does not take, be it the picture or the request."""
PAYMENT_REQUIRED = 402
LATER_STATUS_CODES = frozenset({408, 409, 429})
"""What may be answered later."""


class CaptionServerError(PerceptError):
    """The captioning server cannot be used."""


class NoAnswerError(CaptionServerError, TransientError):
    """The captioning server did not answer for some pictures; it may the next time."""


class NoCompletionError(Exception):
    """Something came back that is no chat completion."""


def client_options(timeout_s: float) -> dict[str, Any]:
    """Return the options of a client that leaves retries to its caller.

    Parameters
    ----------
    timeout_s : float
        Of a connection that brings nothing.

    Raises
    ------
    CaptionServerError
        If there is no key.
    """
    if not os.environ.get(KEY_VARIABLE):
        raise CaptionServerError(
            f"{KEY_VARIABLE} must hold the key of the captioning server; it is not set. Export it "
            "(any word for a server without keys), or set caption.backend: scene."
        )
    return {"max_retries": 0, "timeout": timeout_s}


def is_transient(error: BaseException, *, answered: bool) -> bool:
    """Return whether the same request may be answered later.

    Parameters
    ----------
    answered : bool
        Whether the server has answered before: one that was never reached is not waited for.
    """
    if isinstance(error, openai.RateLimitError):
        return not _is_out_of_quota(error)
    if isinstance(error, openai.APIConnectionError) and not isinstance(
        error, openai.APITimeoutError
    ):
        return answered or not is_refusal(error)
    again = (openai.APIConnectionError, openai.InternalServerError, TimeoutError, NoCompletionError)
    return isinstance(error, again) or getattr(error, "status_code", None) in LATER_STATUS_CODES


def is_refusal(error: BaseException) -> bool:
    """Return whether nobody listens at the address, or there is no such address."""
    return type(error.__cause__).__name__ in ("ConnectError", "UnsupportedProtocol")


def is_rejection(error: BaseException) -> bool:
    """Return whether the server does not take what was sent."""
    return getattr(error, "status_code", None) in REJECTING_STATUS_CODES


def _is_out_of_quota(error: openai.APIError) -> bool:
    """Return whether money is lacking: servers say so in the code, the type or the words."""
    return "insufficient_quota" in (error.code, error.type) or "insufficient_quota" in str(error)


def describe(error: BaseException) -> str:
    """Return what went wrong, without the key, which some servers repeat."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"HTTP {error.status_code}"
    if isinstance(error, TimeoutError):
        return "no whole answer in time"
    why = error.__cause__
    cause = f" ({type(why).__name__}: {str(why)[:200]})".replace(": )", ")") if why else ""
    return without_key(f"{str(error)[:300]}{cause}")


def stop(error: Exception, model: str, server: str, *, answered: bool) -> CaptionServerError | None:
    """Return the error to stop with where the next picture would meet the same; None where it may not.

    Parameters
    ----------
    answered : bool
        Whether anything was answered before.
    """
    advice = _advice(error, model, answered=answered)
    if advice is None:
        return None
    must_hold, remedy = advice
    return CaptionServerError(
        f"{must_hold}; {server}: {describe(error)}. {remedy}, then run the stage again."
    )


def _advice(error: Exception, model: str, *, answered: bool) -> tuple[str, str] | None:
    if isinstance(error, openai.AuthenticationError):
        return f"{KEY_VARIABLE} must be a key that the server accepts", "Export a valid one"
    if isinstance(error, openai.PermissionDeniedError):
        return f"The key must be allowed to use {model}", "Choose another caption.openai.model"
    if isinstance(error, openai.NotFoundError):
        return (
            f"The server must serve the model {model}",
            "Mend caption.openai.model or OPENAI_BASE_URL",
        )
    if isinstance(error, openai.RateLimitError) and _is_out_of_quota(error):
        return "The account must have quota left", "Top it up"
    if isinstance(error, openai.APIConnectionError) and not answered:
        return "The captioning server must be reachable", "Start it or mend OPENAI_BASE_URL"
    status = getattr(error, "status_code", None) or 0
    if status == PAYMENT_REQUIRED:
        return "The account must be able to pay", "Top it up"
    if 400 <= status < 500 and status not in REJECTING_STATUS_CODES | LATER_STATUS_CODES:
        return "The server must take chat completions", "Mend caption.openai or OPENAI_BASE_URL"
    return None
