"""The files of THINGS-EEG2: recordings, and the four ways in which its epochs are stored."""

import json
import math
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.safe_loading import load_npy, load_pth

Part = Literal["training", "test"]
Layout = Literal["raw", "official", "nice", "ubp", "arrays"]
PARTS: tuple[Part, ...] = ("training", "test")
FILES = MappingProxyType(
    {
        "raw": ("sub-*/ses-*/raw_eeg_training.npy", "sub-*/ses-*/raw_eeg_test.npy"),
        "official": ("sub-*/preprocessed_eeg_training.npy", "sub-*/preprocessed_eeg_test.npy"),
        "nice": ("sub-*/preprocessed_eeg_training.npy", "sub-*/preprocessed_eeg_test.npy"),
        "ubp": ("sub-*/train.pt", "sub-*/test.pt"),
        "arrays": ("sub-*/train.npy", "sub-*/test.npy"),
    }
)
NICE_CHANNELS = (
    "Fp1", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8", "F7", "F5", "F3", "F1", "F2", "F4", "F6", "F8",
    "FT9", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10", "T7", "C5", "C3",
    "C1", "Cz", "C2", "C4", "C6", "T8", "TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4",
    "CP6", "TP8", "TP10", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO3", "POz",
    "PO4", "PO8", "O1", "Oz", "O2",
)  # Fz is the reference of the recording  # fmt: skip
NICE_SFREQ_HZ = 250.0
TARGET = 99999  # the trials of the subjects' task
PLAUSIBLE_V = (1e-7, 2e-3)  # standard deviation of a typical EEG channel
REMEDY = "Copy it from its origin again, or mend ingest.source.layout."


@dataclass(frozen=True)
class RawFile:
    """One continuous recording.

    Attributes
    ----------
    signal
        In volt, without the trigger.
    channels, types
        Names, and types as MNE calls them.
    sfreq_hz
        Sampling rate.
    trigger
        0, the number of a picture (1 is the first of the metadata) or TARGET.
    """

    signal: Float64[np.ndarray, "n_channels n_samples"]
    channels: list[str]
    types: list[str]
    sfreq_hz: float
    trigger: Float64[np.ndarray, "n_samples"]


@dataclass(frozen=True)
class StoredFile:
    """The epochs of one file: images x repetitions x channels x times.

    Attributes
    ----------
    eeg
        As stored; it may be a read-only view of the file.
    channels
        Names.
    times_s
        Of each sample, relative to the onset.
    images
        ``<folder>/<file>`` of each image, where the file says so.
    """

    eeg: np.ndarray
    channels: list[str]
    times_s: Float64[np.ndarray, "n_times"]
    images: list[str] | None


def part_of(path: Path) -> Part:
    """Return the part of the study that a file holds.

    Parameters
    ----------
    path
        One of ``FILES``.
    """
    return "test" if path.stem.endswith("test") else "training"


def load_raw(path: Path) -> RawFile:
    """Return a continuous recording.

    Parameters
    ----------
    path
        ``raw_eeg_training.npy`` or ``raw_eeg_test.npy``.

    Raises
    ------
    SourceError
        If the file lacks something, or its numbers are not in volt.
    """
    found = load_dict(path, ("raw_eeg_data", "ch_names", "ch_types", "sfreq"))
    data = np.asarray(found.pop("raw_eeg_data"), np.float64)
    names, types = list(map(str, found["ch_names"])), list(map(str, found["ch_types"]))
    if data.ndim != 2 or not len(data) == len(names) == len(types):
        raise SourceError(
            f"{path} must hold one row of raw_eeg_data per channel; it holds an array of shape "
            f"{data.shape}, {len(names)} names and {len(types)} types. {REMEDY}"
        )
    if types.count("stim") != 1:
        raise SourceError(
            f"{path} must hold one channel of type stim; it holds {types.count('stim')}. {REMEDY}"
        )
    stim = types.index("stim")
    trigger = data[stim].copy()
    last = stim == len(data) - 1
    signal = data[:-1] if last else np.delete(data, stim, axis=0)  # a view needs no second copy
    del names[stim], types[stim]
    _refuse_other_units(path, signal[np.array(types) == "eeg"])
    return RawFile(signal, names, types, float(found["sfreq"]), trigger)


def load_stored(path: Path, layout: Layout) -> StoredFile:
    """Return stored epochs.

    Parameters
    ----------
    path
        A file of this layout.
    layout
        Any but ``raw``.

    Raises
    ------
    SourceError
        If the file lacks something, or its shape is not what its channels and times say.
    """
    if layout == "arrays":
        stored = _load_array(path)
    elif layout == "ubp":
        stored = _stored(path, load_dict(path, ("eeg", "ch_names", "times")), "eeg")
    else:
        keys = ("preprocessed_eeg_data", "ch_names", "times")
        stored = _stored(path, load_dict(path, keys), keys[0])
    shape, steps_s = stored.eeg.shape, np.diff(stored.times_s)
    if len(shape) != 4 or shape[2:] != (len(stored.channels), len(stored.times_s)):
        raise SourceError(
            f"{path} must hold images x repetitions x {len(stored.channels)} channels x "
            f"{len(stored.times_s)} times; it holds an array of shape {shape}. {REMEDY}"
        )
    if not len(steps_s) or steps_s.min() <= 0 or not np.allclose(steps_s, steps_s[0], rtol=1e-3):
        raise SourceError(
            f"The times of {path} must rise evenly; they are {stored.times_s[:5].tolist()} and so on. "
            f"{REMEDY}"
        )
    return stored


