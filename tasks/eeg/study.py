"""What must hold of a study before anything is computed from it."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import mne
import numpy as np

from tasks.artifacts.pictures import examine
from tasks.eeg.sources.protocol import (
    BROKEN,
    Event,
    Recording,
    Source,
    SourceError,
    Stimulus,
    StoredEpochs,
)
from tasks.eeg.sources.truncation import is_absent
from tasks.runtime.files import sha256_of

LISTED = 10  # names in a message
EventsOf = Mapping[Recording, Sequence[Event]]


@dataclass(frozen=True)
class RecordingFacts:
    """What the header of a recording says, the hash of its bytes, and how many epochs it stores, if any."""

    recording: Recording
    sfreq_hz: float
    channels: tuple[str, ...]
    duration_s: float
    sha256: str
    n_epochs: int | None


@dataclass(frozen=True)
class ImageFacts:
    """Size and hash of an image file."""

    stimulus: Stimulus
    width_px: int
    height_px: int
    sha256: str


def examine_recording(source: Source, recording: Recording) -> RecordingFacts:
    """Open a recording, read its last sample and hash its files.

    Returns
    -------
    RecordingFacts
        What `recordings` shall say.

    Raises
    ------
    SourceError
        If the file is truncated, holds no EEG, or holds one epoch twice.
    """
    try:
        found = source.read(recording)
        if not isinstance(found, StoredEpochs):
            found.get_data(start=found.n_times - 1)
    except BROKEN as error:
        raise SourceError(
            f"{recording.path} must be a whole recording; its last sample cannot be read "
            f"({type(error).__name__}: {error}). Copy it from its origin again."
        ) from error
    picks = mne.pick_types(found.info, eeg=True, exclude=())
    if not len(picks):
        raise SourceError(
            f"{recording.path} must have EEG channels; its channels are of the types "
            f"{sorted(set(found.info.get_channel_types()))}. Set the types in the source."
        )
    sfreq_hz = float(found.info["sfreq"])
    if isinstance(found, StoredEpochs):
        _refuse_repeated_epochs(found, recording.path)
        files, n_samples = list(found.files), found.eeg.shape[0] * found.eeg.shape[2]
    else:
        files, n_samples = [Path(name) for name in found.filenames if name], found.n_times
    return RecordingFacts(
        recording=recording,
        sfreq_hz=sfreq_hz,
        channels=tuple(found.info["ch_names"][pick] for pick in picks),
        duration_s=n_samples / sfreq_hz,
        sha256=_sha256_of_all({recording.path, *files}),
        n_epochs=len(found.eeg) if isinstance(found, StoredEpochs) else None,
    )


def examine_images(stimuli: Sequence[Stimulus]) -> list[ImageFacts]:
    """Measure and hash image files.

    Raises
    ------
    SourceError
        If a file is no whole image.
    """
    return [_examine_image(stimulus) for stimulus in stimuli]


def check_recordings(facts: Sequence[RecordingFacts]) -> None:
    """Check that all recordings have the same rate and channels, and ids and bytes of their own.

    Raises
    ------
    SourceError
        If they do not.
    """
    _refuse_duplicates("recording ids", (fact.recording.recording_id for fact in facts))
    same: dict[str, Path] = {}
    for fact in facts:
        path = same.setdefault(fact.sha256, fact.recording.path)
        if path != fact.recording.path:
            raise SourceError(
                f"Every recording must be there once; {fact.recording.path} holds the very bytes of {path}. Take "
                "one of them away, or copy the right one from its origin."
            )
    first = facts[0]
    for fact in facts[1:]:
        names = f"{first.recording.recording_id} and {fact.recording.recording_id}"
        if fact.sfreq_hz != first.sfreq_hz:
            raise SourceError(
                f"All recordings must have one sampling rate; {names} have {first.sfreq_hz:g} and "
                f"{fact.sfreq_hz:g} Hz. Resample the raw files or leave one out."
            )
        if fact.channels != first.channels:
            differing = [
                f"{a} and {b}"
                for a, b in zip_longest(first.channels, fact.channels, fillvalue="none")
                if a != b
            ]
            raise SourceError(
                f"All recordings must have the same channels in one order; {names} have "
                f"{len(first.channels)} and {len(fact.channels)}, and differ in {len(differing)} places"
                f"{': ' + ', '.join(differing[:LISTED]) if differing else ''}. "
                "Rename, order or drop them by ingest.source.channels (sources bids and epochs), or in the files."
            )


def check_events(
    events: EventsOf, stimuli: Sequence[Stimulus], facts: Sequence[RecordingFacts]
) -> None:
    """Check that each trial is there once, inside its recording, and shows a known stimulus.

    Raises
    ------
    SourceError
        If a recording has no events, or an event breaks one of these rules.
    """
    check_listed(events, stimuli)
    duration_s = {fact.recording: fact.duration_s for fact in facts}
    n_epochs = {fact.recording: fact.n_epochs for fact in facts}
    for recording, rows in events.items():
        name = recording.recording_id
        if not rows:
            raise SourceError(f"{name} must have events; it has none. Add them or leave it out.")
        if n_epochs[recording] not in (None, len(rows)):
            raise SourceError(
                f"{name} must store one epoch per event; it stores {n_epochs[recording]} for {len(rows)} events. "
                f"Mend {recording.path} or the table that says what it shows."
            )
        _refuse_duplicates(f"presentation orders in {name}", (e.presentation_order for e in rows))
        _refuse_duplicates(f"onsets in {name}", (e.onset_s for e in rows))
        late = [event for event in rows if not 0 <= event.onset_s < duration_s[recording]]
        if late:
            raise SourceError(
                f"Every event of {name} must lie inside its {duration_s[recording]:.1f} s; {len(late)} "
                f"lie outside, the first at {late[0].onset_s:.3f} s. The recording is truncated, or "
                "the events belong to another one: copy both from their origin again."
            )


def check_listed(events: EventsOf, stimuli: Sequence[Stimulus]) -> None:
    """Check that each stimulus is listed once, and everything that was shown is listed.

    Raises
    ------
    SourceError
        If not.
    """
    _refuse_duplicates("stimulus ids", (stimulus.stimulus_id for stimulus in stimuli))
    known = {stimulus.stimulus_id for stimulus in stimuli}
    shown = {event.stimulus_id for rows in events.values() for event in rows}
    rule = "Every stimulus in the events must be listed among the stimuli"
    _refuse_missing(rule, shown - known, "Add them to its table, or mend the events.")


def check_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Check that no file name of a data set leads out of the study: ``../..``, or a path from the root.

    Links that the study's owner has put into the folder are followed as ever.

    Parameters
    ----------
    paths
        Files that the source names.

    Raises
    ------
    SourceError
        If one lies elsewhere.
    """
    inside = os.path.normpath(folder.absolute())
    for path in paths:
        if not Path(os.path.normpath(path.absolute())).is_relative_to(inside):
            raise SourceError(
                f"Every file of a study must lie in {folder}; the data set names {path}. "
                "Mend that name, or do not trust this data set."
            )


