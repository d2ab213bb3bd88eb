"""The captioner of studies whose captions exist already: reads them from a file of the study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.checks import check_text
from tasks.language.human import CaptionFileError, study_file
from tasks.language.prompts import KIND_NAMES

FILE_NAME = "captions.json"


@dataclass(frozen=True)
class FileCaptioner(Captioner):
    """Takes captions from ``captions.json``: ``{stimulus_id: {kind: text}}``, with all ten kinds.

    The file lies in the folder of a picture or in the nearest one above that has it, ``raw``
    excluded: in general, that is the folder of the study.

    Attributes
    ----------
    raw : Path
        Folder of all studies.
    max_tokens : int
        Longest caption that is accepted, in CLIP's tokens.
    """

    raw: Path
    max_tokens: int

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Return one caption per stimulus and kind.

        Parameters
        ----------
        stimuli : Sequence[Stimulus]
            Pictures of studies that have the file.

        Raises
        ------
        CaptionFileError
            If there is no file, or a stimulus or a kind is missing from it.
        """
        paths = [study_file(FILE_NAME, stimulus.image_path, self.raw) for stimulus in stimuli]
        known = {path: _read_captions(path) for path in set(paths)}
        return [
            Caption(
                stimulus.stimulus_id, kind, text, check_text(text, self.max_tokens), "file", "", ""
            )
            for stimulus, path in zip(stimuli, paths, strict=True)
            for kind, text in _texts(known[path], stimulus.stimulus_id, path).items()
        ]


def _read_captions(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise CaptionFileError(f"{path} must be JSON; it is not ({error}). Mend it.") from error
    if not isinstance(content, dict):
        raise CaptionFileError(
            f"{path} must map each stimulus_id to its captions; it holds a {type(content).__name__}. "
            "Mend it."
        )
    return content


def _texts(content: Mapping[str, object], stimulus_id: str, path: Path) -> dict[str, str]:
    """Return the captions of one stimulus in the order of the kinds."""
    captions = content.get(stimulus_id)
    if not isinstance(captions, dict):
        raise CaptionFileError(
            f"{path} must hold the captions of every stimulus; {stimulus_id} has none. Add them."
        )
    wrong = [kind for kind in KIND_NAMES if not isinstance(captions.get(kind), str)]
    unknown = sorted(set(captions) - set(KIND_NAMES))
    if wrong or unknown:
        raise CaptionFileError(
            f"{path} must hold one text for each of the kinds {', '.join(KIND_NAMES)}; for "
            f"{stimulus_id} {wrong or 'none'} are missing and {unknown or 'none'} are unknown. Mend it."
        )
    return {kind: captions[kind] for kind in KIND_NAMES}
