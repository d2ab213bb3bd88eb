"""Recordings as timestamped CSV files with a column of markers, as consumer headbands write them."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float64
from pydantic import PositiveFloat

from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    info_with_montage,
)
from tasks.runtime.params import Params


class MarkerParams(Params):
    """What a marker stands for."""

    stimulus: str  # its id
    concept: str
    image: str  # path relative to the study


class CsvStreamsParams(SourceParams):
    """Which files are recordings, and what their columns mean."""

    name: Literal["csv_streams"]
    files: str  # regular expression of paths relative to the study, with groups subject and session
    timestamp_column: str  # s
    marker_column: str  # 0 is no marker
    channels: dict[str, str]  # column to electrode
    unit_scale_uv: PositiveFloat  # microvolt in one unit of the columns
    sfreq_hz: PositiveFloat
    max_gap_s: PositiveFloat  # from one timestamp to the next; more is an error
    max_drift_s: PositiveFloat  # of any timestamp from an even grid at sfreq_hz; more is an error
    duration_s: PositiveFloat  # how long a stimulus is shown
    montage: str  # MNE's, with the positions of the electrodes
    markers: dict[int, MarkerParams]


class CsvStreamsSource(Source):
    """Reads one CSV file per run: a timestamp, the channels and a marker in each line.

    A marker often says no more than a class: the Muse recordings of cats and dogs do not tell which
    photograph was shown. Each marker therefore stands for one stimulus, with one photograph that
    represents its class. What is decoded is the class; nothing can be said of single photographs.

    The samples are taken as evenly spaced at ``sfreq_hz``; timestamps with gaps, or that drift from
    that grid, are refused. The runs of a session are numbered in order of their paths.
    """

    params: CsvStreamsParams

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject, session and run."""
        found = sorted(self._files())
        if not found:
            raise SourceError(
                f"{self.folder} must hold files that match ingest.source.files "
                f"{self.params.files!r}; none was found. Copy the recordings there, or mend the pattern."
            )
        recordings = []
        for (subject, session), files in groupby(found, key=lambda file: file[:2]):
            for run, (_, _, path) in enumerate(files, start=1):
                name = f"{subject}_{session}_run-{run:02d}"
                recordings.append(Recording(name, subject, session, path))
        return recordings

    def events(self, recording: Recording) -> list[Event]:
        """Return one event for each marker, at the first of its samples."""
        markers = self._table(recording)[self.params.marker_column].to_numpy()
        before = np.concatenate([[0], markers[:-1]])
        samples = np.flatnonzero((markers != 0) & (markers != before))
        unknown = sorted(set(markers[samples].tolist()) - set(self.params.markers))
        if unknown:
            raise SourceError(
                f"Every marker in {recording.path} must be 0 or listed in ingest.source.markers; "
                f"{unknown[:10]} are not. List them."
            )
        names = [self.params.markers[int(markers[sample])].stimulus for sample in samples]
        onsets_s = (samples / self.params.sfreq_hz).tolist()
        return [
            Event(order, onset_s, self.params.duration_s, name, 0)
            for order, (onset_s, name) in enumerate(zip(onsets_s, names, strict=True))
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return one stimulus per marker."""
        return [
            Stimulus(marker.stimulus, marker.concept, self.folder / marker.image)
            for _, marker in sorted(self.params.markers.items())
        ]

    def read(self, recording: Recording) -> mne.io.BaseRaw:
        """Read a recording; a text file cannot be opened without loading it."""
        params = self.params
        table = self._table(recording)
        self._check_times(table[params.timestamp_column].to_numpy(np.float64), recording.path)
        electrodes = list(params.channels.values())
        info = info_with_montage(electrodes, params.sfreq_hz, "eeg", params.montage)
        signal_uv = table[list(params.channels)].to_numpy(np.float64).T * params.unit_scale_uv
        return mne.io.RawArray(signal_uv * 1e-6, info, verbose="ERROR")

    def _files(self) -> Iterator[tuple[str, str, Path]]:
        """Yield the subject, the session and the path of each file that matches."""
        pattern = re.compile(self.params.files)
        if not {"subject", "session"} <= set(pattern.groupindex):
            raise SourceError(
                "ingest.source.files must have the groups (?P<subject>...) and (?P<session>...); "
                f"it is {self.params.files!r}. Add them."
            )
        for path in self.folder.rglob("*"):
            match = pattern.fullmatch(path.relative_to(self.folder).as_posix())
            if match and path.is_file():
                subject, session = match["subject"].zfill(2), match["session"].zfill(2)
                yield f"sub-{subject}", f"ses-{session}", path

    def _table(self, recording: Recording) -> pd.DataFrame:
        """Return the columns in use, as numbers."""
        params, path = self.params, recording.path
        wanted = [params.timestamp_column, *params.channels, params.marker_column]
        try:
            table = pd.read_csv(path, usecols=wanted)
        except ValueError as error:  # pandas' errors of parsing are among these
            raise SourceError(
                f"{path} must be a CSV file with the columns {wanted}; it is not ({error}). "
                "Mend the file or ingest.source."
            ) from error
        text = [name for name in wanted if not pd.api.types.is_numeric_dtype(table[name])]
        if text or not len(table) or table.iloc[-1].isna().any():
            raise SourceError(
                f"{path} must hold numbers in whole lines; {len(table)} lines were found, with text "
                f"in {text or 'no column'}. It may be truncated: copy it from its origin again."
            )
        return table

    def _check_times(self, times_s: Float64[np.ndarray, "n_samples"], path: Path) -> None:
        params = self.params
        gaps_s = np.diff(times_s)
        n_gaps = int((~((gaps_s >= 0) & (gaps_s <= params.max_gap_s))).sum())  # NaN is a gap, too
        if n_gaps:
            raise SourceError(
                f"The timestamps of {path} must rise by at most {params.max_gap_s:g} s; {n_gaps} do "
                f"not, and the steps reach from {np.nanmin(gaps_s):.3f} to {np.nanmax(gaps_s):.3f} s. "
                "Leave the file out, or raise ingest.source.max_gap_s."
            )
        drift_s = np.abs(times_s - times_s[0] - np.arange(len(times_s)) / params.sfreq_hz).max()
        if drift_s > params.max_drift_s:
            raise SourceError(
                f"The timestamps of {path} must lie within {params.max_drift_s:g} s of a grid of "
                f"{params.sfreq_hz:g} Hz; they stray by {drift_s:.3f} s. "
                "Mend ingest.source.sfreq_hz, or raise ingest.source.max_drift_s."
            )
