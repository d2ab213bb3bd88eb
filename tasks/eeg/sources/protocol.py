"""What every source of recordings answers, whatever its files look like."""

import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from pydantic import Field

from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What readers of recordings and tables raise where these are broken."""


class SourceError(PerceptError):
    """A study on disk is not what its source expects."""


class SourceParams(Params):
    """What every source is told; a source adds its own."""

    name: str  # of the source
    folder: str  # the study is data/raw/<folder>


@dataclass(frozen=True)
class Recording:
    """One continuous recording, or one file's worth of a subject's epochs.

    Attributes
    ----------
    recording_id
        For instance ``sub-01_ses-01``.
    subject, session
        For instance ``sub-01`` and ``ses-01``.
    path
        The file that holds it.
    timed
        Whether the order and the onsets of its events are those of the experiment. Publishers of
        epochs often leave them out: nothing that rests on time can then be said of the recording.
    """

    recording_id: str
    subject: str
    session: str
    path: Path
    timed: bool = True


@dataclass(frozen=True)
class StoredEpochs:
    """Epochs as a publisher cut them, where the continuous recording is not to be had.

    Attributes
    ----------
    eeg
        One epoch per event, in the order of the events. It may be a read-only view of a file.
    info
        Channels, their types and positions, and the sampling rate.
    tmin_s
        Time of the first sample, relative to the onset.
    unit
        Of ``eeg``; ``standardised`` numbers have none, and no threshold in microvolt applies to them.
    files
        That hold it, or say what it shows, beside the recording's path.
    """

    eeg: Float32[np.ndarray, "n_events n_channels n_times"]
    info: mne.Info
    tmin_s: float
    unit: Literal["uV", "standardised"]
    files: tuple[Path, ...] = ()


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


class ChannelParams(Params):
    """Which channels of a file are used, and what they are called here."""

    rename: dict[str, str] = Field(
        description="names in the files, and the names of the montage; those that a file lacks are passed over"
    )
    order: tuple[str, ...] | None = Field(
        description="names after that, of the channels that are used, in one order for every file; null: all of them, as they come"
    )


class Source(ABC):
    """A study on disk. A new kind of study is one module with a class that inherits this.

    Whatever a reader raises of a broken file, in any of the methods here, becomes one sentence that names the
    file and what was raised.

    Parameters
    ----------
    params
        What ``ingest.source`` says of it; a source declares which class that is.
    """

    def __init__(self, folder: Path, params: SourceParams) -> None:
        self.folder, self.params = folder, params

    def __init_subclass__(cls) -> None:
        """Guard each call into a source."""
        for name in ("recordings", "events", "stimuli", "read", "official_split"):
            if name in vars(cls):
                setattr(cls, name, _guarded(vars(cls)[name]))

    @abstractmethod
    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject and session."""

    @abstractmethod
    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in order."""

    @abstractmethod
    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus; its image need not exist, `ingest` checks that."""

    @abstractmethod
    def read(self, recording: Recording) -> mne.io.BaseRaw | StoredEpochs:
        """Open a recording: channel types and electrode positions set; a raw one unloaded, in volt."""

    def official_split(self) -> dict[str, str] | None:
        """Return the publisher's split by stimulus_id, or None where there is none."""
        return None

    def oracle(self) -> pa.Table | None:
        """Return what the best possible decoder answers, or None where the truth is unknown."""
        return None

    def topographies(self) -> pa.Table | None:
        """Return the true scalp strengths, or None where the truth is unknown."""
        return None


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a source that raises nothing of broken files but `SourceError`."""

    @wraps(method)
    def guarded(source: Source, *recording: Recording) -> Any:
        try:
            return method(source, *recording)
        except BROKEN as error:
            where = recording[0].path if recording else source.folder
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise SourceError(
                f"{where} must be whole, and what the source {source.params.name} expects; it cannot be read "
                f"({type(error).__name__}: {reason}). Copy it from its origin again, or mend ingest.source."
            ) from error

    return guarded


def arrange_channels(
    found: mne.io.BaseRaw | mne.BaseEpochs, params: ChannelParams | None, path: Path
) -> None:
    """Rename, pick and order the channels of a recording, in place.

    Parameters
    ----------
    params
        ``ingest.source.channels``; None changes nothing.
    path
        The file, for errors.

    Raises
    ------
    SourceError
        If the file lacks a channel, or two would have one name.
    """
    if params is None:
        return
    names = {old: new for old, new in params.rename.items() if old in found.ch_names}
    try:
        found.rename_channels(names, verbose="ERROR")
        if params.order is not None:
            found.reorder_channels(list(params.order))
    except ValueError as error:
        raise SourceError(
            f"{path} must have every channel of ingest.source.channels, under one name each; it has "
            f"{', '.join(found.ch_names)} ({str(error).splitlines()[0].rstrip('.')}). Mend rename or order there."
        ) from error


def info_with_montage(
    names: Sequence[str], sfreq_hz: float, types: str | Sequence[str], montage: str
) -> mne.Info:
    """Return what MNE knows of channels, with the positions of electrodes.

    Parameters
    ----------
    types
        MNE's type of each channel, or of all.
    montage
        ``ingest.source.montage``, a montage of MNE.

    Raises
    ------
    SourceError
        If the montage is unknown or lacks an EEG channel.
    """
    try:
        info = mne.create_info(list(names), sfreq_hz, types, verbose="ERROR")
        return info.set_montage(montage, verbose="ERROR")
    except ValueError as error:
        raise SourceError(
            "ingest.source.montage must be a montage of MNE that holds every EEG channel; "
            f"{montage!r} does not fit ({error}). Name another."
        ) from error


def fill_in_positions(info: mne.Info, montage: str | None) -> mne.Info:
    """Give every EEG channel the position of a montage, unless all have one already.

    Parameters
    ----------
    info
        Is changed.
    montage
        ``ingest.source.montage``, a montage of MNE; None changes nothing.

    Raises
    ------
    SourceError
        If the montage is unknown or lacks an EEG channel.
    """
    picks = mne.pick_types(info, eeg=True, exclude=())
    places = np.array([info["chs"][pick]["loc"][:3] for pick in picks])
    if montage is None or (np.isfinite(places).all() and places.any(axis=1).all()):
        return info
    try:
        return info.set_montage(montage, match_case=False, verbose="ERROR")
    except ValueError as error:
        raise SourceError(
            "ingest.source.montage must be a montage of MNE that holds every EEG channel; "
            f"{montage!r} does not fit ({error}). Name another, or give the channels without a position "
            "another type than EEG."
        ) from error
