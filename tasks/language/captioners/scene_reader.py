"""The captioner of simulated stimuli: reads the scene beside each picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.captioners.scene import describe
from tasks.language.quality import Status
from tasks.runtime.errors import PerceptError
from tasks.simulation.scene import Scene

STIMULI_PER_SHARD = 5000
"""A scene is described in less than a millisecond; starting a worker takes a second."""


class SidecarError(PerceptError):
    """The scene of a picture is missing or cannot be read."""


@dataclass(frozen=True)
class SidecarCaptioner(Captioner):
    """Writes exact captions from the scene that `simulate` put beside a picture."""

    def shards(self, stimuli: Sequence[Stimulus]) -> list[Sequence[Stimulus]]:
        """Split the stimuli into pieces that are worth a worker."""
        starts = range(0, len(stimuli), STIMULI_PER_SHARD)
        return [stimuli[start : start + STIMULI_PER_SHARD] for start in starts]

    def describe(self, stimuli: Sequence[Stimulus]) -> list[Caption]:
        """Return one caption per stimulus and kind.

        Raises
        ------
        SidecarError
            If a scene is missing or is none.
        """
        return [
            Caption(stimulus.stimulus_id, kind, text, Status.OK, "scene", "scene", "")
            for stimulus in stimuli
            for kind, text in describe(_read_scene(stimulus.image_path)).items()
        ]


def _read_scene(image_path: Path) -> Scene:
    path = image_path.with_suffix(".json")
    if not path.exists():
        raise SidecarError(
            f"caption.backend scene needs {path} beside the picture; it does not exist. "
            "Set caption.backend: openai for pictures that were not simulated."
        )
    try:
        return Scene.from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise SidecarError(
            f"{path} must hold a scene; it does not ({error}). Run `dvc repro simulate`."
        ) from error
