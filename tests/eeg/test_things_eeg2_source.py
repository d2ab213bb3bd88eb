"""Each layout of THINGS-EEG2 in small, with its field names, types and quirks."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pytest
import torch

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import read_table
from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.protocol import SourceError, StoredEpochs
from tasks.eeg.sources.registry import open_source, parse_params
from tasks.eeg.sources.things_eeg2 import ThingsEeg2Params, ThingsEeg2Source
from tasks.eeg.sources.things_eeg2_layouts import NICE_CHANNELS
from tasks.ingest import IngestParams, ingest
from tasks.preprocess import PreprocessParams, preprocess
from tasks.runtime.map import serial_map
from tests.conftest import preset
from tests.eeg.stages import STRICT
from tests.eeg.studies import save_picture
from tests.published_layouts import (
    SEVENTEEN,
    SHORT,
    save_things_arrays,
    save_things_nice,
    save_things_official,
    save_things_pictures,
    save_ubp,
    things_raw,
    ubp_content,
)

PRESET = preset("things_eeg2")
CONCEPTS = {"training": ("00001_bat1", "00002_bat2", "00011_album"), "test": ("00001_cat",)}
N_IMAGES = {"training": 6, "test": 1}  # two per training concept
N_REPS = {"training": 4, "test": 5}
STORED = ("official", "nice", "ubp", "arrays")
NAMES = ("recordings", "events", "stimuli", "oracle", "topographies")


@dataclass(frozen=True)
class Study:
    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    @property
    def folder(self) -> Path:
        return self.raw / "things_eeg2"

    def opened(self, layout: str, **changes: str) -> ThingsEeg2Source:
        return ThingsEeg2Source(self.folder, make_params(layout, **changes))


def make_params(layout: str, **changes: str) -> ThingsEeg2Params:
    eeg = {"raw": "raw_data"}.get(layout, f"Preprocessed_data_{layout}")
    values = PRESET["ingest"]["source"] | {"layout": layout, "eeg": eeg}
    return ThingsEeg2Params.model_validate(values | changes)


def files_of(part: str) -> list[tuple[str, str]]:
    n = 2 if part == "training" else 1
    return [
        (folder, f"{folder.split('_')[1]}_0{i + 1}b.jpg")
        for folder in CONCEPTS[part]
        for i in range(n)
    ]


def write_pictures(study: Study) -> None:
    files = {part: files_of(part) for part in SHORT}
    save_things_pictures(study.folder / "image_set", files, lambda _, __, path: save_picture(path))


def raw_dict(part: str, seed: int = 1) -> dict:
    signal = np.random.default_rng(seed).normal(size=(63, 3000)) * 20e-6
    codes = [1, 99999, 3, 6, 6, 2] if part == "training" else [1, 1, 99999, 1]
    return things_raw(signal, (100 + 200 * np.arange(len(codes))).tolist(), codes)


def epochs_of(part: str, n_channels: int, n_times: int) -> np.ndarray:
    shape = (N_IMAGES[part], N_REPS[part], n_channels, n_times)
    values = np.random.default_rng(1).normal(size=shape)
    values[..., 0, 0] = np.arange(shape[0])[:, None] * 10 + np.arange(shape[1])
    return values


def write_raw(study: Study) -> None:
    for session in ("ses-01", "ses-02"):
        folder = study.folder / "raw_data" / "sub-01" / session
        folder.mkdir(parents=True)
        for part in SHORT:
            np.save(folder / f"raw_eeg_{part}.npy", raw_dict(part, int(session[-1])))


def stored_folder(study: Study, layout: str) -> Path:
    folder = study.folder / f"Preprocessed_data_{layout}" / "sub-01"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_official(study: Study) -> None:
    for part in SHORT:
        save_things_official(stored_folder(study, "official"), part, epochs_of(part, 17, 100))


def write_nice(study: Study) -> None:
    for part in SHORT:
        save_things_nice(stored_folder(study, "nice"), part, epochs_of(part, 63, 250))


def ubp_dict(part: str) -> dict:
    return ubp_content(epochs_of(part, 63, 250), part, files_of(part))


def write_ubp(study: Study) -> None:
    for part, short in SHORT.items():
        save_ubp(ubp_dict(part), stored_folder(study, "ubp") / f"{short}.pt")


def write_arrays(study: Study) -> None:
    for part in SHORT:
        eeg = epochs_of(part, 63, 250)
        save_things_arrays(stored_folder(study, "arrays"), part, eeg, len(CONCEPTS[part]))


WRITERS: dict[str, Callable[[Study], None]] = {
    "raw": write_raw,
    "official": write_official,
    "nice": write_nice,
    "ubp": write_ubp,
    "arrays": write_arrays,
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path)
    study.folder.mkdir(parents=True)
    write_pictures(study)
    return study


def run(study: Study, layout: str) -> dict[str, list[dict]]:
    params = IngestParams.model_validate(
        {"source": make_params(layout).model_dump(), "on_missing_image": "raise"} | STRICT
    )
    artifacts = Artifacts(study.root)
    outs = {name: getattr(artifacts, name) for name in NAMES}
    ingest(study.raw, **outs, params=params, map=serial_map)
    return {n: read_table(p, Artifacts.all()[n].schema).to_pylist() for n, p in outs.items()}


def preprocess_params(layout: str) -> PreprocessParams:
    """Return the preset's params, fitted to a recording of three seconds or to stored epochs."""
    section = PRESET["preprocess"]
    raw = layout == "raw"
    low_pass_hz = 100.0 if raw else None
    flat_uv = 0.1 if raw else None
    changes = {
        "filters": {
            "method": "fir",
            "high_pass_hz": None,
            "low_pass_hz": low_pass_hz,
            "notch_hz": [],
        },
        "window": section["window"]
        | {"tmin_s": 0.0, "tmax_s": 0.8, "sfreq_hz": 250.0 if raw else None},
        "baseline_s": None,
        "bad_channels": section["bad_channels"] | {"flat_uv": flat_uv, "min_correlation": None},
        "reject": section["reject"] | {"peak_to_peak_uv": None, "flat_uv": flat_uv},
        "whitening": section["whitening"] if raw else None,
        "split": section["split"] | {"validation_fraction": 0.3},
    }
    return PreprocessParams.model_validate(section | changes)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_becomes_epochs(study: Study, layout: str) -> None:
    WRITERS[layout](study)
    run(study, layout)
    artifacts = Artifacts(study.root)
    outs = {name: getattr(artifacts, name) for name in ("trials", "epochs", "quality", "averages")}
    preprocess(
        *(getattr(artifacts, name) for name in ("recordings", "events", "stimuli", "raw")),
        **outs,
        params=preprocess_params(layout),
        map=serial_map,
    )
    trials = read_table(artifacts.trials, Artifacts.all()["trials"].schema).to_pylist()
    assert {row["split"] for row in trials} == {"train", "validation", "test", "zero_shot"} - {
        "test"
    }
    kept = [row["trial_id"] for row in trials if row["kept"]]
    eeg, info = read_epochs(artifacts.epochs, kept)
    whole = sum(N_IMAGES[part] * N_REPS[part] for part in SHORT)
    assert len(kept) == (whole if layout != "raw" else len(trials))
    assert info.unit == ("whitened" if layout == "raw" else "standardised")
    assert np.isfinite(eeg).all()
    assert eeg.std() > 0


