"""What can be wrong with a caption, and what is done about it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from tasks._errors import PerceptError
from tasks.language.captioners.base import Caption

logger = logging.getLogger(__name__)

OnFailure = Literal["raise", "drop"]


class Status(StrEnum):
    """What became of a caption that was asked for."""

    OK = "ok"
    REFUSED = "refused"
    """The model declined to describe the picture."""
    FILTERED = "filtered"
    """A content filter withheld the answer."""
    TRUNCATED = "truncated"
    """The answer ended before its last caption."""
    INVALID = "invalid"
    """The answer does not follow the schema."""
    EMPTY = "empty"
    TOO_LONG = "too_long"
    REJECTED = "rejected"
    """The server does not take the picture."""
    UNREADABLE = "unreadable"
    """The picture cannot be decoded, so nobody was asked."""


class CaptionError(PerceptError):
    """Captions are missing or unusable."""


def judge(text: str, max_words: int) -> Status:
    """Return whether a caption that arrived as text can be used.

    Parameters
    ----------
    text : str
        The caption.
    max_words : int
        Longest caption that is accepted.
    """
    n_words = len(text.split())
    if not n_words:
        return Status.EMPTY
    return Status.OK if n_words <= max_words else Status.TOO_LONG


def usable(captions: Sequence[Caption], on_failure: OnFailure) -> list[Caption]:
    """Return the captions whose status is ``ok``.

    Parameters
    ----------
    captions : Sequence[Caption]
        Every caption that was asked for.
    on_failure : {"raise", "drop"}
        What to do about the others.

    Raises
    ------
    CaptionError
        If a caption is not usable and ``on_failure`` is ``raise``, or if none is usable.
    """
    failed = [caption for caption in captions if caption.status != Status.OK]
    kept = [caption for caption in captions if caption.status == Status.OK]
    if not failed:
        return kept
    message = (
        f"All {len(captions)} captions must be usable; {len(failed)} are not ({_counts(failed)}; "
        f"the first is {failed[0].stimulus_id} {failed[0].kind}). "
        "Raise caption.openai.max_answers to ask again, or set caption.on_failure: drop."
    )
    if on_failure == "raise" or not kept:
        raise CaptionError(message)
    logger.warning("Dropped %d of %d captions (%s).", len(failed), len(captions), _counts(failed))
    return kept


def _counts(captions: Sequence[Caption]) -> str:
    """Return for instance ``refused: 10, too_long: 2``."""
    counts = Counter(caption.status for caption in captions)
    return ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