def missing_images(stimuli: Iterable[Stimulus]) -> set[str]:
    """Return the ids of the stimuli whose image file is not there, or but a stand-in for what was not fetched."""
    return {s.stimulus_id for s in stimuli if is_absent(s.image_path)}


def check_fetched(absent: Sequence[Path]) -> None:
    """Check that the disk holds the recordings that the study lists.

    Parameters
    ----------
    absent
        Files that it does not hold.

    Raises
    ------
    SourceError
        If there are any: the first ten and how many.
    """
    rule = "Every recording that the study lists must be on disk, and not a link or a stand-in"
    remedy = "Fetch them (`datalad get`, `git annex get`, `git lfs pull`), or set ingest.on_missing_recording to drop."
    _refuse_missing(rule, {path.as_posix() for path in absent}, remedy)


def is_held(recording: Recording, absent: Iterable[Path]) -> bool:
    """Return whether neither a recording nor a file of its name beside it is absent."""
    return not any(
        path.parent == recording.path.parent and path.stem == recording.path.stem for path in absent
    )


def repeated_images(images: Sequence[ImageFacts]) -> dict[str, str]:
    """Return the ids of pictures that have the bytes of an earlier one, with the id of that.

    The same picture under two names may be trained on and tested.
    """
    first: dict[str, str] = {}
    repeated = {}
    for image in images:
        name = image.stimulus.stimulus_id
        if (other := first.setdefault(image.sha256, name)) != name:
            repeated[name] = other
    return repeated


