"""One prompt for the generator from captions of several kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tasks._errors import PerceptError
from tasks.diffusion.conditions import CLASS_NAME, Captions, Condition
from tasks.language.prompts import KIND_NAMES

DEFAULT_KINDS: tuple[str, ...] = ("ObjectSnap", "SpatialLink", "ScaleSense", "ThemeTag")
"""Kinds that together tell the object, its colour, place and size, and the theme."""

REMEDIES: Mapping[Condition, str] = MappingProxyType(
    {
        "decoded": "Run `dvc repro retrieve`.",
        "true_captions": "Run `dvc repro caption`.",
        "shuffled_eeg": "Run `dvc repro retrieve`.",
        "noise_eeg": "Train the encoder with these kinds.",
        "class_name": "Name the concepts in `ingest`.",
        "random_caption": "Run `dvc repro caption`.",
    }
)
"""What to do where a condition lacks a caption."""


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


def prompt_of(captions: Captions, kinds: Sequence[str], trial_id: str, condition: Condition) -> str:
    """Compose the nearest caption of each kind, or take the name of the concept as it is.

    Parameters
    ----------
    captions : Captions
        Of a trial in a condition.
    kinds : Sequence[str]
        Caption kinds that make up a prompt.
    trial_id, condition : str
        Whose they are.

    Raises
    ------
    PerceptError
        If a caption is missing or empty.
    """
    kinds = [CLASS_NAME] if condition == "class_name" else kinds
    texts = {kind: captions[kind][0].text.strip() for kind in kinds if captions.get(kind)}
    empty = [kind for kind in kinds if not texts.get(kind)]
    if empty:
        raise PerceptError(
            f"A prompt needs a caption of each kind; trial {trial_id} has none of "
            f"{', '.join(empty)} in the condition {condition}. {REMEDIES[condition]}"
        )
    return texts[CLASS_NAME] if condition == "class_name" else compose(texts, kinds)
