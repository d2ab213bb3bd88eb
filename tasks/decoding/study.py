"""A finished study for notebooks: its tables as pandas, its epochs as MNE's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mne
import pandas as pd
import pyarrow.parquet as pq

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table
from tasks.eeg.epochs import read_epochs
from tasks.runtime.errors import PerceptError


class StudyError(PerceptError):
    """A folder is no study, or lacks what is asked for."""


@dataclass(frozen=True)
class Study:
    """A study and what its stages have written.

    Attributes
    ----------
    artifacts : Artifacts
        Where it lies.
    """

    artifacts: Artifacts

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are there."""
        paths = self.artifacts.paths()
        return tuple(n for n, path in paths.items() if path.suffix == ".parquet" and path.exists())

    def table(self, name: str) -> pd.DataFrame:
        """Return a table, such as ``trials``, ``captions`` or ``retrievals``.

        Raises
        ------
        StudyError
            If there is none of this name.
        """
        if name not in self.tables:
            raise StudyError(f"A table must be one of {', '.join(self.tables)}; {name} is none.")
        frame: pd.DataFrame = pq.read_table(self.artifacts.paths()[name]).to_pandas()
        return frame

    def epochs(self, split: str | None = None) -> mne.EpochsArray:
        """Return the kept epochs in volt, with a row of ``trials`` each as metadata.

        Parameters
        ----------
        split : str or None
            Of one part of the study alone; None: all.

        Raises
        ------
        StudyError
            If no epoch is of this part.
        """
        trials = read_table(self.artifacts.trials, TRIALS).to_pandas()
        chosen = trials["kept"] & (True if split is None else trials["split"].eq(split))
        rows = trials[chosen].reset_index(drop=True)
        if rows.empty:
            found = ", ".join(sorted(set(trials["split"])))
            raise StudyError(f"A split must be one of {found} with kept trials; {split} is none.")
        eeg, info = read_epochs(self.artifacts.epochs, rows["trial_id"].tolist())
        about = mne.create_info(list(info.channels), info.sfreq_hz, "eeg")
        scale = 1e-6 if info.unit == "uV" else 1.0
        return mne.EpochsArray(
            eeg * scale, about, tmin=info.tmin_s, metadata=rows, baseline=None, verbose="ERROR"
        )


def load_study(folder: str | Path = ".") -> Study:
    """Open the study of a folder that holds params.yaml and what its stages have written.

    Raises
    ------
    StudyError
        If no stage has written anything there.
    """
    study = Study(Artifacts(Path(folder)))
    if not study.tables:
        raise StudyError(
            f"{folder} must be the folder of a study that was run; it holds no table. Run `dvc repro` there."
        )
    return study
