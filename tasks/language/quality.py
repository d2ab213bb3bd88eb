"""What can be wrong with a caption, and what is done about it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Literal

from tasks.language.captioners.base import Caption
from tasks.runtime.errors import PerceptError

logger = logging.getLogger(__name__)

OnFailure = Literal["raise", "drop", "placeholder"]
PLACEHOLDER = "a picture"
"""What stands for a caption that is missing: it says nothing, and its status says why."""


class Status(StrEnum):
    """What became of a caption that was asked for."""

    OK = "ok"
    SHORTENED = "shortened"
    """Too long each time it was asked for, so it was cut at a word: usable, and flagged."""
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
    """More tokens than CLIP reads."""
    DUPLICATE = "duplicate"
    """The same words as another kind has for this picture."""
    WRONG_LANGUAGE = "wrong_language"
    OFF_TASK = "off_task"
    """The text speaks of instructions, or holds a link or code, as after words in a picture that instruct."""
    REJECTED = "rejected"
    """The server does not take the picture."""
    UNREADABLE = "unreadable"
    """The picture cannot be decoded, so nobody was asked."""


USABLE = frozenset({Status.OK, Status.SHORTENED})


class CaptionError(PerceptError):
    """Captions are missing or unusable."""


def usable(captions: Sequence[Caption], on_failure: OnFailure) -> list[Caption]:
    """Return the captions to go on with.

    Parameters
    ----------
    captions : Sequence[Caption]
        Every caption that was asked for.
    on_failure : {"raise", "drop", "placeholder"}
        What to do about the others: stop, leave them out, or put `PLACEHOLDER` in their place, with
        their status.

    Raises
    ------
    CaptionError
        If a caption is not usable and ``on_failure`` is ``raise``, or if none is usable.
    """
    failed = [caption for caption in captions if caption.status not in USABLE]
    if not failed:
        return list(captions)
    if on_failure == "raise" or len(failed) == len(captions):
        raise CaptionError(
            f"All {len(captions)} captions must be usable; {len(failed)} are not ({counts(failed)}; "
            f"the first is {failed[0].stimulus_id} {failed[0].kind}). Raise "
            "caption.openai.max_answers to ask again, or set caption.on_failure: drop or placeholder."
        )
    said = "Dropped" if on_failure == "drop" else "Placeholders for"
    logger.warning("%s %d of %d captions (%s).", said, len(failed), len(captions), counts(failed))
    if on_failure == "drop":
        return [caption for caption in captions if caption.status in USABLE]
    return [
        caption if caption.status in USABLE else replace(caption, text=PLACEHOLDER)
        for caption in captions
    ]


def counts(captions: Sequence[Caption]) -> str:
    """Return for instance ``refused: 10, too_long: 2``."""
    found = Counter(caption.status for caption in captions)
    return ", ".join(f"{status}: {count}" for status, count in sorted(found.items()))
