"""Studies in the Brain Imaging Data Structure (EEG-BIDS), with a table of what was shown."""

import json
import logging
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Literal

import mne
from mne_bids import (
    BIDSPath,
    find_matching_paths,
    get_bids_path_from_fname,
    read_raw_bids,
)

from tasks.eeg.sources.protocol import (
    BROKEN,
    ChannelParams,
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    arrange_channels,
    fill_in_positions,
)
from tasks.eeg.sources.truncation import refuse_truncated
from tasks.eeg.sources.tsv import read_header, read_rows

logger = logging.getLogger(__name__)

SUFFIXES = (".vhdr", ".edf", ".bdf", ".set", ".fif")
REMEDY = "Mend the study, or name something else in ingest.source."
NOTHING = "n/a"
FIRST_PART = ("1", "01", "001")  # entity split-<index>: MNE goes on to the others by itself
LISTED = 10  # names in a message
ROUNDING_S = 1.0  # durations are told in whole seconds now and then


class BidsParams(SourceParams):
    """Which recordings are used, and where their stimuli are named."""

    name: Literal["bids"]
    task: str | None  # entity task-<task>; null where the study has one task
    acquisition: str | None  # entity acq-<acquisition>; null where a run has one recording
    format: Literal["vhdr", "edf", "bdf", "set", "fif"] | None  # null where a run has one file
    channels: ChannelParams | None  # where files differ in names or order; null: as they are
    stimulus_column: str  # of events.tsv: stim_file or trial_type, for the most part
    on_other_event: Literal[
        "raise", "skip"
    ]  # lines that show what the table of stimuli does not list
    stimuli_table: str  # TSV relative to the study: stimulus, image (relative to the study), concept, maybe split
    montage: str | None  # MNE's, where the files hold no electrode positions; null for none


class BidsSource(Source):
    """Reads EEG recordings of any format of BIDS, through mne-bids.

    Channel types, channels that are marked as bad, and electrode positions come from ``*_channels.tsv``
    and ``*_electrodes.tsv`` beside a recording or, as BIDS allows, further up for many at once; positions
    that are nowhere come from ``montage``. Events come from ``*_events.tsv``: lines whose stimulus column
    is ``n/a`` show nothing and are skipped. Where there is no such file, they are the annotations of the
    recording whose description is a stimulus. FIF files are read too, though BIDS has them for MEG alone.
    A column ``split`` of the table of stimuli is the split ``official``; ``n/a`` there is none.
    A FIF recording in parts (``split-01``, ``split-02``) is one; folders beside ``sub-*``, such as
    ``derivatives``, are not looked at.
    """

    params: BidsParams

    def recordings(self) -> list[Recording]:
        """Return every recording of the task, in order of subject, session and run."""
        found = find_matching_paths(
            self.folder,
            tasks=self.params.task,
            acquisitions=self.params.acquisition,
            suffixes="eeg",
            extensions=f".{self.params.format}" if self.params.format else list(SUFFIXES),
            datatypes="eeg",
            ignore_nosub=True,
        )
        found = [path for path in found if path.split in (None, *FIRST_PART)]
        if not found:
            task = self.params.task or "<task>"
            raise SourceError(
                f"{self.folder} must hold files named like sub-01/eeg/sub-01_task-{task}_eeg.vhdr "
                f"({', '.join(SUFFIXES)}); none was found. Put them there, or mend ingest.source.task."
            )
        tasks = {path.task or "" for path in found}
        if len(tasks) > 1:
            raise SourceError(
                f"ingest.source.task must name one task; {self.folder} holds {sorted(tasks)}. Set it."
            )
        self._check_participants({f"sub-{path.subject}" for path in found})
        recordings = sorted(map(_recording, found), key=lambda recording: recording.recording_id)
        for one, other in pairwise(recordings):
            if one.recording_id == other.recording_id:
                raise SourceError(
                    f"{one.recording_id} must be one file; {one.path.name} and {other.path.name} are both there. Choose "
                    "by ingest.source.acquisition or format, or take one away."
                )
        return recordings

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in order."""
        path = _sidecar(recording.path, "events")
        found = self._from_annotations(recording) if path is None else self._from_table(path)
        if self.params.on_other_event == "skip":
            known = {stimulus.stimulus_id for stimulus in self.stimuli()}
            other = [name for _, _, name in found if name not in known]
            if other:
                text = "%s: %d events are skipped, for %s does not list what they show: %s"
                names = ", ".join(sorted(set(other))[:LISTED])
                logger.warning(
                    text, recording.recording_id, len(other), self.params.stimuli_table, names
                )
            found = [event for event in found if event[2] in known]
        return [
            Event(order, onset_s, duration_s, name, 0)
            for order, (onset_s, duration_s, name) in enumerate(sorted(found))
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus, in the order of the table."""
        path = self.folder / self.params.stimuli_table
        rows = read_rows(path, ("stimulus", "image", "concept"), REMEDY)
        return [Stimulus(name, concept, self.folder / image) for name, image, concept in rows]

    def official_split(self) -> dict[str, str] | None:
        """Return what the table of stimuli says in its column ``split``, or None where there is no such column."""
        path = self.folder / self.params.stimuli_table
        if "split" not in read_header(path, REMEDY):
            return None
        rows = read_rows(path, ("stimulus", "split"), REMEDY)
        return {name: part for name, part in rows if part != NOTHING}

    def read(self, recording: Recording) -> mne.io.BaseRaw:
        """Open a recording without loading it."""
        refuse_truncated(recording.path)
        bids = get_bids_path_from_fname(recording.path, check=False, verbose="ERROR")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of absent tables
                warnings.simplefilter("ignore", UserWarning)  # of blank lines in them
                raw = read_raw_bids(bids, verbose="ERROR")
        except BROKEN as error:
            if "read_epochs_eeglab" in str(error):
                raise SourceError(
                    f"{recording.path} must be continuous; it holds epochs. Open it with mne.read_epochs_eeglab, say in "
                    "its metadata what each epoch shows, save it as -epo.fif, and use the source epochs "
                    "(docs/real_recordings.md)."
                ) from error
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise SourceError(
                f"{recording.path} must be whole, with tables of its very channels and events; mne-bids "
                f"cannot read it ({reason}). Mend the file or its tables."
            ) from error
        _refuse_unlisted(raw, _sidecar(recording.path, "channels"))
        _refuse_short(raw, recording.path)
        arrange_channels(raw, self.params.channels, recording.path)
        fill_in_positions(raw.info, self.params.montage)
        return raw

    def _check_participants(self, subjects: set[str]) -> None:
        """Refuse recordings of nobody: a subject that participants.tsv, where there is one, lacks."""
        path = self.folder / "participants.tsv"
        if not path.exists():
            return
        known = {row[0] for row in read_rows(path, ("participant_id",), REMEDY)}
        if unknown := sorted(subjects - known):
            raise SourceError(
                f"{path} must list every subject with a recording; {len(unknown)} are missing: "
                f"{', '.join(unknown[:10])}. Add them, or take their recordings away."
            )

        if silent := sorted(known - subjects):
            text = "%s lists %d subjects without a recording of the task: %s"
            logger.warning(text, path, len(silent), ", ".join(silent[:LISTED]))

    def _from_table(self, path: Path) -> list[tuple[float, float, str]]:
        """Return onset, duration and stimulus of each line that shows one; no duration is 0."""
        rows = read_rows(path, ("onset", "duration", self.params.stimulus_column), REMEDY)
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
                f"{recording.path} must have {recording.path.stem.removesuffix('_eeg')}_events.tsv beside it, or "
                f"annotations that {self.params.stimuli_table} lists; its annotations are "
                f"{sorted(set(found.description))[:10]}. Add one or the other."
            )
        return shown


