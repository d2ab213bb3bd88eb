"""The publisher's layout of Alljoined-1.6M, and what is said where it is broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.alljoined import AlljoinedParams, AlljoinedSource
from tasks.eeg.sources.protocol import SourceError
from tests.conftest import preset
from tests.eeg.stages import rows, run_ingest, run_preprocess
from tests.eeg.studies import save_picture
from tests.published_layouts import alljoined_row, save_alljoined

PRESET = preset("alljoined")
PARAMS: dict[str, Any] = PRESET["ingest"]["source"]
CHANNELS = ["Cz", "FCz", "Fp1", "O1", "Oz", "O2", "PO7", "PO8"]
SHOWN = {"stim_train": ["aardvark_01b", "aardvark_02s", "abacus_01b"], "stim_test": ["bat_05s"]}


def make_table() -> pd.DataFrame:
    """Return a row per trial: every picture in both sessions, one of them dropped."""
    trials = [
        alljoined_row(
            partition, session, name, name.split("_")[0], (session, name) == (2, "abacus_01b")
        )
        for session in (1, 2)
        for partition, names in SHOWN.items()
        for name in names
    ]
    return pd.DataFrame(trials)


def make_eeg(n_trials: int, seed: int) -> np.ndarray:
    return (
        np.random.default_rng(seed).normal(size=(n_trials, len(CHANNELS), 250)).astype(np.float32)
    )


def save(folder: Path, part: str, eeg: np.ndarray) -> None:
    save_alljoined(folder, part, eeg, CHANNELS)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "data" / "raw"
    folder = raw / "alljoined" / "preprocessed_eeg" / "sub-01"
    folder.mkdir(parents=True)
    make_table().to_parquet(folder / PARAMS["metadata"])
    save(folder, "training", make_eeg(5, 0))
    save(folder, "test", make_eeg(2, 1))
    images = raw / "alljoined" / PARAMS["images"]
    images.mkdir(parents=True)
    for names in SHOWN.values():
        for name in names:
            save_picture(images / f"{name}.jpg")
    return raw


def opened(raw: Path) -> AlljoinedSource:
    return AlljoinedSource(raw / "alljoined", AlljoinedParams.model_validate(PARAMS))


def complaint(raw: Path) -> str:
    source = opened(raw)
    with pytest.raises(SourceError) as error:
        [source.read(recording) for recording in source.recordings()]
    return str(error.value)


def test_epochs_belong_to_the_rows_that_were_not_dropped(raw: Path) -> None:
    source = opened(raw)
    recordings = source.recordings()
    assert [r.recording_id for r in recordings] == [
        f"sub-01_ses-0{session}_run-{part}" for session in (1, 2) for part in ("test", "train")
    ]
    second = recordings[3]
    assert [e.stimulus_id for e in source.events(second)] == ["aardvark_01b", "aardvark_02s"]
    stored = source.read(second)
    np.testing.assert_array_equal(stored.eeg, make_eeg(5, 0)[3:])
    assert (stored.unit, stored.tmin_s, stored.info["sfreq"]) == ("standardised", 0.0, 250.0)
    assert source.official_split()["bat_05s"] == "zero_shot"


def test_the_whole_preset_reaches_epochs(raw: Path) -> None:
    artifacts = run_ingest(raw, PARAMS)
    run_preprocess(artifacts, PRESET["preprocess"])
    trials = rows(artifacts, "trials")
    assert len(trials) == 7
    eeg, info = read_epochs(artifacts.epochs, [row["trial_id"] for row in trials])
    assert eeg.shape == (7, len(CHANNELS), 250)
    assert info.unit == "standardised"
    assert {row["split"] for row in trials if row["concept"] == "bat"} == {"zero_shot"}


def test_another_number_of_epochs_than_trials_is_refused(raw: Path) -> None:
    folder = raw / "alljoined" / "preprocessed_eeg" / "sub-01"
    save(folder, "training", make_eeg(6, 0))
    assert complaint(raw) == (
        f"{folder / 'preprocessed_eeg_training_flat.npy'} must hold an epoch for each of the 5 trials of "
        "its partition in experiment_metadata_categories.parquet that were not dropped; it holds 6. Copy "
        "both from their origin again, of one release."
    )


def test_another_shape_than_channels_and_times_is_refused(raw: Path) -> None:
    folder = raw / "alljoined" / "preprocessed_eeg" / "sub-01"
    save(folder, "test", make_eeg(2, 1)[:, :5])
    assert complaint(raw) == (
        f"{folder / 'preprocessed_eeg_test_flat.npy'} must hold floats of trials x 8 channels x 250 "
        "times; it holds an array of shape (2, 5, 250) of float32. Copy both from their origin again, of "
        "one release."
    )


def test_a_table_without_its_columns_is_refused(raw: Path) -> None:
    path = raw / "alljoined" / "preprocessed_eeg" / "sub-01" / PARAMS["metadata"]
    path.write_bytes(b"PAR1")
    assert complaint(raw).startswith(
        f"{path} must be a Parquet table with the columns partition, dropped, session, image_path, "
        "category_name; it cannot be read ("
    )


def test_a_study_without_files_is_refused(tmp_path: Path) -> None:
    eeg = tmp_path / "alljoined" / "preprocessed_eeg"
    assert complaint(tmp_path) == (
        f"{eeg} must hold files named like sub-01/preprocessed_eeg_training_flat.npy; none was found. "
        "Put them there, or mend ingest.source.eeg."
    )
