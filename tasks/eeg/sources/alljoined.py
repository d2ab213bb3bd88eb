"""Alljoined-1.6M (2025): THINGS pictures through a consumer headset, epochs as the publisher cut them."""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    StoredEpochs,
    info_with_montage,
)
from tasks.eeg.sources.things_eeg2_layouts import StoredFile, load_dict

SHOWN_S = 0.1  # of every 0.2 s
FILES = {"train": "preprocessed_eeg_training_flat.npy", "test": "preprocessed_eeg_test_flat.npy"}
COLUMNS = ("partition", "dropped", "session", "image_path", "category_name")
REMEDY = "Copy both from their origin again, of one release."


class AlljoinedParams(SourceParams):
    """Which files are there; folders are relative to the study."""

    name: Literal["alljoined"]
    eeg: str  # folder of sub-01, sub-02, ...
    metadata: str  # table in each of them: a row per trial
    images: str  # folder of the pictures, <name>.jpg
    montage: str  # MNE's, with the positions of the electrodes


class AlljoinedSource(Source):
    """Reads ``sub-01/preprocessed_eeg_{training,test}_flat.npy`` with the table of trials beside them.

    The epochs of a file belong to the rows of its partition that were not dropped, in their order. One
    recording per subject, session and partition. The epochs were whitened: they have no unit; the order of
    the rows is not that of presentation, as far as is known.
    """

    params: AlljoinedParams

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject, session and partition."""
        found = []
        for folder in self._subjects():
            table = self._trials(folder)
            for part, file in FILES.items():
                sessions = sorted(set(table.loc[table["partition"] == f"stim_{part}", "session"]))
                for session in sessions:
                    name = f"ses-{int(session):02}"
                    recording_id = f"{folder.name}_{name}_run-{part}"
                    found.append(
                        Recording(recording_id, folder.name, name, folder / file, timed=False)
                    )
        return sorted(found, key=lambda recording: recording.recording_id)

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording, in the order of the rows."""
        _, rows = self._part(recording)
        stored = self._load(recording)
        length_s = len(stored.times_s) * float(np.diff(stored.times_s).mean())
        return [
            Event(order, order * length_s, SHOWN_S, _image_name(path), 0)
            for order, path in enumerate(rows["image_path"])
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every picture that was shown, in order of the names."""
        concepts: dict[str, str] = {}
        for folder in self._subjects():
            table = self._trials(folder)
            names = map(_image_name, table["image_path"])
            concepts |= dict(zip(names, map(str, table["category_name"]), strict=True))
        images = self.folder / self.params.images
        return [Stimulus(name, concepts[name], images / f"{name}.jpg") for name in sorted(concepts)]

    def read(self, recording: Recording) -> StoredEpochs:
        """Return the epochs of one session."""
        places, _ = self._part(recording)
        stored = self._load(recording)
        step_s = float(np.diff(stored.times_s).mean())
        info = info_with_montage(stored.channels, round(1 / step_s, 6), "eeg", self.params.montage)
        eeg = stored.eeg[places].astype(np.float32, copy=False)
        return StoredEpochs(eeg, info, round(float(stored.times_s[0]), 9), "standardised")

    def official_split(self) -> dict[str, str]:
        """Return the publisher's split: test pictures show concepts that are trained on nowhere."""
        parts: dict[str, set[str]] = {"train": set(), "test": set()}
        concepts: dict[str, set[str]] = {"train": set(), "test": set()}
        for folder in self._subjects():
            table = self._trials(folder)
            for part in parts:
                rows = table[table["partition"] == f"stim_{part}"]
                parts[part] |= set(map(_image_name, rows["image_path"]))
                concepts[part] |= set(map(str, rows["category_name"]))
        if shared := parts["train"] & parts["test"]:
            raise SourceError(
                f"A picture must be in one partition; {len(shared)} are in both: "
                f"{', '.join(sorted(shared)[:10])}. {REMEDY}"
            )
        held_out = "test" if concepts["train"] & concepts["test"] else "zero_shot"
        return dict.fromkeys(parts["train"], "train") | dict.fromkeys(parts["test"], held_out)

    def _subjects(self) -> list[Path]:
        eeg = self.folder / self.params.eeg
        found = sorted(
            {path.parent for file in FILES.values() for path in eeg.glob(f"sub-*/{file}")}
        )
        if not found:
            raise SourceError(
                f"{eeg} must hold files named like sub-01/{FILES['train']}; none was found. Put them "
                "there, or mend ingest.source.eeg."
            )
        return found

    def _trials(self, folder: Path) -> pd.DataFrame:
        """Return the rows that were not dropped of a subject's table, in its order."""
        path = folder / self.params.metadata
        try:
            table: pd.DataFrame = pq.read_table(path, columns=list(COLUMNS)).to_pandas()
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(
                f"{path} must be a Parquet table with the columns {', '.join(COLUMNS)}; it cannot be read "
                f"({str(error).splitlines()[0]}). {REMEDY}"
            ) from error
        kept: pd.DataFrame = table[~table["dropped"].astype(bool)].reset_index(drop=True)
        return kept

    def _part(self, recording: Recording) -> tuple[np.ndarray, pd.DataFrame]:
        """Return the places in the file of a recording's epochs, and their rows."""
        table = self._trials(recording.path.parent)
        part = next(part for part, file in FILES.items() if file == recording.path.name)
        rows = table[table["partition"] == f"stim_{part}"].reset_index(drop=True)
        n_stored = len(self._load(recording).eeg)
        if len(rows) != n_stored:
            raise SourceError(
                f"{recording.path} must hold an epoch for each of the {len(rows)} trials of its partition "
                f"in {self.params.metadata} that were not dropped; it holds {n_stored}. {REMEDY}"
            )
        places = np.flatnonzero(rows["session"] == int(recording.session.removeprefix("ses-")))
        return places, rows.iloc[places]

    def _load(self, recording: Recording) -> StoredFile:
        path = recording.path
        found: dict[str, Any] = load_dict(path, ("preprocessed_eeg_data", "ch_names", "times"))
        eeg, names = np.asarray(found["preprocessed_eeg_data"]), list(map(str, found["ch_names"]))
        times_s = np.asarray(found["times"], np.float64)
        times_s = times_s[-eeg.shape[-1] :] if eeg.ndim else times_s
        if eeg.shape[1:] != (len(names), len(times_s)) or eeg.dtype.kind != "f" or len(times_s) < 2:
            raise SourceError(
                f"{path} must hold floats of trials x {len(names)} channels x {len(times_s)} times; it "
                f"holds an array of shape {eeg.shape} of {eeg.dtype}. {REMEDY}"
            )
        return StoredFile(eeg, names, times_s, None)


def _image_name(path: str) -> str:
    """Return the name of a picture without its folder and its ending."""
    return PurePosixPath(str(path).replace("\\", "/")).stem
