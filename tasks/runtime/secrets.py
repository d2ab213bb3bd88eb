"""Keep secrets out of logs, tracebacks and whatever else is shown."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

HIDDEN = "[hidden]"
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH_STRING", re.IGNORECASE)
SHORTEST = 6
"""Shorter values are words, not secrets: a server without keys takes any."""
SHAPES = re.compile(
    r"\bsk-[\w-]{8,}"  # OpenAI and what copies it
    r"|\bhf_\w{8,}|\bgh[pousr]_\w{8,}|\bAKIA[0-9A-Z]{12,}"  # Hugging Face, GitHub, AWS
    r"|(?<=Bearer )[\w.~+/=-]{8,}"
    r"|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"  # user:password@host
)


def redact(text: str) -> str:
    """Return a text without the values of secret environment variables, nor anything shaped like a key.

    Parameters
    ----------
    text
        Whatever is about to be shown.
    """
    for value in _secret_values():
        text = text.replace(value, HIDDEN)
    return SHAPES.sub(HIDDEN, text)


class RedactingFormatter(logging.Formatter):
    """Formats a record, its traceback included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line or lines of a record."""
        return redact(super().format(record))


class RedactingFilter(logging.Filter):
    """Takes secrets out of the message of each record, for handlers with formats of their own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message; let every record pass."""
        record.msg, record.args = redact(record.getMessage()), ()
        return True


@contextmanager
def redacted_errors() -> Iterator[None]:
    """Take secrets out of the message of an error that leaves the block."""
    try:
        yield
    except BaseException as error:
        error.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in error.args)
        raise


def print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print a traceback without secrets: an excepthook."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _secret_values() -> list[str]:
    """Return the values of secret variables, long ones first, since one may hold another."""
    found = {v for name, v in os.environ.items() if SECRET_NAME.search(name)}
    return sorted((v for v in found if len(v) >= SHORTEST), key=len, reverse=True)