def edit_raw(study: Study, change: Callable[[dict], None], part: str = "training") -> None:
    write_raw(study)
    content = raw_dict(part)
    change(content)
    np.save(study.folder / f"raw_data/sub-01/ses-01/raw_eeg_{part}.npy", content)


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_is_ingested(study: Study, layout: str) -> None:
    WRITERS[layout](study)
    tables = run(study, layout)
    ids = [row["recording_id"] for row in tables["recordings"]]
    if layout == "raw":
        assert ids == [f"sub-01_ses-0{s}_run-{p}" for s in (1, 2) for p in ("test", "training")]
        assert [len([e for e in tables["events"] if e["recording_id"] == i]) for i in ids] == [
            3, 5, 3, 5,
        ]  # fmt: skip
    else:
        assert ids == ["sub-01_ses-test", "sub-01_ses-training"]
        assert len(tables["events"]) == 1 * 5 + 6 * 4
    assert {row["timed"] for row in tables["recordings"]} == {layout == "raw"}
    assert {row["n_channels"] for row in tables["recordings"]} == {
        17 if layout == "official" else 63
    }
    stimuli = {row["stimulus_id"]: row for row in tables["stimuli"]}
    assert len(stimuli) == 7
    assert (stimuli["bat1_02b"]["concept"], stimuli["bat1_02b"]["official_split"]) == (
        "bat1",
        "train",
    )
    assert (stimuli["cat_01b"]["concept"], stimuli["cat_01b"]["official_split"]) == (
        "cat",
        "zero_shot",
    )
    assert tables["oracle"] == tables["topographies"] == []


