"""`preprocess` turns a study into epochs and trials, and goes on where it was interrupted."""

import shutil
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pyarrow as pa
import pytest

import tasks.preprocess
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.tables import read_table, write_table
from tasks.eeg.epochs import open_file, read_epochs
from tasks.eeg.shards import ShardError
from tasks.eeg.sources.protocol import Recording, SourceError, StoredEpochs
from tasks.eeg.sources.simulated import SimulatedSource
from tasks.eeg.splits import SplitError, TimeChunkSplit
from tasks.ingest import IngestParams, ingest
from tasks.preprocess import DiskError, preprocess
from tasks.runtime.map import Map, serial_map
from tests.eeg.stages import STRICT
from tests.eeg.studies import MiniStudy, make_params, write_recording, write_study

OUTS = ("trials", "epochs", "quality", "averages")


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path / "data" / "raw")


def run(
    study: MiniStudy, map: Map = serial_map, timed: bool = True, **changes: object
) -> Artifacts:
    artifacts = Artifacts(study.raw.parents[1])
    names = ("recordings", "events", "stimuli", "oracle", "topographies")
    ingest(
        study.raw,
        **{name: getattr(artifacts, name) for name in names},
        params=IngestParams.model_validate(
            {"source": {"name": "simulated", "folder": "simulated"}, "on_missing_image": "raise"}
            | STRICT
        ),
        map=serial_map,
    )
    if not timed:
        _forget_times(artifacts)
    preprocess(
        *(getattr(artifacts, name) for name in ("recordings", "events", "stimuli", "raw")),
        **{name: getattr(artifacts, name) for name in OUTS},
        params=make_params(**changes),
        map=map,
    )
    return artifacts


def _forget_times(artifacts: Artifacts) -> None:
    table = read_table(artifacts.recordings, RECORDINGS)
    changed = [row | {"timed": False} for row in table.to_pylist()]
    write_table(pa.Table.from_pylist(changed, RECORDINGS), artifacts.recordings, RECORDINGS)


def rows(artifacts: Artifacts, name: str) -> list[dict[str, Any]]:
    return read_table(getattr(artifacts, name), Artifacts.all()[name].schema).to_pylist()


def contents(artifacts: Artifacts) -> dict[str, bytes]:
    files = [*artifacts.epochs.glob("*"), artifacts.trials, artifacts.quality]
    return {path.name: path.read_bytes() for path in files}


