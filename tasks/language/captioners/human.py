"""The captioner that serves what people wrote in place of a model: the other side of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.checks import check_text, shorten
from tasks.language.human import CaptionFileError, read_human_captions, study_file
from tasks.language.prompts import KIND_NAMES
from tasks.language.quality import Status


@dataclass(frozen=True)
class HumanCaptioner(Captioner):
    """Takes captions that people wrote, such as COCO's.

    People were not asked for kinds or tiers: the captions of a picture take turns in the ten kinds, so
    that every head learns from human words and nothing else differs.

    Attributes
    ----------
    raw : Path
        Folder of all studies.
    file_name : str
        COCO-style JSON or CSV in the folder of the study.
    max_tokens : int
        Longer captions are cut at a word, in CLIP's tokens.
    """

    raw: Path
    file_name: str
    max_tokens: int

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Return one caption per stimulus and kind.

        Raises
        ------
        CaptionFileError
            If there is no file, or a stimulus is missing from it.
        """
        path = study_file(self.file_name, stimuli[0].image_path, self.raw)
        texts = read_human_captions(path, stimuli).texts
        without = [s.stimulus_id for s in stimuli if s.stimulus_id not in texts]
        if without:
            raise CaptionFileError(
                f"{path} must hold captions of every stimulus; {len(without)} have none, the first "
                f"is {without[0]}. Add them."
            )
        return [
            self._caption(stimulus.stimulus_id, kind, text)
            for stimulus in stimuli
            for kind, text in zip(KIND_NAMES, cycle(texts[stimulus.stimulus_id]), strict=False)
        ]

    def _caption(self, stimulus_id: str, kind: str, text: str) -> Caption:
        status = check_text(text, self.max_tokens)
        if status == Status.TOO_LONG:
            text, status = shorten(text, self.max_tokens), Status.SHORTENED
        return Caption(stimulus_id, kind, text, status, "human", "", "")
