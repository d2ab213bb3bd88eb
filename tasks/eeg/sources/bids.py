"""Studies in the Brain Imaging Data Structure (EEG-BIDS), with a table of what was shown."""

import csv
import re
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import mne
import numpy as np

from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    SourceError,
    SourceParams,
    Stimulus,
)

SUFFIXES = (".vhdr", ".edf", ".bdf", ".set", ".fif")
CHANNEL_TYPES = MappingProxyType(
    {
        "EEG": "eeg",
        "EOG": "eog",
        "HEOG": "eog",
        "VEOG": "eog",
        "ECG": "ecg",
        "EMG": "emg",
        "TRIG": "stim",
    }
)  # of channels.tsv; any other is "misc" to MNE
NOTHING = "n/a"


class BidsParams(SourceParams):
    """Which recordings are used, and where their stimuli are named."""

    name: Literal["bids"]
    task: str | None  # entity task-<task>; null where the study has one task
    stimulus_column: str  # of events.tsv: stim_file or trial_type, for the most part
    stimuli_table: (
        str  # TSV relative to the study: stimulus, image (relative to the study), concept
    )
    montage: str | None  # MNE's, where the files hold no electrode positions; null for none


class BidsSource:
    """Reads ``sub-*/[ses-*/]eeg/*_eeg.{vhdr,edf,bdf,set,fif}`` with the tables beside them.

    Events come from ``*_events.tsv``: lines whose stimulus column is ``n/a`` show nothing and are
    skipped. Where there is no such file, they are the annotations of the recording whose description
    is a stimulus. Channel types come from ``*_channels.tsv``, where there is one. Positions come from
    the recording or from ``montage``; ``electrodes.tsv`` is not read, nor are tables that BIDS lets
    stand further up for many recordings at once.

    Parameters
    ----------
    folder
        Where the study lies.
    params
        Task, columns and tables.
    """

    def __init__(self, folder: Path, params: BidsParams) -> None:
        self.folder, self.params = folder, params

    def recordings(self) -> list[Recording]:
        """Return every recording of the task, in order of subject, session and run."""
        globs = ("sub-*/eeg/*_eeg.*", "sub-*/ses-*/eeg/*_eeg.*")
        files = [path for pattern in globs for path in self.folder.glob(pattern)]
        paths = [path for path in files if path.suffix in SUFFIXES and self._is_of_task(path)]
        if not paths:
            task = self.params.task or "<task>"
            raise SourceError(
                f"{self.folder} must hold files named like sub-01/eeg/sub-01_task-{task}_eeg.vhdr "
                f"({', '.join(SUFFIXES)}); none was found. Put them there, or mend ingest.source.task."
            )
        tasks = {_entities(path).get("task", "") for path in paths}
        if len(tasks) > 1:
            raise SourceError(
                f"ingest.source.task must name one task; {self.folder} holds {sorted(tasks)}. Set it."
            )
        return sorted(map(_recording, paths), key=lambda recording: recording.recording_id)

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in order."""
        path = _beside(recording.path, "events")
        found = self._from_table(path) if path.exists() else self._from_annotations(recording)
        return [
            Event(order, onset_s, duration_s, name, 0)
            for order, (onset_s, duration_s, name) in enumerate(sorted(found))
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus, in the order of the table."""
        path = self.folder / self.params.stimuli_table
        rows = _read_rows(path, ("stimulus", "image", "concept"))
        return [Stimulus(name, concept, self.folder / image) for name, image, concept in rows]

    def read(self, recording: Recording) -> mne.io.BaseRaw:
        """Open a recording without loading it."""
        raw = mne.io.read_raw(recording.path, preload=False, verbose="ERROR")
        channels = _beside(recording.path, "channels")
        if channels.exists():
            _set_types(raw, channels)
        if self.params.montage is not None and _lacks_positions(raw):
            self._set_montage(raw)
        return raw

    def official_split(self) -> None:
        """Return None: the split is ours to make."""
        return

    def oracle(self) -> None:
        """Return None: the truth is unknown."""
        return

    def topographies(self) -> None:
        """Return None: the truth is unknown."""
        return

    def _is_of_task(self, path: Path) -> bool:
        return self.params.task in (None, _entities(path).get("task"))

    def _from_table(self, path: Path) -> list[tuple[float, float, str]]:
        """Return onset, duration and stimulus of each line that shows one; no duration is 0."""
        rows = _read_rows(path, ("onset", "duration", self.params.stimulus_column))
        shown = [row for row in rows if row[2] != NOTHING]
        try:
            return [(float(o), 0.0 if d == NOTHING else float(d), name) for o, d, name in shown]
        except ValueError as error:
            raise SourceError(
                f"{path} must hold numbers where they are due; {error}. Mend that line."
            ) from error

    def _from_annotations(self, recording: Recording) -> list[tuple[float, float, str]]:
        known = {stimulus.stimulus_id for stimulus in self.stimuli()}
        raw = self.read(recording)
        found = raw.annotations
        start_s = float(raw.first_time)
        shown = [
            (float(onset_s) - start_s, float(duration_s), str(name))
            for onset_s, duration_s, name in zip(
                found.onset, found.duration, found.description, strict=True
            )
            if name in known
        ]
        if not shown:
            raise SourceError(
                f"{recording.path} must have {_beside(recording.path, 'events').name} beside it, or "
                f"annotations that {self.params.stimuli_table} lists; its annotations are "
                f"{sorted(set(found.description))[:10]}. Add one or the other."
            )
        return shown

    def _set_montage(self, raw: mne.io.BaseRaw) -> None:
        try:
            raw.set_montage(self.params.montage, match_case=False, verbose="ERROR")
        except ValueError as error:
            raise SourceError(
                "ingest.source.montage must be a montage of MNE that holds every EEG channel; "
                f"{self.params.montage!r} does not fit ({error}). Name another, or give the channels "
                "without a position another type in channels.tsv."
            ) from error


