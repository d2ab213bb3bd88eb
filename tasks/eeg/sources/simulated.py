"""The simulated study: FIF recordings beside tables of events, stimuli and truth."""

from pathlib import Path
from typing import Literal

import mne
import pyarrow as pa

from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.tables import read_table
from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
)
from tasks.eeg.sources.truncation import refuse_truncated_fif
from tasks.eeg.sources.tsv import read_rows

REMEDY = "Run `dvc repro --force simulate` to make the study anew."


class SimulatedParams(SourceParams):
    """Nothing but where the study lies."""

    name: Literal["simulated"]


class SimulatedSource(Source):
    """Reads the layout that `simulate` writes.

    ``recordings/sub-01_ses-01_eeg.fif`` with ``sub-01_ses-01_events.tsv`` beside it, ``stimuli.tsv``,
    ``stimuli/<stimulus_id>.png`` and ``truth/*.parquet``.
    """

    params: SimulatedParams

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject and session."""
        paths = sorted(self.folder.glob("recordings/*_eeg.fif"))
        if not paths:
            raise SourceError(
                f"{self.folder / 'recordings'} must hold files named like sub-01_ses-01_eeg.fif; "
                f"none was found. {REMEDY}"
            )
        return [_recording(path) for path in paths]

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in order."""
        path = recording.path.with_name(f"{recording.recording_id}_events.tsv")
        columns = ("presentation_order", "onset_s", "duration_s", "stimulus_id", "block")
        rows = read_rows(path, columns, REMEDY)
        try:
            events = [Event(int(o), float(s), float(d), name, int(b)) for o, s, d, name, b in rows]
        except ValueError as error:
            raise SourceError(
                f"{path} must hold numbers where they are due; {error}. {REMEDY}"
            ) from error
        return sorted(events, key=lambda event: event.presentation_order)

    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus, in the order of ``stimuli.tsv``."""
        rows = read_rows(self.folder / "stimuli.tsv", ("stimulus_id", "concept"), REMEDY)
        images = self.folder / "stimuli"
        return [Stimulus(name, concept, images / f"{name}.png") for name, concept in rows]

    def read(self, recording: Recording) -> mne.io.BaseRaw:
        """Open a recording without loading it."""
        refuse_truncated_fif(recording.path, REMEDY)
        return mne.io.read_raw_fif(recording.path, verbose="ERROR")

    def oracle(self) -> pa.Table | None:
        """Return what the Bayes-optimal decoder answers on each trial."""
        return _read_truth(self.folder / "truth" / "oracle.parquet", ORACLE)

    def topographies(self) -> pa.Table | None:
        """Return the planted scalp strength of each factor."""
        return _read_truth(self.folder / "truth" / "topographies.parquet", TOPOGRAPHIES)


def _recording(path: Path) -> Recording:
    recording_id = path.name.removesuffix("_eeg.fif")
    subject, _, session = recording_id.partition("_")
    if not (subject.startswith("sub-") and session.startswith("ses-")):
        raise SourceError(
            f"A recording must be named like sub-01_ses-01_eeg.fif; found {path.name}. Rename it."
        )
    return Recording(recording_id, subject, session, path)


def _read_truth(path: Path, schema: pa.Schema) -> pa.Table | None:
    return read_table(path, schema) if path.exists() else None