def check_repeated(repeated: Mapping[str, str]) -> None:
    """Check that no picture is there under two names.

    Parameters
    ----------
    repeated
        From `repeated_images`.

    Raises
    ------
    SourceError
        If one is: the first ten and how many.
    """
    if repeated:
        pairs = [f"{name} and {other}" for name, other in repeated.items()]
        raise SourceError(
            f"Every picture must be there under one name; {len(pairs)} have the very bytes of another: "
            f"{', '.join(pairs[:LISTED])}. Give them one name in the tables, or set ingest.on_repeated_image to "
            "drop, which leaves the trials of the former names out."
        )


def check_images(events: EventsOf, missing: set[str]) -> None:
    """Check that every picture that was shown is on disk.

    Raises
    ------
    SourceError
        If some are not: the first ten and how many.
    """
    shown = {event.stimulus_id for rows in events.values() for event in rows}
    rule = "Every stimulus in the events must have its image on disk"
    _refuse_missing(rule, shown & missing, "Add them, or set ingest.on_missing_image to drop.")


def without(events: EventsOf, missing: set[str]) -> EventsOf:
    """Return the events but for the presentations of some stimuli.

    Parameters
    ----------
    missing
        Their ids.
    """
    return {
        recording: [event for event in rows if event.stimulus_id not in missing]
        for recording, rows in events.items()
    }


def _examine_image(stimulus: Stimulus) -> ImageFacts:
    width_px, height_px = examine(stimulus.image_path)
    return ImageFacts(stimulus, width_px, height_px, sha256_of(stimulus.image_path))


def _refuse_repeated_epochs(found: StoredEpochs, path: Path) -> None:
    """Refuse an epoch that is there twice; the first samples tell which two may be alike. Flat ones are no matter."""
    _, kind, counts = np.unique(found.eeg[:, :, 0], axis=0, return_inverse=True, return_counts=True)
    seen: dict[bytes, int] = {}
    for place in np.flatnonzero(counts[kind] > 1).tolist():
        epoch = found.eeg[place]
        if np.ptp(epoch) > 0 and (other := seen.setdefault(epoch.tobytes(), place)) != place:
            raise SourceError(
                f"Every epoch must be there once; epochs {other} and {place} of {path} (0 is the first) hold the "
                "same numbers. Drop one of them, or copy the file from its origin again."
            )


def _sha256_of_all(paths: set[Path]) -> str:
    """Return the hash of one file, or of the hashes of several in order of their names."""
    hashes = [sha256_of(path) for path in sorted({path.resolve() for path in paths})]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _refuse_duplicates(what: str, values: Iterable[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise SourceError(
            f"All {what} must be unique; {len(twice)} occur more than once: "
            f"{', '.join(map(str, twice[:LISTED]))}. Mend the tables of the study."
        )


def _visible(name: str) -> str:
    """Return a name, in quotes where it would be read as another: empty, with spaces around it, unprintable."""
    return name if name and name.isprintable() and name == name.strip() else repr(name)


def _refuse_missing(rule: str, names: set[str], remedy: str) -> None:
    if names:
        raise SourceError(
            f"{rule}; {len(names)} are missing: {', '.join(map(_visible, sorted(names)[:LISTED]))}"
            f"{', ...' if len(names) > LISTED else ''}. {remedy}"
        )