class Counting:
    """A map that counts the recordings that were read, and may stop before one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_before: int | None = None) -> None:
        self.names: list[str] = []
        self.stop_before = stop_before
        original = tasks.preprocess.clean_recording

        self.training: list[Any] = []

        def counted(raw: Any, onsets_s: Any, params: Any, name: str, training: Any) -> Any:
            if len(self.names) == self.stop_before:
                raise KeyboardInterrupt
            self.names.append(name)
            self.training.append(training)
            return original(raw, onsets_s, params, name, training)

        monkeypatch.setattr(tasks.preprocess, "clean_recording", counted)


@pytest.mark.parametrize("whitened", [False, True])
def test_a_disk_too_small_for_the_epochs_is_said_before_anything_is_cleaned(
    study: MiniStudy, monkeypatch: pytest.MonkeyPatch, whitened: bool
) -> None:
    whitening = {"covariance_of": "epochs", "shrinkage": "auto"} if whitened else None
    needed = (1 + whitened) * 2 * study.n_trials * 16 * 80 * 4
    counting = Counting(monkeypatch)
    free = shutil.disk_usage(study.raw)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=needed - 1))
    with pytest.raises(DiskError) as error:
        run(study, whitening=whitening)
    folder = study.raw.parent / "cache" / "preprocess"
    assert str(error.value) == (
        f"The disk of {folder} must have room for the epochs of {2 * study.n_trials} trials, "
        "0.0 GB more than lie there; 0.0 GB are free. Free some, delete recordings of other params from "
        f"{folder}, or lower preprocess.window.sfreq_hz."
    )
    assert not counting.names
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=needed))
    run(study, whitening=whitening)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=0))
    run(study, whitening=whitening)  # they lie there already


def test_every_presentation_has_a_row_and_every_kept_one_an_epoch(study: MiniStudy) -> None:
    limit = rows(run(study), "quality")[0]["peak_to_peak_uv"]  # the median
    artifacts = run(study, reject={"peak_to_peak_uv": limit})
    trials = rows(artifacts, "trials")
    kept = [row["trial_id"] for row in trials if row["kept"]]
    assert len(trials) == 2 * study.n_trials
    assert 0 < len(kept) < len(trials)
    assert all(bool(row["reject_reason"]) != row["kept"] for row in trials)
    assert all(row["concept"] == study.concepts[row["stimulus_id"]] for row in trials)
    eeg, info = read_epochs(artifacts.epochs, kept)
    assert eeg.shape == (len(kept), 16, 80)
    assert info.sfreq_hz == 100
    on_disk = [len(open_file(path)[0]) for path in sorted(artifacts.epochs.iterdir())]
    quality = rows(artifacts, "quality")
    assert sum(on_disk) == len(kept)
    assert [row["n_kept"] for row in quality] == on_disk
    assert {row["n_events"] for row in quality} == {study.n_trials}


def test_a_stimulus_is_in_one_split_for_all_subjects(study: MiniStudy) -> None:
    splits: dict[str, set[str]] = {}
    for row in rows(run(study), "trials"):
        splits.setdefault(row["stimulus_id"], set()).add(row["split"])
    assert all(len(parts) == 1 for parts in splits.values())
    assert set().union(*splits.values()) == {"train", "validation", "test", "zero_shot"}


def test_an_interrupted_run_goes_on_with_the_same_result(
    study: MiniStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(run(write_study(study.raw.parents[1] / "other" / "data" / "raw")))
    with monkeypatch.context() as patch:
        Counting(patch, stop_before=1)
        with pytest.raises(KeyboardInterrupt):
            run(study)
    counting = Counting(monkeypatch)
    resumed = contents(run(study))
    assert counting.names == ["sub-02_ses-01"]
    assert resumed == whole


def test_a_further_subject_or_split_computes_nothing_twice(
    study: MiniStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {row["trial_id"]: row for row in rows(run(study), "trials")}
    write_recording(study, "sub-03_ses-01", 7, 250.0)
    counting = Counting(monkeypatch)
    after = {row["trial_id"]: row for row in rows(run(study), "trials")}
    assert counting.names == ["sub-03_ses-01"]
    assert {name: after[name] for name in before} == before
    run(study, split={"seed": 1})
    assert counting.names == ["sub-03_ses-01"]
    run(study, baseline_s=None)
    assert len(counting.names) == 4


def test_a_recording_that_is_gone_leaves_no_epochs(study: MiniStudy) -> None:
    run(study)
    study.recording_file("sub-02_ses-01").unlink()
    artifacts = run(study)
    assert [path.name for path in artifacts.epochs.iterdir()] == ["sub-01_ses-01.arrow"]
    assert {row["subject"] for row in rows(artifacts, "trials")} == {"sub-01"}


def test_moved_events_are_cut_anew(study: MiniStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study)
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("\n4.0\t", "\n4.1\t"))
    counting = Counting(monkeypatch)
    run(study)
    assert counting.names == ["sub-01_ses-01"]


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("epochs.arrow", "the bytes of its epochs have changed"),
        ("findings.json", r"it cannot be read \("),
    ],
)
def test_a_damaged_cache_entry_is_refused_and_the_rest_is_kept(
    study: MiniStudy, name: str, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study)
    entry = next((study.raw.parent / "cache" / "preprocess").glob("sub-02*"))
    damaged = entry / name
    data = damaged.read_bytes()
    damaged.unlink()  # the outputs may be the same file
    damaged.write_bytes(data[:100])
    message = (
        f"{finding}.*Delete that folder and run the stage again: the other recordings are kept"
    )
    with pytest.raises(ShardError, match=message):
        run(study)
    for path in entry.iterdir():
        path.unlink()
    counting = Counting(monkeypatch)
    run(study)
    assert counting.names == ["sub-02_ses-01"]


def test_a_block_design_is_warned_of(study: MiniStudy, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("sub-01_ses-01", "sub-02_ses-01"):
        header, *lines = study.events_file(name).read_text().splitlines()
        shown = [line.split("\t") for line in lines]
        for row, stimulus in zip(shown, sorted(row[2] for row in shown), strict=True):
            row[2] = stimulus
        text = "\n".join([header, *("\t".join(row) for row in shown)])
        study.events_file(name).write_text(text + "\n")
    run(study)
    assert "block design: class and time are confounded" in caplog.text


def test_an_untimed_recording_is_not_judged_nor_split_by_time(
    study: MiniStudy, caplog: pytest.LogCaptureFixture
) -> None:
    run(study, timed=False)
    assert "whether class and time are confounded cannot be told" in caplog.text
    chunks = {"n_chunks": 4, "test_chunk": 3, "validation_chunk": 1, "guard_s": 1.0}
    split = TimeChunkSplit(strategy="time_chunk", **chunks)
    with pytest.raises(SplitError, match="were not published: sub-01_ses-01, sub-02_ses-01"):
        run(study, timed=False, split=split)


def test_whitened_epochs_are_cached_and_clean_ones_kept(
    study: MiniStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = run(study)
    trials = rows(clean, "trials")
    counting = Counting(monkeypatch)
    whitening = {"covariance_of": "epochs", "shrinkage": "auto"}
    first = contents(run(study, whitening=whitening))
    monkeypatch.setattr("tasks.eeg.whitening.fit_session", None)
    artifacts = run(study, whitening=whitening)
    assert contents(artifacts) == first
    assert counting.names == []
    assert rows(artifacts, "trials") == trials
    eeg, info = read_epochs(artifacts.epochs, [row["trial_id"] for row in trials if row["kept"]])
    assert info.unit == "whitened"
    assert eeg[:, :, 20:].std() == pytest.approx(1, abs=0.3)


def test_a_recording_of_which_no_trial_is_kept_is_said_aloud_each_time(
    study: MiniStudy, caplog
) -> None:
    path = study.recording_file("sub-02_ses-01")
    raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
    raw.apply_function(lambda signal: 200 * signal).save(path, overwrite=True, verbose="ERROR")
    for _ in range(2):
        caplog.clear()
        run(study)
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said.startswith("sub-02_ses-01: none of its 32 trials is kept: ")


@pytest.mark.parametrize("n_missing", [0, 1])
def test_stored_epochs_are_taken_one_per_event(
    study: MiniStudy, n_missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Publisher(SimulatedSource):
        def read(self, recording: Recording) -> StoredEpochs:
            raw = super().read(recording)
            starts = [round((4 + 0.8 * i - 0.1) * 250) for i in range(study.n_trials - n_missing)]
            signal = raw.get_data() * 1e6
            eeg = np.stack([signal[:, start : start + 200] for start in starts])
            return StoredEpochs(eeg.astype(np.float32), raw.info, -0.1, "uV")

    monkeypatch.setattr(
        tasks.preprocess, "open_source", lambda params, raw: Publisher(raw / params.folder, params)
    )
    off = {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []}
    if n_missing:
        message = "must store one epoch per event; it stores 31 and event 31 is wanted"
        with pytest.raises(SourceError, match=message):
            run(study, filters=off)
        return
    artifacts = run(study, filters=off)
    kept = [row["trial_id"] for row in rows(artifacts, "trials") if row["kept"]]
    eeg, info = read_epochs(artifacts.epochs, kept)
    assert eeg.shape == (2 * study.n_trials, 16, 80)
    assert info.filters == "as published"
    assert all(np.isnan(row["drift_uv"]) for row in rows(artifacts, "quality"))


def test_repetitions_are_averaged_over_the_sessions_of_a_subject(tmp_path: Path) -> None:
    study = write_study(tmp_path / "data" / "raw", ("sub-01_ses-01", "sub-01_ses-02"))
    single = read_all(run(study))
    sizes = {"train": 2, "validation": 1, "test": 80, "zero_shot": 1}
    artifacts = run(study, repetitions=sizes)
    trials = rows(artifacts, "trials")
    averaged = [row for row in trials if row["reject_reason"].startswith("averaged into ")]
    assert averaged
    assert {row["split"] for row in averaged} == {"train", "test"}
    found = read_all(artifacts)
    for row in averaged:
        first = row["reject_reason"].removeprefix("averaged into ")
        mean = (single[first] + single[row["trial_id"]]) / 2
        np.testing.assert_allclose(found[first], mean, rtol=1e-5, atol=1e-5)
    assert found.keys() == {row["trial_id"] for row in trials if row["kept"]}


def read_all(artifacts: Artifacts) -> dict[str, np.ndarray]:
    kept = [row["trial_id"] for row in rows(artifacts, "trials") if row["kept"]]
    return dict(zip(kept, read_epochs(artifacts.epochs, kept)[0], strict=True))


def test_fitted_steps_are_told_the_training_trials_alone(
    study: MiniStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    run(study)
    assert counting.training == [None, None]
    autoreject = {"n_interpolate": [1], "consensus": [0.5], "folds": 2, "seed": 0}
    artifacts = run(study, reject={"autoreject": autoreject})
    trials = rows(artifacts, "trials")
    for name, training in zip(counting.names[2:], counting.training[2:], strict=True):
        splits = [row["split"] for row in trials if row["recording_id"] == name]
        assert training == [split == "train" for split in splits]
