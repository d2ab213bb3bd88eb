"""`ingest` writes what a study holds, or says what is wrong with it."""

from pathlib import Path

import mne
import numpy as np
import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.pictures import UnreadablePictureError
from tasks.artifacts.tables import read_table
from tasks.eeg.sources.protocol import SourceError
from tasks.ingest import IngestParams, ingest
from tasks.runtime.files import sha256_of
from tasks.runtime.map import serial_map
from tests.eeg.studies import MiniStudy, make_raw, make_signal, write_recording, write_study

NAMES = ("recordings", "events", "stimuli", "oracle", "topographies")


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path / "data" / "raw", ("sub-01_ses-01", "sub-01_ses-02"))


def run(study: MiniStudy, on_missing_image: str = "raise") -> Artifacts:
    artifacts = Artifacts(study.raw.parents[1])
    params = IngestParams.model_validate(
        {
            "source": {"name": "simulated", "folder": "simulated"},
            "on_missing_image": on_missing_image,
        }
    )
    outs = {name: getattr(artifacts, name) for name in NAMES}
    ingest(study.raw, **outs, params=params, map=serial_map)
    return artifacts


def rows(artifacts: Artifacts, name: str) -> list[dict]:
    return read_table(getattr(artifacts, name), Artifacts.all()[name].schema).to_pylist()


def complaint(study: MiniStudy) -> str:
    with pytest.raises(SourceError) as error:
        run(study)
    return str(error.value)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_tables_say_what_the_study_holds(study: MiniStudy) -> None:
    artifacts = run(study)
    first = rows(artifacts, "recordings")[0]
    path = study.recording_file("sub-01_ses-01")
    assert first == {
        "recording_id": "sub-01_ses-01",
        "dataset": "simulated",
        "source": '{"name":"simulated","folder":"simulated"}',
        "subject": "sub-01",
        "session": "ses-01",
        "path": path.as_posix(),
        "timed": True,
        "sfreq_hz": 250.0,
        "n_channels": 16,
        "duration_s": 33.6,
        "sha256": sha256_of(path),
    }
    events = rows(artifacts, "events")
    assert len(events) == 2 * study.n_trials
    assert [e["presentation_order"] for e in events[:3]] == [0, 1, 2]
    assert {s["stimulus_id"]: s["concept"] for s in rows(artifacts, "stimuli")} == study.concepts
    assert {s["width_px"] for s in rows(artifacts, "stimuli")} == {8}
    assert rows(artifacts, "oracle") == rows(artifacts, "topographies") == []


def test_repetitions_count_over_the_sessions_of_a_subject(study: MiniStudy) -> None:
    write_recording(study, "sub-02_ses-01", 5, 250.0)
    events = rows(run(study), "events")
    repetitions = {name: set() for name in ("sub-01_ses-01", "sub-01_ses-02", "sub-02_ses-01")}
    for event in events:
        repetitions[event["recording_id"]].add(event["repetition"])
    assert repetitions == {"sub-01_ses-01": {0}, "sub-01_ses-02": {1}, "sub-02_ses-01": {0}}


def test_missing_images_are_listed_or_dropped(study: MiniStudy, caplog) -> None:
    for i in range(8):
        (study.folder / "stimuli" / f"c1_{i}.png").unlink()
    for i in range(4):
        (study.folder / "stimuli" / f"c2_{i}.png").unlink()
    with pytest.raises(SourceError) as error:
        run(study)
    assert str(error.value) == (
        "Every stimulus in the events must have its image on disk; 12 are missing: c1_0, c1_1, c1_2, "
        "c1_3, c1_4, c1_5, c1_6, c1_7, c2_0, c2_1, .... Add them, or set ingest.on_missing_image to drop."
    )
    artifacts = run(study, on_missing_image="drop")
    assert len(rows(artifacts, "events")) == 2 * (study.n_trials - 12)
    assert len(rows(artifacts, "stimuli")) == study.n_trials - 12
    assert "24 trials are left out: the images of their 12 stimuli are missing." in caplog.text


def test_a_truncated_image_is_refused(study: MiniStudy) -> None:
    path = study.folder / "stimuli" / "c0_0.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UnreadablePictureError, match=r"c0_0\.png must be a whole picture"):
        run(study)


def test_an_event_of_an_unlisted_stimulus_is_refused(study: MiniStudy) -> None:
    edit(study.events_file("sub-01_ses-02"), "c3_7", "c9_9")
    assert complaint(study) == (
        "Every stimulus in the events must be listed among the stimuli; 1 are missing: c9_9. Add them "
        "to its table, or mend the events."
    )


def test_a_recording_without_events_is_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-02")
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert complaint(study) == (
        "sub-01_ses-02 must have events; it has none. Add them or leave it out."
    )


def test_duplicated_trials_are_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[5]]) + "\n")
    with pytest.raises(SourceError) as error:
        run(study)
    assert str(error.value) == (
        "All presentation orders in sub-01_ses-01 must be unique; 1 occur more than once: 4. "
        "Mend the tables of the study."
    )


def test_events_after_the_end_are_refused(study: MiniStudy) -> None:
    edit(study.events_file("sub-01_ses-01"), "\n4.0\t", "\n400.0\t")
    assert complaint(study) == (
        "Every event of sub-01_ses-01 must lie inside its 33.6 s; 1 lie outside, the first at 400.000 s. "
        "The recording is truncated, or the events belong to another one: copy both from their origin "
        "again."
    )


def test_sampling_rates_that_differ_are_refused(study: MiniStudy) -> None:
    write_recording(study, "sub-02_ses-01", 5, 256.0)
    with pytest.raises(SourceError) as error:
        run(study)
    assert str(error.value) == (
        "All recordings must have one sampling rate; sub-01_ses-01 and sub-02_ses-01 have 250 and "
        "256 Hz. Resample the raw files or leave one out."
    )


def test_channels_that_differ_are_refused(study: MiniStudy) -> None:
    path = study.recording_file("sub-01_ses-02")
    raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
    raw.reorder_channels(["Fp2", "Fp1", *raw.ch_names[2:]]).save(
        path, overwrite=True, verbose="ERROR"
    )
    assert complaint(study) == (
        "All recordings must have the same channels in one order; sub-01_ses-01 and sub-01_ses-02 have "
        "16 and 16, and differ in 2 places: Fp1 and Fp2, Fp2 and Fp1. Rename, reorder or drop channels "
        "in the source."
    )


def test_a_recording_that_mne_cannot_read_is_refused(study: MiniStudy) -> None:
    path = study.recording_file("sub-01_ses-02")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[-16:])
    with pytest.raises(
        SourceError, match=r"(whole recording; MNE cannot read it|must lie inside its)"
    ):
        run(study)


def test_running_twice_gives_the_same_bytes(study: MiniStudy) -> None:
    artifacts = run(study)
    first = {name: getattr(artifacts, name).read_bytes() for name in NAMES}
    run(study)
    assert {name: getattr(artifacts, name).read_bytes() for name in NAMES} == first


def test_non_eeg_channels_are_not_counted(study: MiniStudy) -> None:
    for name in ("sub-01_ses-01", "sub-01_ses-02"):
        raw = make_raw(make_signal(8400)).set_channel_types({"Fp1": "eog"})
        raw.save(study.recording_file(name), overwrite=True, verbose="ERROR")
    assert {r["n_channels"] for r in rows(run(study), "recordings")} == {15}
    assert np.isclose(rows(run(study), "recordings")[0]["duration_s"], 33.6)
