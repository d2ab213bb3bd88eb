"""`ingest` writes what a study holds, or says what is wrong with it."""

from pathlib import Path

import mne
import numpy as np
import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.pictures import UnreadablePictureError
from tasks.artifacts.tables import read_table
from tasks.eeg.sources.protocol import BROKEN, Recording, SourceError
from tasks.eeg.sources.simulated import SimulatedParams, SimulatedSource
from tasks.ingest import IngestParams, ingest
from tasks.runtime.files import sha256_of
from tasks.runtime.map import serial_map
from tests.eeg.stages import STRICT
from tests.eeg.studies import MiniStudy, make_raw, make_signal, write_recording, write_study

NAMES = ("recordings", "events", "stimuli", "oracle", "topographies")


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path / "data" / "raw", ("sub-01_ses-01", "sub-01_ses-02"))


def run(study: MiniStudy, on_missing_image: str = "raise", **changes: str) -> Artifacts:
    artifacts = Artifacts(study.raw.parents[1])
    params = IngestParams.model_validate(
        {
            "source": {"name": "simulated", "folder": "simulated"},
            "on_missing_image": on_missing_image,
            **(STRICT | changes),
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
        "16 and 16, and differ in 2 places: Fp1 and Fp2, Fp2 and Fp1. Rename, order or drop them by "
        "ingest.source.channels (sources bids and epochs), or in the files."
    )


def test_a_recording_that_mne_cannot_read_is_refused(study: MiniStudy) -> None:
    path = study.recording_file("sub-01_ses-02")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[-16:])
    with pytest.raises(
        SourceError, match=r"(whole recording; its last sample cannot be read|must lie inside its)"
    ):
        run(study)


def test_running_twice_gives_the_same_bytes(study: MiniStudy) -> None:
    artifacts = run(study)
    first = {name: getattr(artifacts, name).read_bytes() for name in NAMES}
    run(study)
    assert {name: getattr(artifacts, name).read_bytes() for name in NAMES} == first


def test_non_eeg_channels_are_not_counted(study: MiniStudy) -> None:
    for seed, name in enumerate(("sub-01_ses-01", "sub-01_ses-02")):
        raw = make_raw(make_signal(8400, seed=seed)).set_channel_types({"Fp1": "eog"})
        raw.save(study.recording_file(name), overwrite=True, verbose="ERROR")
    assert {r["n_channels"] for r in rows(run(study), "recordings")} == {15}
    assert np.isclose(rows(run(study), "recordings")[0]["duration_s"], 33.6)


STAND_INS = {
    "a link to nothing": lambda path: path.symlink_to("../.git/annex/objects/gone"),
    "an empty file": lambda path: path.touch(),
    "git-annex, unlocked": lambda path: path.write_text("/annex/objects/SHA256E-s1--2.fif\n"),
    "Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 1\n"),
}


@pytest.mark.parametrize("kind", STAND_INS)
def test_recordings_that_were_not_fetched_are_refused_or_left_out_and_counted(
    study: MiniStudy, kind: str, caplog
) -> None:
    path = study.recording_file("sub-01_ses-02")
    path.unlink()
    STAND_INS[kind](path)
    assert complaint(study) == (
        "Every recording that the study lists must be on disk, and not a link or a stand-in; 1 are missing: "
        f"{path.as_posix()}. Fetch them (`datalad get`, `git annex get`, `git lfs pull`), or set "
        "ingest.on_missing_recording to drop."
    )
    artifacts = run(study, on_missing_recording="drop")
    assert [r["recording_id"] for r in rows(artifacts, "recordings")] == ["sub-01_ses-01"]
    assert f"1 files are left out, for they are not on disk: {path}" in caplog.text
    study.recording_file("sub-01_ses-01").unlink()
    study.recording_file("sub-01_ses-01").touch()
    with pytest.raises(
        SourceError, match=r"must hold a recording that is on disk; 2 files are not"
    ):
        run(study, on_missing_recording="drop")


@pytest.mark.parametrize("kind", STAND_INS)
def test_pictures_that_were_not_fetched_are_missing(study: MiniStudy, kind: str) -> None:
    path = study.folder / "stimuli" / "c0_0.png"
    path.unlink()
    STAND_INS[kind](path)
    assert "must have its image on disk; 1 are missing: c0_0." in complaint(study)
    assert len(rows(run(study, on_missing_image="drop"), "stimuli")) == study.n_trials - 1


def test_a_recording_that_is_there_twice_is_refused(study: MiniStudy) -> None:
    first, second = map(study.recording_file, ("sub-01_ses-01", "sub-01_ses-02"))
    second.write_bytes(first.read_bytes())
    assert complaint(study) == (
        f"Every recording must be there once; {second} holds the very bytes of {first}. Take one of them away, "
        "or copy the right one from its origin."
    )


def test_a_picture_under_two_names_is_refused_or_its_trials_are_dropped(
    study: MiniStudy, caplog
) -> None:
    folder = study.folder / "stimuli"
    (folder / "c1_3.png").write_bytes((folder / "c0_0.png").read_bytes())
    text = complaint(study)
    assert "must be there under one name; 1 have the very bytes of another: c1_3 and c0_0." in text
    artifacts = run(study, on_repeated_image="drop")
    assert "c1_3" not in {row["stimulus_id"] for row in rows(artifacts, "stimuli")}
    assert len(rows(artifacts, "events")) == 2 * (study.n_trials - 1)
    assert (
        "2 trials are left out: the images of their 1 stimuli are also those of others."
        in caplog.text
    )


def test_a_recording_of_which_every_trial_is_left_out_is_left_out_and_named(
    study: MiniStudy, caplog
) -> None:
    path = study.events_file("sub-01_ses-02")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line for line in lines if "c0_0" in line)]) + "\n")
    (study.folder / "stimuli" / "c0_0.png").unlink()
    artifacts = run(study, on_missing_image="drop")
    assert [r["recording_id"] for r in rows(artifacts, "recordings")] == ["sub-01_ses-01"]
    assert "1 recordings are left out, for no trial of them is left: sub-01_ses-02" in caplog.text


@pytest.mark.parametrize("method", ["recordings", "events", "stimuli", "read", "official_split"])
@pytest.mark.parametrize("kind", [*BROKEN, UnicodeDecodeError])
def test_whatever_a_reader_raises_is_one_sentence_with_the_file_and_the_class(
    tmp_path: Path, method: str, kind: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise kind("utf-8", b"", 0, 1, "no") if kind is UnicodeDecodeError else kind("no\nreally")

    broken = type("Broken", (SimulatedSource,), {method: fail})
    source = broken(tmp_path, SimulatedParams(name="simulated", folder="mine"))
    recording = Recording("sub-01_ses-01", "sub-01", "ses-01", tmp_path / "a.fif")
    arguments = [recording] if method in ("events", "read") else []
    with pytest.raises(SourceError) as error:
        getattr(source, method)(*arguments)
    where = recording.path if arguments else tmp_path
    assert str(error.value).startswith(
        f"{where} must be whole, and what the source simulated expects;"
    )
    assert f"it cannot be read ({kind.__name__}: " in str(error.value)
    assert "\n" not in str(error.value)
