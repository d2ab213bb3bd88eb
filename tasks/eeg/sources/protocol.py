"""What every source of recordings answers, whatever its files look like."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import mne
import pyarrow as pa

from tasks._errors import PerceptError


class SourceError(PerceptError):
    """A study on disk is not what its source expects."""


@dataclass(frozen=True)
class Recording:
    """One continuous recording.

    Attributes
    ----------
    recording_id
        For instance ``sub-01_ses-01``.
    subject, session
        For instance ``sub-01`` and ``ses-01``.
    path
        The file that MNE opens.
    """

    recording_id: str
    subject: str
    session: str
    path: Path


@dataclass(frozen=True)
class Event:
    """One presentation of a stimulus.

    Attributes
    ----------
    presentation_order
        Position in the recording; 0 is the first.
    onset_s
        From the first sample of the recording.
    duration_s
        How long the stimulus was shown.
    stimulus_id
        What was shown.
    block
        Block of the design; 0 where there are none.
    """

    presentation_order: int
    onset_s: float
    duration_s: float
    stimulus_id: str
    block: int


@dataclass(frozen=True)
class Stimulus:
    """One picture, the same for every subject and session."""

    stimulus_id: str
    concept: str
    image_path: Path


class Source(Protocol):
    """A study on disk. A new kind of study is one module with a class of this shape.

    Attributes
    ----------
    folder
        Where the study lies.
    """

    folder: Path

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject and session."""
        ...

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in order."""
        ...

    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus; its image need not exist, `ingest` checks that."""
        ...

    def read_raw(self, path: Path) -> mne.io.BaseRaw:
        """Open a recording without loading it: volts, channel types and electrode positions set."""
        ...

    def official_split(self) -> dict[str, str] | None:
        """Return the publisher's split by stimulus_id, or None where there is none."""
        ...

    def oracle(self) -> pa.Table | None:
        """Return what the best possible decoder answers, or None where the truth is unknown."""
        ...

    def topographies(self) -> pa.Table | None:
        """Return the true scalp strengths, or None where the truth is unknown."""
        ...
