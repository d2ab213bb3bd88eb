"""Recordings as timestamped CSV files with a column of markers, as consumer headbands write them."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
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
from tasks.eeg.sources.truncation import is_absent
from tasks.runtime.params import Params

logger = logging.getLogger(__name__)


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
    marker_column: str | tuple[str, ...]  # 0 is no marker; several where files differ
    channels: dict[str, str]  # column to electrode
    unit_scale_uv: PositiveFloat  # microvolt in one unit of the columns
    sfreq_hz: PositiveFloat
    timestamps: Literal[
        "raise", "ignore", "sort", "merge", "resample"
    ]  # where they do not rise evenly
    max_gap_s: PositiveFloat  # from one timestamp to the next; more is an error
    max_drift_s: PositiveFloat  # of any timestamp from an even grid at sfreq_hz; more is an error
    duration_s: PositiveFloat  # how long a stimulus is shown
    montage: str  # MNE's, with the positions of the electrodes
    markers: dict[int, MarkerParams]


@dataclass(frozen=True)
class _Lines:
    """A file as it is used: s since the first line, microvolt (lines x channels), markers, and what was changed."""

    times_s: Float64[np.ndarray, "n_lines"]
    signal_uv: Float64[np.ndarray, "n_lines n_channels"]
    markers: Float64[np.ndarray, "n_lines"]
    warning: str


@dataclass(frozen=True)
class _Steps:
    """How timestamps follow each other."""

    n_back: int
    n_gaps: int
    least_s: float
    most_s: float
    drift_s: float

    @classmethod
    def of(cls, times_s: Float64[np.ndarray, "n_lines"], params: CsvStreamsParams) -> "_Steps":
        steps_s = np.diff(times_s, append=times_s[-1])
        grid_s = np.arange(len(times_s)) / params.sfreq_hz
        return cls(
            n_back=int((steps_s < 0).sum()),
            n_gaps=int((steps_s > params.max_gap_s).sum()),
            least_s=float(steps_s.min()),
            most_s=float(steps_s.max()),
            drift_s=float(np.abs(times_s - times_s[0] - grid_s).max()),
        )


class CsvStreamsSource(Source):
    """Reads one CSV file per run: a timestamp, the channels and a marker in each line.

    A marker often says no more than a class: the Muse recordings of cats and dogs do not tell which
    photograph was shown. Each marker therefore stands for one stimulus, with one photograph that
    represents its class. What is decoded is the class; nothing can be said of single photographs.

    The lines are taken as evenly spaced at ``sfreq_hz``, unless ``timestamps`` is ``resample``. Loggers write
    timestamps that step back, or a line twice; what becomes of them is said in a warning with its counts:

    - ``raise``: steps back, gaps, and drift from an even grid are refused.
    - ``ignore``: the lines stay in the order of the file, whatever their timestamps are.
    - ``sort``: the lines are put in the order of their timestamps, and then treated as by ``raise``.
    - ``merge``: as ``sort``, and the lines of one timestamp become one, the mean of their channels.
    - ``resample``: as ``merge``, and the channels are interpolated linearly at ``sfreq_hz``; gaps are annotated
      ``BAD_gap``, so that `preprocess` drops the trials over them.

    The runs of a session are numbered in order of their paths.
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
        lines, params = self._lines(recording.path), self.params
        markers = lines.markers
        before = np.concatenate([[0], markers[:-1]])
        samples = np.flatnonzero((markers != 0) & (markers != before))
        unknown = sorted(set(markers[samples].tolist()) - set(params.markers))
        if unknown:
            raise SourceError(
                f"Every marker in {recording.path} must be 0 or listed in ingest.source.markers; "
                f"{', '.join(f'{marker:g}' for marker in unknown[:10])} are not. List them."
            )
        names = [params.markers[int(markers[sample])].stimulus for sample in samples]
        is_timed = params.timestamps == "resample"
        onsets_s = lines.times_s[samples] if is_timed else samples / params.sfreq_hz
        return [
            Event(order, onset_s, params.duration_s, name, 0)
            for order, (onset_s, name) in enumerate(zip(onsets_s.tolist(), names, strict=True))
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return one stimulus per marker."""
        return [
            Stimulus(marker.stimulus, marker.concept, self.folder / marker.image)
            for _, marker in sorted(self.params.markers.items())
        ]

    def read(self, recording: Recording) -> mne.io.BaseRaw:
        """Read a recording; a text file cannot be opened without loading it."""
        params, path = self.params, recording.path
        lines = self._lines(path)
        if lines.warning:
            logger.warning("%s", lines.warning)
        electrodes = list(params.channels.values())
        info = info_with_montage(electrodes, params.sfreq_hz, "eeg", params.montage)
        if params.timestamps != "resample":
            return mne.io.RawArray(lines.signal_uv.T * 1e-6, info, verbose="ERROR")
        times_s = np.arange(int(lines.times_s[-1] * params.sfreq_hz) + 1) / params.sfreq_hz
        even = [np.interp(times_s, lines.times_s, channel) for channel in lines.signal_uv.T]
        raw = mne.io.RawArray(np.array(even) * 1e-6, info, verbose="ERROR")
        steps_s = np.diff(lines.times_s)
        gaps = np.flatnonzero(steps_s > params.max_gap_s)
        raw.set_annotations(mne.Annotations(lines.times_s[gaps], steps_s[gaps], "BAD_gap"))
        return raw

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
            if match and not is_absent(path):
                subject, session = match["subject"].zfill(2), match["session"].zfill(2)
                yield f"sub-{subject}", f"ses-{session}", path

    def _lines(self, path: Path) -> _Lines:
        """Return the lines of a file in the order that ``timestamps`` asks for, or say what is wrong with them."""
        params, table = self.params, self._table(path)
        times_s = table[params.timestamp_column].to_numpy(np.float64)
        signal_uv = table[list(params.channels)].to_numpy(np.float64) * params.unit_scale_uv
        markers = _joined(table.drop(columns=[params.timestamp_column, *params.channels]), path)
        if not np.isfinite(times_s).all():
            raise SourceError(
                f"Every line of {path} must have a timestamp; {(~np.isfinite(times_s)).sum()} have none. Leave "
                "the file out, or fill them in."
            )
        found = _Steps.of(times_s, params)
        n_lines = len(times_s)
        if params.timestamps in ("sort", "merge", "resample"):
            order = np.argsort(times_s, kind="stable")
            times_s, signal_uv, markers = times_s[order], signal_uv[order], markers[order]
        if params.timestamps in ("merge", "resample"):
            times_s, signal_uv, markers = _merged(times_s, signal_uv, markers, path)
        if params.timestamps in ("raise", "sort", "merge"):
            self._check_times(_Steps.of(times_s, params), path)
        n_merged = n_lines - len(times_s)
        odd = found.n_back or found.n_gaps or n_merged or found.drift_s > params.max_drift_s
        warning = (
            f"{path}: ingest.source.timestamps is {params.timestamps}; {found.n_back} of {n_lines} timestamps step "
            f"back, {found.n_gaps} steps exceed {params.max_gap_s:g} s, {n_merged} lines were merged, "
            f"and the timestamps strayed from an even grid by {found.drift_s:.3f} s."
        )
        return _Lines(times_s - times_s[0], signal_uv, markers, warning if odd else "")

    def _table(self, path: Path) -> pd.DataFrame:
        """Return the columns in use, as numbers; of the columns of markers, those that the file has."""
        params, markers = self.params, self.params.marker_column
        wanted = [params.timestamp_column, *params.channels]
        named = {markers} if isinstance(markers, str) else set(markers)
        try:
            has = named & set(pd.read_csv(path, nrows=0).columns)
            wanted += sorted(has or named)
            table = pd.read_csv(path, usecols=wanted)
        except ValueError as error:  # pandas' errors of parsing are among these
            raise SourceError(
                f"{path} must be a CSV file with the columns {wanted}; it is not ({error}). "
                "Mend the file or ingest.source."
            ) from error
        text = [name for name in wanted if not pd.api.types.is_numeric_dtype(table[name])]
        cut = len(table) and (
            table.iloc[-1].isna().any() or table[wanted[-len(has) :]].isna().any(axis=None)
        )
        if text or not len(table) or cut:
            raise SourceError(
                f"{path} must hold numbers in whole lines; {len(table)} lines were found, with text "
                f"in {text or 'no column'}. It may be truncated: copy it from its origin again."
            )
        return table

    def _check_times(self, steps: _Steps, path: Path) -> None:
        params = self.params
        if steps.n_back or steps.n_gaps:
            raise SourceError(
                f"The timestamps of {path} must rise by at most {params.max_gap_s:g} s; {steps.n_back} step back, "
                f"by {-min(steps.least_s, 0):.3f} s at most, and {steps.n_gaps} rise by more, by {steps.most_s:.3f} s at "
                "most. Set ingest.source.timestamps to sort or merge where lines are out of order or there twice, to "
                "resample where lines are missing, or to ignore where the clock is wrong and no line is missing."
            )
        if steps.drift_s > params.max_drift_s:
            raise SourceError(
                f"The timestamps of {path} must lie within {params.max_drift_s:g} s of a grid of "
                f"{params.sfreq_hz:g} Hz; they stray by {steps.drift_s:.3f} s. Mend ingest.source.sfreq_hz, raise "
                "ingest.source.max_drift_s, or set ingest.source.timestamps to resample."
            )


def _joined(columns: pd.DataFrame, path: Path) -> Float64[np.ndarray, "n_lines"]:
    """Return one marker per line from all columns of markers."""
    marked = columns.where(columns != 0)
    if both := (marked.min(axis=1) < marked.max(axis=1)).sum():
        raise SourceError(
            f"A line of {path} must have one marker; {both} lines have different ones in {list(columns.columns)}. "
            "Name the column that counts in ingest.source.marker_column."
        )
    return marked.max(axis=1).fillna(0).to_numpy(np.float64)


def _merged(
    times_s: np.ndarray, signal_uv: np.ndarray, markers: np.ndarray, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one line per timestamp: the mean of the channels, and the one marker that is not 0."""
    marked = pd.Series(markers).where(markers != 0).groupby(times_s)
    if both := (marked.min() < marked.max()).sum():
        raise SourceError(
            f"The lines of one timestamp in {path} must have one marker; {both} timestamps have several. Set "
            "ingest.source.timestamps to sort or ignore."
        )
    means_uv = pd.DataFrame(signal_uv).groupby(times_s).mean()
    found = marked.max().fillna(0)
    return means_uv.index.to_numpy(), means_uv.to_numpy(), found.to_numpy()
