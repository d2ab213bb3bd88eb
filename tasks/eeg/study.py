"""What must hold of a study before anything is computed from it."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import mne

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
from tasks.runtime.files import sha256_of

LISTED = 10  # names in a message
EventsOf = Mapping[Recording, Sequence[Event]]


@dataclass(frozen=True)
class RecordingFacts:
    """What the header of a recording says, and the hash of its bytes."""

    recording: Recording
    sfreq_hz: float
    channels: tuple[str, ...]
    duration_s: float
    sha256: str


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
        If the file is truncated or holds no EEG.
    """
    try:
        found = source.read(recording)
        if not isinstance(found, StoredEpochs):
            found.get_data(start=found.n_times - 1)
    except BROKEN as error:
        raise SourceError(
            f"{recording.path} must be a whole recording; MNE cannot read it ({error}). "
            "Copy it from its origin again."
        ) from error
    picks = mne.pick_types(found.info, eeg=True, exclude=())
    if not len(picks):
        raise SourceError(
            f"{recording.path} must have EEG channels; its channels are of the types "
            f"{sorted(set(found.info.get_channel_types()))}. Set the types in the source."
        )
    sfreq_hz = float(found.info["sfreq"])
    if isinstance(found, StoredEpochs):
        files, n_samples = list(found.files), found.eeg.shape[0] * found.eeg.shape[2]
    else:
        files, n_samples = [Path(name) for name in found.filenames if name], found.n_times
    return RecordingFacts(
        recording=recording,
        sfreq_hz=sfreq_hz,
        channels=tuple(found.info["ch_names"][pick] for pick in picks),
        duration_s=n_samples / sfreq_hz,
        sha256=_sha256_of_all({recording.path, *files}),
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
    """Check that all recordings have the same rate and channels, and ids of their own.

    Raises
    ------
    SourceError
        If they do not.
    """
    _refuse_duplicates("recording ids", (fact.recording.recording_id for fact in facts))
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
                "Rename, reorder or drop channels in the source."
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
    for recording, rows in events.items():
        name = recording.recording_id
        if not rows:
            raise SourceError(f"{name} must have events; it has none. Add them or leave it out.")
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
    """Return the ids of the stimuli whose image file does not exist."""
    return {s.stimulus_id for s in stimuli if not s.image_path.is_file()}


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