def test_raw_events_are_those_of_the_trigger_without_targets(study: Study) -> None:
    write_raw(study)
    source = study.opened("raw")
    recording = source.recordings()[1]
    assert (recording.recording_id, recording.subject, recording.session, recording.timed) == (
        "sub-01_ses-01_run-training",
        "sub-01",
        "ses-01",
        True,
    )
    events = source.events(recording)
    assert [e.presentation_order for e in events] == [0, 1, 2, 3, 4]
    assert [e.onset_s for e in events] == [0.1, 0.5, 0.7, 0.9, 1.1]
    assert [e.stimulus_id for e in events] == [
        "bat1_01b", "bat2_01b", "album_02b", "album_02b", "bat1_02b",
    ]  # fmt: skip
    assert {(e.duration_s, e.block) for e in events} == {(0.1, 0)}


def test_the_trigger_may_stay_up_and_stand_anywhere(study: Study) -> None:
    def change(content: dict) -> None:
        data = content["raw_eeg_data"]
        for i in range(50):
            data[63, 101 + i :: 200][:6] = data[63, 100::200][:6]
        content["raw_eeg_data"] = np.roll(data, 1, axis=0)
        for key in ("ch_names", "ch_types"):
            content[key] = np.roll(content[key], 1).tolist()

    edit_raw(study, change)
    source = study.opened("raw")
    recording = source.recordings()[1]
    assert [e.onset_s for e in source.events(recording)] == [0.1, 0.5, 0.7, 0.9, 1.1]
    raw = source.read(recording)
    assert isinstance(raw, mne.io.BaseRaw)
    np.testing.assert_array_equal(raw.get_data(), raw_dict("training")["raw_eeg_data"][:63])


def test_raw_recordings_are_in_volt_at_known_places(study: Study) -> None:
    write_raw(study)
    source = study.opened("raw")
    raw = source.read(source.recordings()[0])
    assert isinstance(raw, mne.io.BaseRaw)
    assert tuple(raw.ch_names) == NICE_CHANNELS
    assert (raw.info["sfreq"], raw.n_times) == (1000, 3000)
    assert raw.get_data().std() == pytest.approx(20e-6, rel=0.02)
    assert all(np.linalg.norm(c["loc"][:3]) > 0.05 for c in raw.info["chs"])


@pytest.mark.parametrize("layout", STORED)
def test_stored_epochs_keep_their_repetitions(study: Study, layout: str) -> None:
    WRITERS[layout](study)
    source = study.opened(layout)
    test, training = source.recordings()
    assert (training.session, training.timed) == ("ses-training", False)
    stored = source.read(training)
    assert isinstance(stored, StoredEpochs)
    n_channels, n_times, rate, tmin_s = (
        (17, 100, 100, -0.2) if layout == "official" else (63, 250, 250, 0)
    )
    assert stored.eeg.shape == (24, n_channels, n_times)
    assert (stored.eeg.dtype, stored.unit) == (np.float32, "standardised")
    assert stored.info["sfreq"] == rate
    assert stored.tmin_s == tmin_s
    assert stored.info.ch_names == list(SEVENTEEN if layout == "official" else NICE_CHANNELS)
    assert stored.eeg[:6, 0, 0].tolist() == [0, 1, 2, 3, 10, 11]
    expected = epochs_of("training", n_channels, n_times).reshape(24, n_channels, n_times)
    np.testing.assert_allclose(stored.eeg, expected, atol=2e-3)
    events = source.events(training)
    assert [e.stimulus_id for e in events[:5]] == ["bat1_01b"] * 4 + ["bat1_02b"]
    assert [e.onset_s for e in events[:3]] == [0, n_times / rate, 2 * n_times / rate]
    assert source.read(test).eeg.shape == (5, n_channels, n_times)