def load_dict(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return a dict that was saved by numpy, pickle or torch.

    Raises
    ------
    SourceError
        If the file is missing or broken, or lacks something.
    """
    if not path.exists():
        raise SourceError(
            f"{path} must exist; it does not. Copy it from its origin, or mend ingest.source."
        )
    found = _load_pt(path) if path.suffix == ".pt" else load_npy(path)
    if not isinstance(found, dict):
        raise SourceError(f"{path} must hold a dict; it holds a {type(found).__name__}. {REMEDY}")
    missing = [key for key in keys if key not in found]
    if missing:
        raise SourceError(
            f"{path} must hold {', '.join(keys)}; {', '.join(missing)} are missing from "
            f"{sorted(map(str, found))}. {REMEDY}"
        )
    return found


def _stored(path: Path, found: dict[str, Any], key: str) -> StoredFile:
    """Return what a dict says; NICE, ATM and UBP cut the time before the onset but keep its times."""
    eeg = np.asarray(found.pop(key))
    if eeg.dtype.kind != "f":
        raise SourceError(f"{path} must hold {key} as floats; they are {eeg.dtype}. {REMEDY}")
    times_s = np.asarray(found["times"], np.float64)
    if eeg.ndim == 4 and 0 < eeg.shape[3] < len(times_s):
        times_s = times_s[-eeg.shape[3] :]
    images = None
    if found.get("img") is not None:
        rows = np.asarray(found["img"])
        first = rows.reshape(len(rows), -1)[:, 0].tolist()
        images = ["/".join(str(name).replace("\\", "/").split("/")[-2:]) for name in first]
    return StoredFile(eeg, list(map(str, found["ch_names"])), times_s, images)


def _load_pt(path: Path) -> Any:
    """Open a file of torch.save: UBP's hold a pickle of protocol 5, which torch alone cannot check."""
    if not zipfile.is_zipfile(path):
        return load_pth(path)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            name = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
            if name is None or _protocol(archive, name) < 4:
                return load_pth(path)
            extracted = Path(archive.extract(name, folder))
            try:
                return load_npy(extracted)
            except SourceError as error:
                raise SourceError(str(error).replace(str(extracted), str(path))) from error
    except zipfile.BadZipFile as error:
        raise SourceError(
            f"{path} must be a whole file; it is broken ({error}). {REMEDY}"
        ) from error


def _protocol(archive: zipfile.ZipFile, name: str) -> int:
    with archive.open(name) as handle:
        return handle.read(2)[-1]


def _load_array(path: Path) -> StoredFile:
    """Return concepts x images x repetitions x channels x times with the first two axes joined."""
    eeg = load_npy(path)
    if not (isinstance(eeg, np.ndarray) and eeg.ndim == 5 and eeg.dtype.kind == "f"):
        found = f"shape {eeg.shape} of {eeg.dtype}" if isinstance(eeg, np.ndarray) else type(eeg)
        raise SourceError(
            f"{path} must hold floats of concepts x images x repetitions x channels x times; "
            f"found {found}. {REMEDY}"
        )
    said: dict[str, Any] = {}
    for beside in (path.parent.parent / "info.json", path.parent / "info.json"):
        said |= _read_json(beside) if beside.exists() else {}
    channels = list(map(str, said.get("ch_names") or NICE_CHANNELS))
    nominal_s = np.arange(eeg.shape[4]) / NICE_SFREQ_HZ
    times_s = np.asarray(said.get("times") or nominal_s, np.float64)[-eeg.shape[4] :]
    return StoredFile(eeg.reshape(-1, *eeg.shape[2:]), channels, times_s, None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path} must be JSON; it is not ({error}). Mend or drop it.") from error
    return found if isinstance(found, dict) else {}


def _refuse_other_units(path: Path, eeg: np.ndarray) -> None:
    """Refuse what cannot be volt: the median channel of every hundredth sample tells."""
    spread = eeg[:, ::100].std(axis=1)
    finite = spread[np.isfinite(spread)]
    typical = float(np.median(finite)) if len(finite) else math.nan
    low, high = PLAUSIBLE_V
    if not low <= typical <= high:
        hint = "microvolt are divided by 1e6" if typical > high else "is the recording whole?"
        raise SourceError(
            f"{path} must be in volt, with channels that deviate by {low:g} to {high:g} V; a typical "
            f"one deviates by {typical:.3g}. Mend its unit ({hint}), or copy it from its origin again."
        )
