"""Whatever can be wrong with a lab's files is one whole sentence: what must hold, what was found, what to do.

Missing images, events without images, duplicated trials and recordings that differ: `test_ingest`. Not finite,
flat and in another unit: `test_cleaning`. Code in a file: `test_safe_loading`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from mne_bids import BIDSPath, write_raw_bids
from PIL import Image

from tasks.eeg.published_epochs import clean_stored_epochs
from tasks.eeg.sources.bids import BidsSource
from tasks.eeg.sources.protocol import Source, StoredEpochs
from tasks.eeg.study import examine_recording
from tasks.runtime.errors import PerceptError
from tests.eeg.stages import run_ingest
from tests.eeg.studies import MiniStudy, make_params, make_raw, make_signal, write_study
from tests.eeg.test_bids_source import opened, write_stimuli
from tests.eeg.test_csv_streams_source import opened as opened_csv
from tests.eeg.test_csv_streams_source import write_run
from tests.eeg.test_eegcvpr_source import make_content
from tests.eeg.test_eegcvpr_source import opened as opened_eegcvpr
from tests.eeg.test_things_eeg2_source import Study, ThingsEeg2Source, raw_dict, write_pictures
from tests.eeg.test_things_eeg2_source import make_params as things_params

SIMULATED = {"name": "simulated", "folder": "simulated"}


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(PerceptError) as error:
        work()
    return str(error.value)


def first_of(source: Source) -> Callable[[], object]:
    return lambda: examine_recording(source, source.recordings()[0])


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path / "data" / "raw", ("sub-01_ses-01", "sub-01_ses-02"))


def test_a_truncated_recording_of_the_simulated_layout(study: MiniStudy) -> None:
    path = study.recording_file("sub-01_ses-02")
    path.write_bytes(path.read_bytes()[:100_000])
    assert complaint(lambda: run_ingest(study.raw, SIMULATED)) == (
        f"{path} must be a whole FIF file; it ends after 100000 bytes without the closing tag, so it was "
        "truncated. Run `dvc repro --force simulate` to make the study anew."
    )


def test_a_truncated_image(study: MiniStudy) -> None:
    path = study.folder / "stimuli" / "c0_0.png"
    path.write_bytes(path.read_bytes()[:60])
    assert complaint(lambda: run_ingest(study.raw, SIMULATED)) == (
        f"{path} must be a whole picture (JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM) of at most 89,478,485 "
        "pixels; it cannot be decoded (truncated PNG file). Convert it or restore it (delete it if a stage "
        "drew it), then run `dvc repro`."
    )


def test_a_truncated_photograph(study: MiniStudy) -> None:
    """A JPEG's header is whole long before its picture is."""
    path = study.folder / "stimuli" / "c0_0.png"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-1000])
    text = complaint(lambda: run_ingest(study.raw, SIMULATED))
    assert text.startswith(f"{path} must be a whole picture (")
    assert "; it cannot be decoded (image file is truncated" in text


def test_an_onset_twice(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("\n4.8\t", "\n4.0\t"))
    assert complaint(lambda: run_ingest(study.raw, SIMULATED)) == (
        "All onsets in sub-01_ses-01 must be unique; 1 occur more than once: 4.0. Mend the tables of the "
        "study."
    )


def test_a_recording_with_a_channel_less(study: MiniStudy) -> None:
    path = study.recording_file("sub-01_ses-02")
    raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR").drop_channels(["Oz"])
    raw.save(path, overwrite=True, verbose="ERROR")
    assert complaint(lambda: run_ingest(study.raw, SIMULATED)) == (
        "All recordings must have the same channels in one order; sub-01_ses-01 and sub-01_ses-02 have "
        "16 and 15, and differ in 1 places: Oz and none. Rename, order or drop them by "
        "ingest.source.channels (sources bids and epochs), or in the files."
    )


def bids_recording(folder: Path, format: str) -> tuple[BidsSource, Path]:
    """Write 100 s of 16 channels, and return the file with the samples."""
    write_stimuli(folder, ("cup",))
    path = BIDSPath(subject="01", session="01", task="look", datatype="eeg", root=folder)
    raw = make_raw(make_signal(25_000))
    raw.info["line_freq"] = 50
    raw.set_annotations(mne.Annotations([90.0], [0.5], ["cup"]))
    write_raw_bids(raw, path, format=format, allow_preload=True, overwrite=True, verbose="ERROR")
    suffix = ".eeg" if format == "BrainVision" else f".{format.lower()}"
    return opened(folder, stimulus_column="trial_type"), next(folder.rglob(f"*_eeg{suffix}"))


