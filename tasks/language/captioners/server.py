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
        return error.code != "insufficient_quota"
    if isinstance(error, openai.APIConnectionError) and not isinstance(
        error, openai.APITimeoutError
    ):
        return answered or not is_refusal(error)
    again = (openai.APIConnectionError, openai.InternalServerError, TimeoutError, NoCompletionError)
    return isinstance(error, again) or getattr(error, "status_code", None) in (408, 409)


def is_refusal(error: BaseException) -> bool:
    """Return whether nobody listens at the address, or there is no such address."""
    return type(error.__cause__).__name__ in ("ConnectError", "UnsupportedProtocol")


def describe(error: BaseException) -> str:
    """Return what went wrong, without the key, which some servers repeat."""
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"HTTP {error.status_code}"
    if isinstance(error, TimeoutError):
        return "no whole answer in time"
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
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
    if isinstance(error, openai.RateLimitError) and error.code == "insufficient_quota":
        return "The account must have quota left", "Top it up"
    if isinstance(error, openai.APIConnectionError) and not answered:
        return "The captioning server must be reachable", "Start it or mend OPENAI_BASE_URL"
    return None
