"""Epochs on disk: one Parquet file per recording, a fixed-shape tensor per trial."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from tasks.artifacts.tables import ContractError
from tasks.runtime.files import atomic_path

METADATA_KEY = b"epochs"
ROW_GROUP_SIZE = 256  # epochs; what a reader holds beside its result
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
        ``<recording_id>.parquet``.
    trial_ids
        One per epoch.
    eeg
        In ``info.unit``.
    info
        Kept in the file's metadata.
    """
    tensor = pa.fixed_shape_tensor(pa.float32(), eeg.shape[1:])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(eeg.reshape(-1)), type=tensor.storage_type)
    table = pa.table(
        {
            "trial_id": pa.array(trial_ids, pa.string()),
            "eeg": pa.ExtensionArray.from_storage(tensor, storage),
        }
    ).replace_schema_metadata({METADATA_KEY: json.dumps(asdict(info), sort_keys=True)})
    with atomic_path(path) as partial:
        pq.write_table(
            table,
            partial,
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            use_byte_stream_split=["eeg.list.element"],
            row_group_size=ROW_GROUP_SIZE,
            write_statistics=["trial_id"],
        )


def read_epochs(
    folder: Path, trial_ids: Sequence[str]
) -> tuple[Float32[np.ndarray, "n_trials n_channels n_times"], EpochsInfo]:
    """Return the epochs of the named trials, in the order of the names.

    Beside the result, one row group is held in memory at a time; row groups without a wanted trial
    are not read.

    Parameters
    ----------
    folder
        One Parquet file per recording.
    trial_ids
        For instance ``sub-01_ses-01_trial-0042``; at least one.

    Returns
    -------
    eeg
        A fresh array, free to be changed.
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
    files = {name: _open(folder / f"{name}.parquet") for name in wanted}
    info, shape = _common_layout(folder, files)
    eeg = np.empty((len(trial_ids), *shape), np.float32)
    for name, positions in wanted.items():
        for rows, targets, group in _row_groups(files[name], trial_ids, positions):
            eeg[targets] = group[rows]
    return eeg, info


def read_file(
    path: Path,
) -> tuple[list[str], Float32[np.ndarray, "n_trials n_channels n_times"], EpochsInfo]:
    """Return all that one file holds.

    Parameters
    ----------
    path
        Written by `write_epochs`.

    Returns
    -------
    trial_ids
        One per epoch.
    eeg
        A fresh array, free to be changed.
    info
        What the numbers mean.

    Raises
    ------
    ContractError
        If the file is missing or cannot be read.
    """
    file = _open(path)
    trial_ids: list[str] = []
    eeg = np.empty((file.parquet.metadata.num_rows, *file.shape), np.float32)
    for index in range(file.parquet.num_row_groups):
        names = file.read_group(index, "trial_id").to_pylist()
        group = file.read_group(index, "eeg").combine_chunks().to_numpy_ndarray()
        eeg[len(trial_ids) : len(trial_ids) + len(names)] = group
        trial_ids += names
    return trial_ids, eeg, file.info


def recording_of(trial_id: str) -> str:
    """Return the recording that a trial belongs to."""
    return trial_id.rsplit("_trial-", 1)[0]


@dataclass(frozen=True)
class _File:
    path: Path
    parquet: pq.ParquetFile
    info: EpochsInfo
    shape: tuple[int, int]

    def read_group(self, index: int, column: str) -> pa.ChunkedArray:
        try:
            return self.parquet.read_row_group(index, columns=[column])[column]
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{self.path} must be a whole Parquet file; row group {index} cannot be read "
                f"({error}). {REMEDY}"
            ) from error


def _open(path: Path) -> _File:
    if not path.exists():
        raise ContractError(f"{path} must exist; it does not. {REMEDY}")
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ContractError(
            f"{path} must be a whole Parquet file; its {path.stat().st_size} bytes cannot be read "
            f"({error}). {REMEDY}"
        ) from error
    schema = parquet.schema_arrow
    metadata = (schema.metadata or {}).get(METADATA_KEY)
    if metadata is None or schema.names != ["trial_id", "eeg"]:
        raise ContractError(
            f"{path} must hold the columns ['trial_id', 'eeg'] and say what they mean; "
            f"found {schema.names}. {REMEDY}"
        )
    fields = json.loads(metadata)
    info = EpochsInfo(**{**fields, "channels": tuple(fields["channels"])})
    return _File(path, parquet, info, tuple(schema.field("eeg").type.shape))


def _common_layout(folder: Path, files: dict[str, _File]) -> tuple[EpochsInfo, tuple[int, int]]:
    """Return what all files agree on."""
    if not files:
        raise ContractError(f"Epochs of at least one trial must be asked for of {folder}; none is.")
    first, *others = files.values()
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


def _row_groups(
    file: _File, trial_ids: Sequence[str], positions: Sequence[int]
) -> Iterator[tuple[list[int], list[int], Float32[np.ndarray, "n_rows n_channels n_times"]]]:
    """Yield, per row group that holds wanted trials: their rows, their positions, all its epochs."""
    targets: dict[str, list[int]] = defaultdict(list)
    for position in positions:
        targets[trial_ids[position]].append(position)
    for index in range(file.parquet.num_row_groups):
        names = file.read_group(index, "trial_id").to_pylist()
        found = [(row, t) for row, name in enumerate(names) for t in targets.pop(name, ())]
        if found:
            group = file.read_group(index, "eeg").combine_chunks().to_numpy_ndarray()
            yield [row for row, _ in found], [t for _, t in found], group
    if targets:
        raise ContractError(
            f"{file.path} must hold every trial that is asked for; {len(targets)} are missing: "
            f"{', '.join(sorted(targets)[:10])}. Ask for trials that are kept, or run "
            "`dvc repro preprocess`."
        )
