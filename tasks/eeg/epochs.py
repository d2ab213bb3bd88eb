"""Epochs on disk: one Arrow file per recording, a fixed-shape tensor per trial, read where it lies."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from tasks.artifacts.tables import ContractError
from tasks.runtime.files import atomic_path
from tasks.runtime.stored import StoredRows

METADATA_KEY = b"epochs"
EPOCHS_AT_ONCE = 256  # of a piece of a file, and of what is changed block by block
REMEDY = "Run `dvc repro --force preprocess` to make it anew."


@dataclass(frozen=True)
class EpochsInfo:
    """What the numbers of an epoch mean.

    Attributes
    ----------
    channels
        In the order of the rows of an epoch.
    sfreq_hz
        Sampling rate.
    tmin_s
        Time of the first sample, relative to the onset of the stimulus.
    unit
        Of the values.
    reference
        What the potentials are measured against.
    filters
        In words.
    """

    channels: tuple[str, ...]
    sfreq_hz: float
    tmin_s: float
    unit: str
    reference: str
    filters: str


def path_of(folder: Path, recording_id: str) -> Path:
    """Return the file of a recording's epochs."""
    return folder / f"{recording_id}.arrow"


@contextmanager
def epochs_writer(
    path: Path, info: EpochsInfo, shape: tuple[int, ...]
) -> Iterator[Callable[[Sequence[str], np.ndarray], None]]:
    """Write the epochs of one recording atomically, piece by piece.

    Numbers are not compressed, so that one epoch can be read without its neighbours; recorded EEG would
    lose a tenth of its size.

    Parameters
    ----------
    path
        See `path_of`.
    info
        Kept in the file's metadata.
    shape
        Channels and samples of an epoch.

    Yields
    ------
    callable
        Appends epochs: their trial ids, and an array of shape (n_trials, n_channels, n_times).
    """
    tensor = pa.fixed_shape_tensor(pa.float32(), shape)
    schema = pa.schema(
        [("trial_id", pa.string()), ("eeg", tensor)],
        {METADATA_KEY: json.dumps(asdict(info), sort_keys=True)},
    )

    def write(trial_ids: Sequence[str], eeg: np.ndarray) -> None:
        for start in range(0, len(trial_ids), EPOCHS_AT_ONCE):
            some = slice(start, start + EPOCHS_AT_ONCE)
            values = pa.array(np.ascontiguousarray(eeg[some], np.float32).reshape(-1))
            storage = pa.FixedSizeListArray.from_arrays(values, type=tensor.storage_type)
            column = pa.ExtensionArray.from_storage(tensor, storage)
            ids = pa.array(trial_ids[some], pa.string())
            writer.write_batch(pa.record_batch([ids, column], schema=schema))

    with atomic_path(path) as partial, pa.ipc.new_file(partial, schema) as writer:
        yield write


def write_epochs(
    path: Path,
    trial_ids: Sequence[str],
    eeg: Float32[np.ndarray, "n_trials n_channels n_times"],
    info: EpochsInfo,
) -> None:
    """Write the epochs of one recording atomically, the same bytes for the same epochs.

    Parameters
    ----------
    path
        See `path_of`.
    trial_ids
        One per epoch.
    eeg
        In ``info.unit``.
    info
        Kept in the file's metadata.
    """
    with epochs_writer(path, info, eeg.shape[1:]) as write:
        write(trial_ids, eeg)


def open_epochs(folder: Path, trial_ids: Sequence[str]) -> tuple[StoredRows, EpochsInfo]:
    """Return the epochs of the named trials, in the order of the names, yet to be read.

    Parameters
    ----------
    folder
        One file per recording.
    trial_ids
        For instance ``sub-01_ses-01_trial-0042``; at least one.

    Returns
    -------
    eeg
        Of shape (n_trials, n_channels, n_times); what is indexed is read.
    info
        Common to all files.

    Raises
    ------
    ContractError
        If a file or a trial is missing, a file cannot be read, or the files do not agree.
    """
    wanted: dict[str, list[int]] = defaultdict(list)  # by recording: positions in the result
    for position, trial_id in enumerate(trial_ids):
        wanted[recording_of(trial_id)].append(position)
    files = [_open(path_of(folder, name)) for name in wanted]
    info, shape = _common_layout(folder, files)
    file, offset = np.empty(len(trial_ids), np.int32), np.empty(len(trial_ids), np.int64)
    for number, (opened, positions) in enumerate(zip(files, wanted.values(), strict=True)):
        file[positions] = number
        offset[positions] = opened.offsets_of([trial_ids[position] for position in positions])
    return StoredRows([opened.path for opened in files], file, offset, shape), info