def test_plain_arrays_stay_on_disk_and_info_is_heeded(study: Study) -> None:
    write_arrays(study)
    source = study.opened("arrays")
    stored = source.read(source.recordings()[1])
    assert isinstance(stored.eeg.base, np.memmap) or isinstance(stored.eeg, np.memmap)
    names = list(reversed(NICE_CHANNELS))
    said = {"ch_names": names, "times": (np.arange(250) / 200 - 0.25).tolist()}
    (stored_folder(study, "arrays") / "info.json").write_text(json.dumps(said))
    stored = source.read(source.recordings()[1])
    assert stored.info.ch_names == names
    assert (stored.info["sfreq"], stored.tmin_s) == (200, -0.25)
    (stored_folder(study, "arrays") / "info.json").write_text("{")
    with pytest.raises(SourceError, match=r"info\.json must be JSON; it is not"):
        source.read(source.recordings()[1])


def test_the_source_can_be_sent_to_another_process(study: Study) -> None:
    write_raw(study)
    source = study.opened("raw")
    source.events(source.recordings()[0])
    assert len(pickle.dumps(source)) < 1000
    params = source.params
    assert parse_params(params.model_dump_json()) == params
    assert isinstance(open_source(params, study.raw), ThingsEeg2Source)


def test_a_file_of_tensors_is_opened_too(study: Study) -> None:
    content = ubp_dict("test") | {"eeg": torch.from_numpy(ubp_dict("test")["eeg"])}
    content = {key: content[key] for key in ("eeg", "ch_names")} | {"times": list(range(250))}
    torch.save(content, stored_folder(study, "ubp") / "test.pt")
    source = study.opened("ubp")
    stored = source.read(source.recordings()[0])
    assert (stored.eeg.shape, stored.info["sfreq"]) == ((5, 63, 250), 1)


@pytest.mark.parametrize("kept", [0.3, 0.98])
def test_a_truncated_or_hostile_pt_file_is_refused(study: Study, kept: float) -> None:
    write_ubp(study)
    path = stored_folder(study, "ubp") / "test.pt"
    data = path.read_bytes()
    source = study.opened("ubp")
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(SourceError, match=r"test\.pt must be a whole"):
        source.read(source.recordings()[0])
    save_ubp({"eeg": Path("/")}, path)
    with pytest.raises(SourceError, match=r"test\.pt must hold arrays and plain containers only"):
        source.read(source.recordings()[0])


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (
            1e6,
            r"must be in volt, .* a typical one deviates by 18\.8\. Mend .*microvolt are divided",
        ),
        (1e3, r"must be in volt"),
        (0, r"deviates by 0\. Mend its unit \(is the recording whole\?\)"),
        (np.nan, r"deviates by nan"),
    ],
)
def test_other_units_than_volt_are_refused(study: Study, scale: float, message: str) -> None:
    def change(content: dict) -> None:
        content["raw_eeg_data"][:63] *= scale

    edit_raw(study, change)
    source = study.opened("raw")
    with pytest.raises(SourceError, match=message):
        source.read(source.recordings()[1])


