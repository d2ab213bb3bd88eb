"""Finished recordings, kept under a hash of everything that they depend on."""

import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.eeg.epochs import path_of
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint, sha256_of, write_json

CODE = (  # what the bytes depend on
    "averaging.py",
    "cleaning.py",
    "epochs.py",
    "quality.py",
    "repair.py",
    "resampling.py",
    "signal.py",
    "published_epochs.py",
    "trials.py",
    "whitening.py",
)
LIBRARIES = ("autoreject", "mne", "numpy", "pyarrow", "pyprep", "scikit-learn", "scipy")


class ShardError(PerceptError):
    """A cache entry cannot be trusted."""


@dataclass(frozen=True)
class Findings:
    """What became of one recording.

    Attributes
    ----------
    epochs
        File of the kept epochs.
    reject_reasons
        By trial_id; empty where the trial is kept.
    quality
        A row of `quality`.
    """

    epochs: Path
    reject_reasons: dict[str, str]
    quality: dict[str, Any]


@dataclass(frozen=True)
class ShardCache:
    """A folder with one subfolder per finished recording and set of params."""

    folder: Path

    def entry(self, name: str, inputs: Any) -> "Entry":
        """Return the place of a recording's results.

        Parameters
        ----------
        inputs
            All that its results depend on, beside the code, as JSON-able values.
        """
        code = [sha256_of(Path(__file__).with_name(module)) for module in CODE]
        key = fingerprint(inputs, code, [version(library) for library in LIBRARIES])
        return Entry(self.folder / f"{name}-{key}")

    def unused(self, published: Path) -> list[Path]:
        """Return the folders of recordings that are not those in ``published``, in the order of their names.

        Of several with the same epochs the last one is in use. What was finished by a step before the last
        (cleaned, and whitened since) counts as unused.

        Parameters
        ----------
        published
            Folder of the epochs of the study as it is now.
        """
        kept = {sha256_of(path): path.stem for path in published.glob("*.arrow")}
        used: dict[str, Path] = {}
        folders = sorted(path for path in self.folder.glob("*") if path.is_dir())
        for folder in folders:
            entry = Entry(folder)
            recording = kept.get(entry.checksum() or "", "")
            if recording and folder.name.startswith(f"{recording}-"):
                last = used.get(recording)
                if last is None or entry.finished_at() > Entry(last).finished_at():
                    used[recording] = folder
        return [folder for folder in folders if folder not in used.values()]


@dataclass(frozen=True)
class Entry:
    """The results of one recording; they count once ``findings.json`` is there, which is written last."""

    folder: Path

    @property
    def epochs(self) -> Path:
        """Where the epochs are to be written."""
        return path_of(self.folder, "epochs")

    @property
    def _findings(self) -> Path:
        return self.folder / "findings.json"

    def exists(self) -> bool:
        """Return whether the recording was finished before."""
        return self._findings.exists()

    def finished_at(self) -> float:
        """Return when the recording was finished, in seconds since 1970."""
        return self._findings.stat().st_mtime

    def checksum(self) -> str | None:
        """Return the SHA-256 of the epochs as it was noted; None where the recording was not finished."""
        if not self.exists():
            return None
        found: str | None = json.loads(self._findings.read_text()).get("epochs_sha256")
        return found

    def finish(self, reject_reasons: dict[str, str], quality: dict[str, Any]) -> Findings:
        """Note what was found, and that the epochs are whole."""
        content = {
            "epochs_sha256": sha256_of(self.epochs),
            "reject_reasons": reject_reasons,
            "quality": {key: _nan_to_none(value) for key, value in quality.items()},
        }
        write_json(self._findings, content)
        return self.read()

    def read(self) -> Findings:
        """Return what was found.

        Raises
        ------
        ShardError
            If the entry is not as it was written.
        """
        try:
            content = json.loads(self._findings.read_text())
            reasons, quality = content["reject_reasons"], content["quality"]
            whole = sha256_of(self.epochs) == content["epochs_sha256"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ShardError(self._complaint(f"it cannot be read ({error})")) from error
        if not whole:
            raise ShardError(self._complaint("the bytes of its epochs have changed"))
        quality = {key: math.nan if value is None else value for key, value in quality.items()}
        return Findings(self.epochs, reasons, quality)

    def _complaint(self, finding: str) -> str:
        return (
            f"The cache entry {self.folder} must be as it was written; {finding}. "
            "Delete that folder and run the stage again: the other recordings are kept."
        )


def _nan_to_none(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value
