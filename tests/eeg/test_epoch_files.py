"""Epochs come back from disk as they were written, in the order asked, or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.trials import trial_id_of, trial_ids_of
from tasks.artifacts.tables import ContractError
from tasks.eeg.epochs import (
    EpochsInfo,
    epochs_writer,
    open_epochs,
    read_epochs,
    read_file,
    write_epochs,
)
from tasks.runtime.stored import StoredRowsError

INFO = EpochsInfo(("Fz", "Cz", "Pz"), 100.0, -0.1, "uV", "average", "none")


def write(folder: Path, recording_id: str, n_trials: int, info: EpochsInfo = INFO) -> dict:
    rng = np.random.default_rng(len(recording_id) + n_trials)
    eeg = rng.normal(size=(n_trials, len(info.channels), 8)).astype(np.float32)
    ids = [trial_id_of(recording_id, i, n_trials) for i in range(n_trials)]
    write_epochs(folder / f"{recording_id}.arrow", ids, eeg, info)
    return dict(zip(ids, eeg, strict=True))


def test_rows_come_in_the_order_asked_across_files_and_row_groups(tmp_path: Path) -> None:
    written = write(tmp_path, "sub-01_ses-01", 600) | write(tmp_path, "sub-02_ses-01", 5)
    ids = list(np.random.default_rng(0).permutation(list(written))[:300])
    ids += [ids[0]]  # asked for twice
    eeg, info = read_epochs(tmp_path, ids)
    assert info == INFO
    assert eeg.dtype == np.float32
    assert eeg.flags.writeable
    assert np.array_equal(eeg, [written[name] for name in ids])


def test_the_same_epochs_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", "sub-01_ses-01", 20)
    write(tmp_path / "b", "sub-01_ses-01", 20)
    names = [tmp_path / folder / "sub-01_ses-01.arrow" for folder in "ab"]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_one_epoch_is_read_without_its_neighbours(tmp_path: Path) -> None:
    written = write(tmp_path, "sub-01_ses-01", 600)
    path = tmp_path / "sub-01_ses-01.arrow"
    with pa.memory_map(str(path)) as file:
        assert pa.ipc.open_file(file).num_record_batches == 3
    eeg, _ = open_epochs(tmp_path, list(written))
    assert eeg.shape == (600, 3, 8)
    epoch = list(written.values())[431]
    assert path.read_bytes()[eeg.offset[431] :][: epoch.nbytes] == epoch.tobytes()


def test_what_is_indexed_is_read_as_an_array_would_be(tmp_path: Path) -> None:
    written = write(tmp_path, "sub-01_ses-01", 600) | write(tmp_path, "sub-02_ses-01", 300)
    ids = list(np.random.default_rng(0).permutation(list(written)))
    eeg, _ = open_epochs(tmp_path, ids)
    whole = np.array([written[name] for name in ids])
    rows = np.random.default_rng(1).integers(0, 900, 400)
    chosen = np.random.default_rng(2).random(900) < 0.5
    for index in (slice(None), slice(3, 700), slice(5, 5), rows, rows[:0], chosen):
        assert np.array_equal(eeg[index], whole[index])
    assert np.array_equal(
        eeg.of(chosen)[rows[:50] % chosen.sum()], whole[chosen][rows[:50] % chosen.sum()]
    )
    two = replace(eeg, columns=(2, 0))
    assert two.shape == (900, 2, 8)
    assert np.array_equal(two[rows], whole[rows][:, [2, 0]])


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    eeg, _ = open_epochs(tmp_path, list(write(tmp_path, "sub-01_ses-01", 3)))
    (tmp_path / "sub-01_ses-01.arrow").write_bytes(b"")
    with pytest.raises(StoredRowsError, match=r"sub-01_ses-01\.arrow must stay as it was"):
        eeg[:]


def test_pieces_make_the_file_that_they_are_pieces_of(tmp_path: Path) -> None:
    written = write(tmp_path, "sub-01_ses-01", 600)
    ids, eeg = list(written), np.array(list(written.values()))
    with epochs_writer(tmp_path / "pieces.arrow", INFO, (3, 8)) as append:
        for start in range(0, 600, 150):
            append(ids[start : start + 150], eeg[start : start + 150])
    found, read, info = read_file(tmp_path / "pieces.arrow")
    assert (found, info) == (ids, INFO)
    assert np.array_equal(read, eeg)


def test_a_recording_without_kept_trials_is_written(tmp_path: Path) -> None:
    write(tmp_path, "sub-01_ses-01", 0)
    ids, eeg, info = read_file(tmp_path / "sub-01_ses-01.arrow")
    assert (ids, eeg.shape, info) == ([], (0, 3, 8), INFO)


def test_a_missing_trial_is_named(tmp_path: Path) -> None:
    write(tmp_path, "sub-01_ses-01", 3)
    ids = [trial_id_of("sub-01_ses-01", i, 3) for i in (2, 3, 7)]
    with pytest.raises(ContractError) as error:
        read_epochs(tmp_path, ids)
    assert str(error.value) == (
        f"{tmp_path / 'sub-01_ses-01.arrow'} must hold every trial that is asked for; 2 are "
        "missing: sub-01_ses-01_trial-0003, sub-01_ses-01_trial-0007. Ask for trials that are kept, "
        "or run `dvc repro preprocess`."
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"sub-09_ses-01\.arrow must exist; it does not\. Run"):
        read_epochs(tmp_path, ["sub-09_ses-01_trial-0000"])


def test_asking_for_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="Epochs of at least one trial must be asked for"):
        read_epochs(tmp_path, [])


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    ids = list(write(tmp_path, "sub-01_ses-01", 300))
    path = tmp_path / "sub-01_ses-01.arrow"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ContractError, match=r"must be a whole Arrow file; its \d+ bytes cannot"):
        read_epochs(tmp_path, ids)


def test_damage_to_the_layout_of_a_file_is_refused(tmp_path: Path) -> None:
    ids = list(write(tmp_path, "sub-01_ses-01", 300))
    path = tmp_path / "sub-01_ses-01.arrow"
    data = bytearray(path.read_bytes())
    data[-60:-10] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(ContractError, match=r"must be a whole Arrow file; its \d+ bytes cannot"):
        read_epochs(tmp_path, ids)


def test_files_that_differ_in_channels_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "sub-01_ses-01", 2)
    other = write(tmp_path, "sub-02_ses-01", 2, replace(INFO, channels=("Fz", "Pz", "Cz")))
    with pytest.raises(ContractError, match=r"sub-01_ses-01\.arrow differ in channels\."):
        read_epochs(tmp_path, [*first, *other])


@pytest.mark.parametrize("n_events", [1, 9_999, 10_000, 10_001, 100_001])
def test_ids_sort_as_trials_were_presented(n_events: int) -> None:
    names, orders = ["sub-01_ses-01"] * n_events, list(range(n_events))
    ids = trial_ids_of([*names, "sub-01_ses-02"], [*orders, 0])
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert ids[-1] == "sub-01_ses-02_trial-0000"
    assert (ids[0] == "sub-01_ses-01_trial-0000") == (n_events <= 10_000)
