"""Epochs that a lab has cut already: ``-epo.fif`` of MNE with metadata, or arrays beside a table."""

import re
import zipfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import mne
import numpy as np
import pandas as pd
from pydantic import Field, PositiveFloat

from tasks.eeg.sources.protocol import (
    ChannelParams,
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    StoredEpochs,
    arrange_channels,
    fill_in_positions,
    info_with_montage,
)
from tasks.eeg.sources.safe_loading import load_npy
from tasks.eeg.sources.truncation import is_absent, refuse_truncated
from tasks.runtime.params import Params

PLAUSIBLE_UV = (0.01, 5000.0)  # standard deviation of a typical EEG channel
SCALES = {"V": 1e6, "uV": 1.0, "standardised": 1.0}
LISTED = 10  # names in a message
REMEDY = "Mend the file, or name something else in ingest.source."


class ArrayParams(Params):
    """What an array does not say of itself."""

    channels: tuple[str, ...] = Field(
        min_length=1, description="names of the channels, in the order of the array"
    )
    sfreq_hz: PositiveFloat = Field(description="Hz; sampling rate")
    tmin_s: float = Field(description="s; first sample, relative to the onset of the picture")
    unit: Literal["V", "uV", "standardised"] = Field(description="of the numbers")


class EpochsParams(SourceParams):
    """Which files hold epochs, and which columns say what was shown."""

    name: Literal["epochs"]
    files: str  # regular expression of paths relative to the study, with groups subject and session
    arrays: ArrayParams | None  # of .npy and .npz files, each with a .csv of its name; null for FIF
    picture_column: str  # of the table: the picture, a path relative to images
    concept_column: str  # of the table: what is on it
    split_column: (
        str | None
    )  # of the table: train, validation, test or zero_shot; null where there is none
    images: str  # folder of the pictures
    in_order: bool  # whether a file's epochs are in the order of presentation
    channels: ChannelParams | None  # where FIF files differ in names or order; null: as they are
    montage: str | None  # MNE's, where the files hold no electrode positions; null for none