def _recording(found: BIDSPath) -> Recording:
    subject, session = f"sub-{found.subject}", f"ses-{found.session or '01'}"
    run = f"_run-{found.run}" if found.run else ""
    return Recording(f"{subject}_{session}{run}", subject, session, Path(found.fpath))


def _sidecar(path: Path, kind: str) -> Path | None:
    """Return the table of this kind that belongs to a recording: beside it, or further up for many."""
    bids = get_bids_path_from_fname(path, check=False, verbose="ERROR")
    found = bids.find_matching_sidecar(suffix=kind, extension=".tsv", on_error="ignore")
    return None if found is None else Path(str(found))


def _refuse_unlisted(raw: mne.io.BaseRaw, path: Path | None) -> None:
    """Refuse channels that the table of channels, where there is one, does not list."""
    listed = None if path is None else {row[0] for row in read_rows(path, ("name",), REMEDY)}
    unlisted = [] if listed is None else [name for name in raw.ch_names if name not in listed]
    if unlisted:
        raise SourceError(
            f"{path} must list every channel of its recording; {len(unlisted)} are missing: "
            f"{', '.join(unlisted[:10])}. Add them."
        )


def _refuse_short(raw: mne.io.BaseRaw, path: Path) -> None:
    """Refuse a recording that is shorter than the file beside it, of the same name in JSON, says."""
    described = path.with_suffix(".json")
    content = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    due_s = content.get("RecordingDuration", NOTHING)
    if not isinstance(due_s, int | float):
        return  # it is not told
    found_s = raw.n_times / raw.info["sfreq"]
    if found_s < due_s - ROUNDING_S:
        raise SourceError(
            f"{path} must last the {due_s:g} s that {described.name} tells; it lasts {found_s:g} s, so it "
            "was truncated. Copy it from its origin again."
        )
