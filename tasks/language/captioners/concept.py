"""The captioner that asks nobody: the name of the concept in one sentence, for studies that train on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.checks import check_text
from tasks.language.prompts import KIND_NAMES

PROMPT = "a photo of a {}"
"""CLIP's prompt for the name of a class (Radford et al., ICML 2021, section 3.1.4)."""


@dataclass(frozen=True)
class ConceptCaptioner(Captioner):
    """Says the name of the concept that the study gives, in the first kind alone, without any cost.

    All pictures of a concept get one caption, so that these captions tell concepts apart and nothing else.

    Attributes
    ----------
    max_tokens : int
        Longest caption that is accepted, in CLIP's tokens.
    """

    kinds: ClassVar[tuple[str, ...]] = KIND_NAMES[:1]

    max_tokens: int

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Return one caption of the kind ObjectSnap per stimulus."""
        texts = [PROMPT.format(s.concept.replace("_", " ")) for s in stimuli]
        return [self._caption(s.stimulus_id, text) for s, text in zip(stimuli, texts, strict=True)]

    def _caption(self, stimulus_id: str, text: str) -> Caption:
        status = check_text(text, self.max_tokens)
        return Caption(stimulus_id, self.kinds[0], text, status, "concept", "", "")