def read_epochs(
    folder: Path, trial_ids: Sequence[str]
) -> tuple[Float32[np.ndarray, "n_trials n_channels n_times"], EpochsInfo]:
    """Return what `open_epochs` does, read into a fresh array, free to be changed.

    Raises
    ------
    ContractError
        As `open_epochs`.
    """
    eeg, info = open_epochs(folder, trial_ids)
    return eeg[:], info


def open_file(path: Path) -> tuple[list[str], StoredRows, EpochsInfo]:
    """Return all that one file holds: trial ids, epochs yet to be read, and what the numbers mean.

    Raises
    ------
    ContractError
        If the file is missing or cannot be read.
    """
    file = _open(path)
    which = np.zeros(len(file.trial_ids), np.int32)
    return file.trial_ids, StoredRows([path], which, file.offsets, file.shape), file.info


def read_file(
    path: Path,
) -> tuple[list[str], Float32[np.ndarray, "n_trials n_channels n_times"], EpochsInfo]:
    """Return what `open_file` does, the epochs read into a fresh array, free to be changed.

    Raises
    ------
    ContractError
        If the file is missing or cannot be read.
    """
    trial_ids, eeg, info = open_file(path)
    return trial_ids, eeg[:], info


def recording_of(trial_id: str) -> str:
    """Return the recording that a trial belongs to."""
    return trial_id.rsplit("_trial-", 1)[0]


@dataclass(frozen=True)
class _File:
    path: Path
    info: EpochsInfo
    shape: tuple[int, int]
    trial_ids: list[str]
    offsets: np.ndarray  # of each epoch, in bytes

    def offsets_of(self, trial_ids: Sequence[str]) -> np.ndarray:
        row = {trial_id: number for number, trial_id in enumerate(self.trial_ids)}
        if missing := sorted(set(trial_ids) - set(row)):
            raise ContractError(
                f"{self.path} must hold every trial that is asked for; {len(missing)} are missing: "
                f"{', '.join(missing[:10])}. Ask for trials that are kept, or run "
                "`dvc repro preprocess`."
            )
        return np.asarray(self.offsets[[row[trial_id] for trial_id in trial_ids]])


def _open(path: Path) -> _File:
    if not path.exists():
        raise ContractError(f"{path} must exist; it does not. {REMEDY}")
    try:
        with pa.memory_map(str(path)) as mapped:
            return _layout(path, mapped)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(
            f"{path} must be a whole Arrow file; its {path.stat().st_size} bytes cannot be read "
            f"({error}). {REMEDY}"
        ) from error


def _layout(path: Path, mapped: pa.MemoryMappedFile) -> _File:
    """Find out where the epochs lie in a file, without reading one."""
    file = pa.ipc.open_file(mapped)
    metadata = (file.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None or file.schema.names != ["trial_id", "eeg"]:
        raise ContractError(
            f"{path} must hold the columns ['trial_id', 'eeg'] and say what they mean; "
            f"found {file.schema.names}. {REMEDY}"
        )
    fields = json.loads(metadata)
    info = EpochsInfo(**{**fields, "channels": tuple(fields["channels"])})
    shape = tuple(file.schema.field("eeg").type.shape)
    mapped.seek(0)
    start = mapped.read_buffer(mapped.size()).address
    trial_ids: list[str] = []
    offsets = [np.zeros(0, np.int64)]
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        trial_ids += batch["trial_id"].to_pylist()
        first = batch["eeg"].storage.values.buffers()[1].address - start
        offsets.append(first + np.arange(len(batch)) * (4 * shape[0] * shape[1]))
    return _File(path, info, shape, trial_ids, np.concatenate(offsets))


def _common_layout(folder: Path, files: Sequence[_File]) -> tuple[EpochsInfo, tuple[int, int]]:
    """Return what all files agree on."""
    if not files:
        raise ContractError(f"Epochs of at least one trial must be asked for of {folder}; none is.")
    first, *others = files
    for other in others:
        differing = [
            name for name, value in asdict(other.info).items() if value != asdict(first.info)[name]
        ]
        if other.shape != first.shape:
            differing.append("shape")
        if differing:
            raise ContractError(
                f"All files of {folder} must agree on channels, rate and window; "
                f"{other.path.name} and {first.path.name} differ in {', '.join(differing)}. {REMEDY}"
            )
    return first.info, first.shape
