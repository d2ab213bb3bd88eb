"""What every captioner is given, gives back and can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tasks.language.prompts import KIND_NAMES


@dataclass(frozen=True)
class Stimulus:
    """A picture to describe.

    Attributes
    ----------
    stimulus_id : str
        Key of `stimuli`.
    image_path : Path
        The picture.
    sha256 : str
        Hexadecimal SHA-256 of the picture's bytes.
    concept : str
        What the study calls the thing in the picture; only captioners that look at no picture read it.
    """

    stimulus_id: str
    image_path: Path
    sha256: str
    concept: str = ""


@dataclass(frozen=True)
class Caption:
    """What one caption kind says of one stimulus.

    Attributes
    ----------
    stimulus_id : str
        Key of `stimuli`.
    kind : str
        Name of one of `tasks.language.prompts.KINDS`.
    text : str
        The caption; may be anything unless the status is ``ok``.
    status : str
        One of `tasks.language.quality.Status`.
    source : str
        Captioner that wrote it.
    model : str
        Model behind the captioner.
    prompt_sha256 : str
        Hexadecimal SHA-256 of what asked for it; empty where nothing was asked.
    """

    stimulus_id: str
    kind: str
    text: str
    status: str
    source: str
    model: str
    prompt_sha256: str


class Captioner(ABC):
    """Describes stimuli in every caption kind; picklable, so that shards can go anywhere.

    Attributes
    ----------
    kinds : tuple of str
        The kinds that are written: all of them, unless said otherwise.
    """

    kinds: ClassVar[tuple[str, ...]] = KIND_NAMES

    def shards(self, stimuli: Sequence[Stimulus]) -> list[Sequence[Stimulus]]:
        """Split the stimuli into pieces of work that may run side by side: one, unless said otherwise."""
        return [stimuli] if stimuli else []

    @abstractmethod
    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Return one caption per stimulus and kind that is written, each with its status."""