def _entities(path: Path) -> dict[str, str]:
    """Return what the name says, for instance sub, ses, task and run."""
    return dict(re.findall(r"([a-z]+)-([^_]+)_", path.name))


def _recording(path: Path) -> Recording:
    entities = _entities(path)
    if "sub" not in entities:
        raise SourceError(
            f"A recording must be named like sub-01_task-name_eeg.vhdr; found {path.name}. Rename it."
        )
    subject, session = f"sub-{entities['sub']}", f"ses-{entities.get('ses', '01')}"
    run = f"_run-{entities['run']}" if "run" in entities else ""
    return Recording(f"{subject}_{session}{run}", subject, session, path)


def _beside(path: Path, kind: str) -> Path:
    """Return the table of this kind that belongs to a recording."""
    return path.with_name(path.stem.removesuffix("_eeg") + f"_{kind}.tsv")


def _set_types(raw: mne.io.BaseRaw, path: Path) -> None:
    """Set the channel types of channels.tsv, and refuse channels that it does not list."""
    types = {row[0]: row[1] for row in _read_rows(path, ("name", "type"))}
    unlisted = [name for name in raw.ch_names if name not in types]
    if unlisted:
        raise SourceError(
            f"{path} must list every channel of its recording; {len(unlisted)} are missing: "
            f"{', '.join(unlisted[:10])}. Add them."
        )
    found = {name: CHANNEL_TYPES.get(types[name].upper(), "misc") for name in raw.ch_names}
    raw.set_channel_types(found, on_unit_change="ignore", verbose="ERROR")


def _lacks_positions(raw: mne.io.BaseRaw) -> bool:
    picks = mne.pick_types(raw.info, eeg=True, exclude=())
    positions = np.array([raw.info["chs"][pick]["loc"][:3] for pick in picks])
    return not (np.isfinite(positions).all() and positions.any(axis=1).all())


def _read_rows(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the named columns of a tab-separated file, as text."""
    if not path.exists():
        raise SourceError(f"{path} must exist; it does not. Add it to the study.")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        found = list(reader.fieldnames or ())
        missing = [column for column in columns if column not in found]
        if missing:
            raise SourceError(
                f"{path} must have the columns {list(columns)}; {missing} are missing from {found}. "
                "Add them, or name another column in ingest.source."
            )
        rows = list(reader)
    short = [n for n, row in enumerate(rows, start=2) if any(row[c] is None for c in columns)]
    if short:
        raise SourceError(
            f"{path} must have {len(found)} columns in every line; line {short[0]} has fewer. "
            "It may be truncated: copy it from its origin again."
        )
    return [tuple(row[column] for column in columns) for row in rows]