@pytest.mark.parametrize("code", [7, -1, 2.5, 16540])
def test_codes_without_an_image_are_refused(study: Study, code: float) -> None:
    def change(content: dict) -> None:
        content["raw_eeg_data"][63, 2000] = code

    edit_raw(study, change)
    message = (
        rf"the number of one of 6 training images, or 99999; 1 are not, the first is {code:g}\."
    )
    with pytest.raises(SourceError, match=message):
        run(study, "raw")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("ch_types"), r"ch_types are missing from \['ch_names', 'highpass'"),
        (
            lambda c: c["ch_names"].pop(),
            r"one row of raw_eeg_data per channel; .* \(64, 3000\), 63",
        ),
        (lambda c: c.update(ch_types=["eeg"] * 64), r"one channel of type stim; it holds 0\."),
    ],
)
def test_broken_recordings_are_refused(study: Study, change: Callable, message: str) -> None:
    edit_raw(study, change)
    source = study.opened("raw")
    with pytest.raises(SourceError, match=message):
        source.read(source.recordings()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"eeg": np.zeros((1, 5, 62, 250), np.float16)},
            r"x 63 channels x 250 times; .* 5, 62, 250",
        ),
        ({"eeg": np.zeros((1, 5, 63), np.float16)}, r"images x repetitions x 63 channels"),
        ({"eeg": np.zeros((1, 5, 63, 301), np.float16)}, r"x 300 times; .* 63, 301\)"),
        ({"eeg": np.zeros((1, 5, 63, 250), np.int16)}, r"must hold eeg as floats; they are int16"),
        ({"times": np.zeros(300)}, r"The times of .*test\.pt must rise evenly; they are \[0\.0, 0"),
        (
            {"eeg": np.zeros((2, 5, 63, 250), np.float16)},
            r"of each of the 1 test images; .* of 2\.",
        ),
        ({"img": np.array([["a/b/dog.jpg"]])}, r"first that is not is b/dog\.jpg where 00001_cat/"),
    ],
)
def test_broken_stored_epochs_are_refused(study: Study, change: dict, message: str) -> None:
    write_ubp(study)
    save_ubp(ubp_dict("test") | change, stored_folder(study, "ubp") / "test.pt")
    with pytest.raises(SourceError, match=message):
        run(study, "ubp")


@pytest.mark.parametrize(
    "content", [np.zeros((6, 4, 63, 250), np.float32), np.zeros((3, 2, 4, 63, 250), int), {"a": 1}]
)
def test_other_arrays_are_refused(study: Study, content: object) -> None:
    np.save(stored_folder(study, "arrays") / "train.npy", content)
    with pytest.raises(SourceError, match="must hold floats of concepts x images x repetitions"):
        run(study, "arrays")


def test_missing_files_are_named(study: Study) -> None:
    with pytest.raises(SourceError, match=r"raw_data must hold files named like sub-\*/ses-\*/raw"):
        study.opened("raw").recordings()
    write_raw(study)
    (study.folder / "image_set" / "image_metadata.npy").unlink()
    with pytest.raises(SourceError, match=r"image_metadata\.npy must exist; it does not\. Copy"):
        run(study, "raw")


def test_a_concept_in_both_parts_is_refused(study: Study) -> None:
    path = study.folder / "image_set" / "image_metadata.npy"
    table = np.load(path, allow_pickle=True).item()
    np.save(path, table | {"test_img_concepts": ["00007_album"]})
    with pytest.raises(SourceError, match=r"must not be trained on; 1 are: album\."):
        study.opened("raw").stimuli()
    np.save(path, table | {"test_img_files": []})
    with pytest.raises(SourceError, match=r"one concept per image; it names 1 concepts and 0"):
        study.opened("raw").stimuli()


def test_files_of_one_name_get_ids_of_their_own(study: Study) -> None:
    path = study.folder / "image_set" / "image_metadata.npy"
    table = np.load(path, allow_pickle=True).item()
    np.save(path, table | {"test_img_files": ["bat1_01b.png"]})
    ids = [stimulus.stimulus_id for stimulus in study.opened("raw").stimuli()]
    assert (ids[0], ids[-1]) == ("training_00001_bat1_bat1_01b", "test_00001_cat_bat1_01b")
    assert len(set(ids)) == 7


def test_a_montage_that_does_not_fit_is_refused(study: Study) -> None:
    write_raw(study)
    source = study.opened("raw", montage="no_such")
    with pytest.raises(SourceError, match=r"must be a montage of MNE .* 'no_such' does not fit"):
        source.read(source.recordings()[0])


def test_an_unlisted_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="'raw', 'official', 'nice', 'ubp' or 'arrays'"):
        make_params("bids")


def test_the_preset_is_valid() -> None:
    assert ThingsEeg2Params.model_validate(PRESET["ingest"]["source"]).layout == "raw"
    assert PreprocessParams.model_validate(PRESET["preprocess"]).split.strategy == "official"