@pytest.mark.parametrize(
    ("format", "size"),
    [
        ("EDF", 806_608),  # a header, and 100 records of 16 x 250 samples and of annotations
        ("BDF", 1_206_708),
    ],
)
def test_a_truncated_edf_or_bdf_file(tmp_path: Path, format: str, size: int) -> None:
    source, path = bids_recording(tmp_path / "study", format)
    assert examine_recording(source, source.recordings()[0]).duration_s == 100
    path.write_bytes(path.read_bytes()[: size // 2])
    assert complaint(first_of(source)) == (
        f"{path} must have the {size} bytes that its header announces; it has {size // 2}, so it was "
        "truncated. Copy it from its origin again."
    )


def test_a_truncated_brainvision_file(tmp_path: Path) -> None:
    source, path = bids_recording(tmp_path / "study", "BrainVision")
    header = path.with_suffix(".vhdr")
    whole = path.read_bytes()
    n_bytes = len(whole) // 25_000  # of a sample of all channels
    path.write_bytes(whole[: -n_bytes // 2])
    message = (
        f"{path} must have the {{}} bytes that {header.name} announces; it has {{}}, so it was truncated. "
        "Copy it from its origin again."
    )
    assert complaint(first_of(source)) == message.format(len(whole), len(whole) - n_bytes // 2)
    path.write_bytes(whole[: n_bytes * 20_000])  # whole samples, but a marker lies behind them
    marker = 90 * 250 + 1
    assert complaint(first_of(source)) == message.format(n_bytes * marker, n_bytes * 20_000)
    path.write_bytes(whole[: n_bytes * 24_000])
    told = header.with_suffix(".json")
    assert complaint(first_of(source)) == (
        f"{header} must last the 99.996 s that {told.name} tells; it lasts 96 s, so it was truncated. "
        "Copy it from its origin again."
    )
    told.write_text(json.dumps({"RecordingDuration": 96}))
    assert examine_recording(source, source.recordings()[0]).duration_s == 96
    told.write_text(json.dumps({"RecordingDuration": "n/a"}))
    assert examine_recording(source, source.recordings()[0]).duration_s == 96


def test_a_truncated_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "subject1" / "session1" / "data_a.csv"
    write_run(path)
    path.write_text(path.read_text()[:-30])
    assert complaint(first_of(opened_csv(tmp_path))) == (
        f"{path} must hold numbers in whole lines; 2560 lines were found, with text in no column. It may "
        "be truncated: copy it from its origin again."
    )


def test_segments_of_another_shape(tmp_path: Path) -> None:
    source = opened_eegcvpr(tmp_path)
    path = source.folder / source.params.file
    path.parent.mkdir()
    torch.save(make_content(n_channels=62), path)
    assert complaint(source.recordings) == (
        f"Every segment of {path} must have 128 channels; 24 have not, the first is of shape (62, 440). "
        "Name the channels in ingest.source.channels_file."
    )


def things_recording(root: Path, **changes: object) -> tuple[ThingsEeg2Source, Path]:
    study = Study(root)
    write_pictures(study)
    path = study.folder / "raw_data" / "sub-01" / "ses-01" / "raw_eeg_training.npy"
    path.parent.mkdir(parents=True)
    np.save(path, raw_dict("training") | changes)
    return ThingsEeg2Source(study.folder, things_params("raw")), path


def test_a_signal_of_another_shape(tmp_path: Path) -> None:
    source, path = things_recording(tmp_path, raw_eeg_data=np.zeros((60, 3000)))
    assert complaint(first_of(source)) == (
        f"{path} must hold one row of raw_eeg_data per channel; it holds an array of shape (60, 3000), "
        "64 names and 64 types. Copy it from its origin again, or mend ingest.source.layout."
    )


@pytest.mark.parametrize(
    ("factor", "found", "hint"),
    [(1e6, "20", "microvolt are divided by 1e6"), (1e-6, "2e-11", "is the recording whole?")],
)
def test_volt_and_microvolt_confused(tmp_path: Path, factor: float, found: str, hint: str) -> None:
    data = raw_dict("training")["raw_eeg_data"]
    data[:63] *= factor * 20e-6 / np.median(data[:63, ::100].std(axis=1))
    source, path = things_recording(tmp_path, raw_eeg_data=data)
    assert complaint(first_of(source)) == (
        f"{path} must be in volt, with channels that deviate by 1e-07 to 0.002 V; a typical one deviates by "
        f"{found}. Mend its unit ({hint}), or copy it from its origin again."
    )


def test_epochs_that_are_not_finite() -> None:
    eeg = np.stack([make_signal(250, seed=seed) for seed in range(4)]).astype(np.float32)
    eeg[2, 3, 100] = np.nan
    off = {"filters": {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []}}
    params = make_params(window={"sfreq_hz": None}, **off)
    stored = StoredEpochs(eeg, make_raw(make_signal(250)).info, -0.2, "uV")
    assert complaint(lambda: clean_stored_epochs(stored, params, "sub-01_ses-01")) == (
        "sub-01_ses-01 must be finite; 1 channels hold NaN or infinity: F4. Mend the recording, or set "
        "preprocess.on_nan to interpolate."
    )