class EpochsSource(Source):
    """Reads one file per recording, and a row per epoch that says what was shown.

    ``-epo.fif``: the row is that of `mne.Epochs.metadata`. ``.npy``, or ``.npz`` with the one array or the
    array ``eeg`` in it: epochs x channels x times, and the row is that of the CSV file of the same name, with
    one line of names. The onsets are nominal, as if the epochs followed each other. The files of a session
    are numbered in order of their paths.
    """

    params: EpochsParams

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject, session and run."""
        found = sorted(self._files())
        if not found:
            raise SourceError(
                f"{self.folder} must hold files that match ingest.source.files {self.params.files!r}; none "
                "was found. Copy the epochs there, or mend the pattern."
            )
        recordings = []
        for (subject, session), group in groupby(found, key=lambda file: file[:2]):
            paths = [path for _, _, path in group]
            for run, path in enumerate(paths, start=1):
                name = f"{subject}_{session}" + (f"_run-{run:02d}" if len(paths) > 1 else "")
                recordings.append(Recording(name, subject, session, path, self.params.in_order))
        return recordings

    def events(self, recording: Recording) -> list[Event]:
        """Return one event per epoch, in their order."""
        table, length_s = self._table(recording.path), self._length_s(recording.path)
        return [
            Event(order, order * length_s, length_s, name, 0)
            for order, name in enumerate(table[self.params.picture_column])
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every picture that was shown, in order of the names."""
        images = self.folder / self.params.images
        concepts = self._of_pictures(self.params.concept_column)
        return [Stimulus(name, concepts[name], images / name) for name in sorted(concepts)]

    def official_split(self) -> dict[str, str] | None:
        """Return what the tables say in ``split_column``, or None where none is named."""
        if self.params.split_column is None:
            return None
        return self._of_pictures(self.params.split_column)

    def read(self, recording: Recording) -> StoredEpochs:
        """Return the epochs of a file in microvolt, or standardised; an array may stay on disk."""
        if self.params.arrays is None:
            return self._read_fif(recording.path)
        return self._read_array(recording.path, self.params.arrays)

    def _files(self) -> Iterator[tuple[str, str, Path]]:
        """Yield the subject, the session and the path of each file that matches."""
        pattern = re.compile(self.params.files)
        if not {"subject", "session"} <= set(pattern.groupindex):
            raise SourceError(
                "ingest.source.files must have the groups (?P<subject>...) and (?P<session>...); "
                f"it is {self.params.files!r}. Add them."
            )
        endings = (".fif",) if self.params.arrays is None else (".npy", ".npz")
        for path in self.folder.rglob("*"):
            match = pattern.fullmatch(path.relative_to(self.folder).as_posix())
            if match and not is_absent(path):
                if path.suffix not in endings:
                    raise SourceError(
                        f"Files that match ingest.source.files must end in {' or '.join(endings)} where "
                        f"ingest.source.arrays is {'set' if self.params.arrays else 'null'}; {path} does "
                        "not. Mend the pattern, or arrays."
                    )
                subject, session = match["subject"].zfill(2), match["session"].zfill(2)
                yield f"sub-{subject}", f"ses-{session}", path

    def _table(self, path: Path) -> pd.DataFrame:
        """Return a row of text per epoch: picture, concept and, where it is named, split."""
        p = self.params
        wanted = [c for c in (p.picture_column, p.concept_column, p.split_column) if c is not None]
        if p.arrays is None:
            where, found = path, _open_fif(path).metadata
            if found is None:
                raise SourceError(
                    f"{path} must have metadata that say what each epoch shows; it has none. Set "
                    f"epochs.metadata to a table with the columns {wanted}, and save the file again."
                )
        else:
            where, found = path.with_suffix(".csv"), _read_csv(path.with_suffix(".csv"))
            n_epochs = len(_load_array(path))
            if len(found) != n_epochs:
                raise SourceError(
                    f"{where} must have a row for each of the {n_epochs} epochs of {path.name}; it has "
                    f"{len(found)}. {REMEDY}"
                )
        missing = [column for column in wanted if column not in found.columns]
        if missing:
            raise SourceError(
                f"The table of {where} must have the columns {wanted}; {missing} are missing from "
                f"{[str(column) for column in found.columns]}. {REMEDY}"
            )
        for column in wanted:
            rows = np.flatnonzero(
                found[column].isna() | (found[column].astype(str).str.strip() == "")
            )
            if len(rows):
                raise SourceError(
                    f"Every row of {where} must say its {column!r}; {len(rows)} do not, the first is row "
                    f"{rows[0]} (0 is the first). Fill them in, or drop these epochs."
                )
        table: pd.DataFrame = found[wanted].astype(str).reset_index(drop=True)
        return table

    def _of_pictures(self, column: str) -> dict[str, str]:
        """Return what the tables of all files say of each picture."""
        said: dict[str, str] = {}
        for recording in self.recordings():
            table = self._table(recording.path)
            pairs = table[[self.params.picture_column, column]].drop_duplicates()
            for name, value in pairs.itertuples(index=False):
                if said.setdefault(name, value) != value:
                    raise SourceError(
                        f"A picture must have one {column!r} in all tables; {name} has {said[name]!r} and "
                        f"{value!r}, the latter in {recording.path}. {REMEDY}"
                    )
        return said

    def _length_s(self, path: Path) -> float:
        if self.params.arrays is None:
            epochs = _open_fif(path)
            return float(len(epochs.times) / epochs.info["sfreq"])
        return float(_load_array(path).shape[2] / self.params.arrays.sfreq_hz)

    def _read_fif(self, path: Path) -> StoredEpochs:
        epochs = _open_fif(path)
        arrange_channels(epochs, self.params.channels, path)
        eeg = epochs.get_data(copy=False, verbose="ERROR")  # freshly read: they were not preloaded
        info, tmin_s = epochs.info, round(float(epochs.tmin), 9)
        del epochs  # closes the file, whatever is refused below
        fill_in_positions(info, self.params.montage)
        eeg *= 1e6
        eeg = eeg.astype(np.float32)
        _refuse_other_units(path, eeg[:, mne.pick_types(info, eeg=True, exclude=())], "V")
        parts = tuple(sorted(path.parent.glob(f"{path.stem}-*.fif")))
        return StoredEpochs(eeg, info, tmin_s, "uV", parts)

    def _read_array(self, path: Path, params: ArrayParams) -> StoredEpochs:
        eeg = _load_array(path)
        if eeg.shape[1] != len(params.channels):
            raise SourceError(
                f"{path} must hold epochs x {len(params.channels)} channels x times, as many as "
                f"ingest.source.arrays.channels names; it holds an array of shape {eeg.shape}. Mend the names."
            )
        if params.unit != "uV":
            eeg = eeg * SCALES[params.unit]
        eeg = eeg.astype(np.float32, copy=False)
        if params.unit != "standardised":
            _refuse_other_units(path, eeg, params.unit)
        montage = self.params.montage
        if montage is None:
            info = mne.create_info(list(params.channels), params.sfreq_hz, "eeg", verbose="ERROR")
        else:
            info = info_with_montage(params.channels, params.sfreq_hz, "eeg", montage)
        unit: Literal["uV", "standardised"] = (
            "standardised" if params.unit == "standardised" else "uV"
        )
        return StoredEpochs(eeg, info, params.tmin_s, unit, (path.with_suffix(".csv"),))


