"""One prompt for the generator from captions of several kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks._errors import PerceptError
from tasks.language.prompts import KIND_NAMES

DEFAULT_KINDS: tuple[str, ...] = ("ObjectSnap", "SpatialLink", "ScaleSense", "ThemeTag")
"""Kinds that together tell the object, its colour, place and size, and the theme."""


def compose(captions: Mapping[str, str], kinds: Sequence[str]) -> str:
    """Join the captions of the chosen kinds, object tier first, thematic tier last.

    Parameters
    ----------
    captions : Mapping[str, str]
        Kind to caption; further kinds are ignored.
    kinds : Sequence[str]
        Chosen kinds in any order: the prompt follows the order of `tasks.language.prompts.KINDS`.

    Returns
    -------
    str
        The captions, joined by commas.

    Raises
    ------
    PerceptError
        If no kind is chosen, a kind is unknown or its caption is missing.
    """
    if not kinds:
        raise PerceptError("A prompt needs at least one caption kind; found none. Choose some.")
    for kind in kinds:
        if kind not in KIND_NAMES:
            raise PerceptError(f"Caption kinds are {list(KIND_NAMES)}; found {kind!r}. Correct it.")
        if kind not in captions:
            raise PerceptError(
                f"A prompt of {list(kinds)} needs a caption of each; {kind!r} is missing. Caption it."
            )
    return ", ".join(captions[kind] for kind in KIND_NAMES if kind in kinds)