def _open_fif(path: Path) -> mne.BaseEpochs:
    refuse_truncated(path)
    try:
        return mne.read_epochs(path, proj=False, preload=False, verbose="ERROR")
    except (ValueError, RuntimeError, OSError) as error:
        raise SourceError(
            f"{path} must hold epochs of MNE, under a name that ends in -epo.fif; MNE cannot read it "
            f"({str(error).strip().splitlines()[0]}). {REMEDY}"
        ) from error


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' errors of parsing are among these
        raise SourceError(
            f"{path} must be a CSV table with a row per epoch; it cannot be read ({error}). {REMEDY}"
        ) from error


def _load_array(path: Path) -> np.ndarray:
    """Return epochs x channels x times; the numbers of an ``.npy`` file stay on disk."""
    found = load_npy(path) if path.suffix == ".npy" else _load_npz(path)
    is_array = isinstance(found, np.ndarray)
    if is_array and found.ndim == 3 and found.dtype.kind == "f" and found.size:
        eeg: np.ndarray = found
        return eeg
    what = f"shape {found.shape} of {found.dtype}" if is_array else type(found).__name__
    raise SourceError(
        f"{path} must hold floats of epochs x channels x times; found {what}. {REMEDY}"
    )


def _load_npz(path: Path) -> Any:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            names = archive.files
            if "eeg" not in names and len(names) != 1:
                raise SourceError(
                    f"{path} must hold one array, or one called 'eeg'; it holds {names[:LISTED]}. {REMEDY}"
                )
            return archive["eeg" if "eeg" in names else names[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path} must be a whole .npz file of numbers; it cannot be read ({error}). Save it again."
        ) from error


def _refuse_other_units(path: Path, eeg: np.ndarray, unit: str) -> None:
    """Refuse what cannot be microvolt by now; channels that are not finite are left to `preprocess`."""
    low, high = PLAUSIBLE_UV
    spread = eeg[:: max(1, len(eeg) // 100)].std(axis=2)
    finite = spread[np.isfinite(spread)]
    typical = float(np.median(finite)) if len(finite) else low
    if not low <= typical <= high:
        raise SourceError(
            f"{path} must be in {unit}, with channels that deviate by {low:g} to {high:g} uV; a typical one "
            f"deviates by {typical:.3g} uV. Mend the unit of the file, or ingest.source.arrays.unit."
        )
