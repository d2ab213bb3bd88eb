"""Epochs of a lab: FIF with metadata and arrays with tables, and what is said where they are broken."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest

from tasks.eeg.epochs import read_epochs
from tasks.eeg.quality import QualityError
from tasks.eeg.sources.epochs import EpochsParams, EpochsSource
from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.study import examine_recording
from tasks.runtime.files import sha256_of
from tests.conftest import preset
from tests.eeg.stages import rows, run_ingest, run_preprocess
from tests.eeg.studies import CHANNELS, make_signal, save_picture
from tests.published_layouts import lab_arrays, lab_epochs

PRESET = preset("epochs")
KINDS = ("fif", "npy", "npz")
N_EPOCHS, N_TIMES = 6, 225
TABLE = pd.DataFrame(
    {
        "picture": ["a/1.png", "b/1.png", "a/2.png", "b/2.png", "a/1.png", "b/1.png"],
        "concept": ["a", "b"] * 3,
        "split": ["train", "train", "test", "test", "train", "train"],
        "rt": [0.3, 0.4] * 3,
    }
)


def make_eeg(seed: int = 0) -> np.ndarray:
    return np.stack([make_signal(N_TIMES, seed=10 * seed + i) for i in range(N_EPOCHS)])


def params_of(kind: str, unit: str = "uV", **changes: Any) -> EpochsParams:
    values: dict[str, Any] = dict(PRESET["ingest"]["source"])
    if kind != "fif":
        values |= {name.split(".")[-1]: v for name, v in lab_arrays(kind, unit).items()}
    return EpochsParams.model_validate(values | changes)


def write(
    folder: Path,
    kind: str,
    name: str = "sub-01_ses-01",
    table: pd.DataFrame | None = TABLE,
    eeg: np.ndarray | None = None,
) -> Path:
    path = folder / f"{name}-epo.{kind}"
    eeg = make_eeg() if eeg is None else eeg
    if kind == "fif":
        lab_epochs(eeg, table).save(path, overwrite=True, verbose="ERROR")
        return path
    if table is not None:
        table.to_csv(path.with_suffix(".csv"), index=False)
    save: Callable[..., None] = np.save if kind == "npy" else np.savez
    save(path, eeg)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "raw" / "epochs"
    for name in set(TABLE["picture"]):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        save_picture(folder / "images" / name)
    return folder


def complaint(folder: Path, kind: str, **changes: Any) -> str:
    source = EpochsSource(folder, params_of(kind, **changes))
    with pytest.raises(SourceError) as error:
        _read_all(source)
    return str(error.value)


def _read_all(source: EpochsSource) -> None:
    for recording in source.recordings():
        source.events(recording)
        source.stimuli()
        source.official_split()
        source.read(recording)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_says_the_same(folder: Path, kind: str) -> None:
    write(folder, kind)
    write(folder, kind, "sub-02_ses-03", eeg=make_eeg(1))
    source = EpochsSource(folder, params_of(kind, split_column="split", in_order=False))
    recordings = source.recordings()
    assert [(r.recording_id, r.subject, r.session, r.timed) for r in recordings] == [
        ("sub-01_ses-01", "sub-01", "ses-01", False),
        ("sub-02_ses-03", "sub-02", "ses-03", False),
    ]
    events = source.events(recordings[1])
    assert [e.stimulus_id for e in events] == TABLE["picture"].tolist()
    assert [e.onset_s for e in events] == pytest.approx(0.9 * np.arange(N_EPOCHS))
    assert {s.stimulus_id: s.concept for s in source.stimuli()} == dict(
        zip(TABLE["picture"], TABLE["concept"], strict=True)
    )
    assert source.official_split() == dict(zip(TABLE["picture"], TABLE["split"], strict=True))
    stored = source.read(recordings[1])
    assert (stored.eeg.dtype, stored.unit, stored.tmin_s) == (np.float32, "uV", -0.1)
    np.testing.assert_allclose(stored.eeg, make_eeg(1), rtol=1e-5, atol=1e-4)
    assert tuple(stored.info["ch_names"]) == CHANNELS
    assert all(np.linalg.norm(c["loc"][:3]) > 0.05 for c in stored.info["chs"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_preset_reaches_epochs(folder: Path, kind: str) -> None:
    write(folder, kind)
    write(folder, kind, "sub-01_ses-02", eeg=make_eeg(1))
    source = params_of(kind, split_column="split").model_dump()
    artifacts = run_ingest(folder.parent, source)
    assert {row["n_channels"] for row in rows(artifacts, "recordings")} == {16}
    split = {"strategy": "official", "seed": 0, "validation_fraction": 0.5}
    run_preprocess(artifacts, PRESET["preprocess"] | {"split": split})
    trials = rows(artifacts, "trials")
    assert {row["split"] for row in trials if row["stimulus_id"] in ("a/2.png", "b/2.png")} == {
        "test",
        "zero_shot",  # of the concept whose other picture validates
    }
    eeg, info = read_epochs(artifacts.epochs, [t["trial_id"] for t in trials if t["kept"]])
    assert eeg.shape == (2 * N_EPOCHS, 16, 200)
    assert (info.unit, info.sfreq_hz, info.tmin_s) == ("uV", 250.0, -0.1)


def test_volt_becomes_microvolt_and_standardised_numbers_stay(folder: Path) -> None:
    write(folder, "npz", eeg=1e-6 * make_eeg())
    source = EpochsSource(folder, params_of("npz", "V"))
    (recording,) = source.recordings()
    np.testing.assert_allclose(source.read(recording).eeg, make_eeg(), rtol=1e-5, atol=1e-4)
    stored = EpochsSource(folder, params_of("npz", "standardised")).read(recording)
    assert stored.unit == "standardised"
    np.testing.assert_allclose(stored.eeg, 1e-6 * make_eeg(), rtol=1e-5, atol=1e-10)


def test_numbers_of_an_npy_file_stay_on_disk(folder: Path) -> None:
    write(folder, "npy", eeg=make_eeg().astype(np.float32))
    source = EpochsSource(folder, params_of("npy"))
    (recording,) = source.recordings()
    assert isinstance(source.read(recording).eeg, np.memmap)


def test_several_files_of_a_session_are_runs(folder: Path) -> None:
    for part in ("a", "b"):
        write(folder, "fif", f"sub-1_ses-1_{part}")
    files = r"sub-(?P<subject>\d+)_ses-(?P<session>\d+)_.*-epo\.fif"
    recordings = EpochsSource(folder, params_of("fif", files=files)).recordings()
    assert [r.recording_id for r in recordings] == ["sub-01_ses-01_run-01", "sub-01_ses-01_run-02"]
    assert [r.path.name for r in recordings] == ["sub-1_ses-1_a-epo.fif", "sub-1_ses-1_b-epo.fif"]


def test_a_file_that_mne_split_is_one_recording_with_the_hash_of_all(folder: Path) -> None:
    eeg = np.repeat(make_eeg(), 60, axis=0)
    path = folder / "sub-01_ses-01-epo.fif"
    table = pd.concat([TABLE] * 60, ignore_index=True)
    lab_epochs(np.concatenate([make_eeg(seed) for seed in range(60)]), table).save(
        path, split_size="2MB", verbose="ERROR"
    )
    source = EpochsSource(folder, params_of("fif"))
    (recording,) = source.recordings()
    assert source.read(recording).eeg.shape == eeg.shape
    assert (folder / "sub-01_ses-01-epo-1.fif").exists()
    assert examine_recording(source, recording).sha256 != sha256_of(path)


def test_positions_come_from_the_file_then_the_montage_or_are_not_known(folder: Path) -> None:
    path = folder / "sub-01_ses-01-epo.fif"
    bare = lab_epochs(make_eeg(), TABLE).set_montage(None)
    bare.save(path, verbose="ERROR")

    def places(montage: str | None) -> list[bool]:
        source = EpochsSource(folder, params_of("fif", montage=montage))
        info = source.read(source.recordings()[0]).info
        return [bool(np.linalg.norm(np.nan_to_num(c["loc"][:3])) > 0) for c in info["chs"]]

    assert not any(places(None))
    assert all(places("colin27_1005"))
    assert "ingest.source.montage must be a montage of MNE" in complaint(
        folder, "fif", montage="GSN-HydroCel-32"
    )


def test_epochs_without_metadata(folder: Path) -> None:
    path = write(folder, "fif", table=None)
    assert complaint(folder, "fif") == (
        f"{path} must have metadata that say what each epoch shows; it has none. Set epochs.metadata to a "
        "table with the columns ['picture', 'concept'], and save the file again."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_missing(folder: Path, kind: str) -> None:
    path = write(folder, kind, table=TABLE.drop(columns="concept"))
    where = path if kind == "fif" else path.with_suffix(".csv")
    assert complaint(folder, kind) == (
        f"The table of {where} must have the columns ['picture', 'concept']; ['concept'] are missing from "
        "['picture', 'split', 'rt']. Mend the file, or name something else in ingest.source."
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", ["", None, np.nan])
def test_a_cell_that_says_nothing(folder: Path, kind: str, nothing: object) -> None:
    table = TABLE.astype({"concept": object})
    table.loc[[2, 4], "concept"] = nothing
    path = write(folder, kind, table=table)
    where = path if kind == "fif" else path.with_suffix(".csv")
    assert complaint(folder, kind) == (
        f"Every row of {where} must say its 'concept'; 2 do not, the first is row 2 (0 is the first). "
        "Fill them in, or drop these epochs."
    )


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_more_or_fewer_rows_than_epochs(folder: Path, kind: str) -> None:
    path = write(folder, kind, table=TABLE[:5])
    assert complaint(folder, kind) == (
        f"{path.with_suffix('.csv')} must have a row for each of the 6 epochs of {path.name}; it has 5. "
        "Mend the file, or name something else in ingest.source."
    )


def test_a_table_that_is_missing(folder: Path) -> None:
    path = write(folder, "npy", table=None)
    assert complaint(folder, "npy").startswith(
        f"{path.with_suffix('.csv')} must be a CSV table with a row per epoch; it cannot be read ("
    )


def test_a_picture_of_two_concepts_or_parts(folder: Path) -> None:
    write(folder, "fif")
    path = write(folder, "fif", "sub-02_ses-01", TABLE.assign(concept="c", split="test"))
    assert complaint(folder, "fif") == (
        f"A picture must have one 'concept' in all tables; a/1.png has 'a' and 'c', the latter in {path}. "
        "Mend the file, or name something else in ingest.source."
    )
    write(folder, "fif", "sub-02_ses-01", TABLE.assign(split="test"))
    assert "one 'split' in all tables" in complaint(folder, "fif", split_column="split")


def test_a_picture_that_is_not_on_disk_is_ingests_to_refuse(folder: Path) -> None:
    table = TABLE.replace("a/1.png", "a/9.png")
    write(folder, "fif", table=table)
    with pytest.raises(SourceError, match=r"have its image on disk; 1 are missing: a/9\.png\. Add"):
        run_ingest(folder.parent, params_of("fif").model_dump())


def test_a_picture_outside_the_study(folder: Path) -> None:
    write(folder, "fif", table=TABLE.replace("a/1.png", "../../../a.png"))
    with pytest.raises(SourceError, match="Every file of a study must lie in"):
        run_ingest(folder.parent, params_of("fif").model_dump())


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_that_are_not_finite(folder: Path, kind: str) -> None:
    eeg = make_eeg()
    eeg[3, 5, 7] = np.nan
    write(folder, kind, eeg=eeg)
    artifacts = run_ingest(folder.parent, params_of(kind).model_dump())
    with pytest.raises(
        QualityError, match=r"must be finite; 1 channels hold NaN or infinity: C4\."
    ):
        run_preprocess(artifacts, PRESET["preprocess"])


@pytest.mark.parametrize(
    ("eeg", "found"),
    [
        (np.zeros((6, 225)), r"shape \(6, 225\) of float64"),
        (np.zeros((6, 16, 225), int), r"shape \(6, 16, 225\) of int64"),
        (np.zeros((0, 16, 225)), r"shape \(0, 16, 225\) of float64"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_another_shape(folder: Path, kind: str, eeg: np.ndarray, found: str) -> None:
    write(folder, kind, eeg=eeg)
    source = EpochsSource(folder, params_of(kind))
    with pytest.raises(SourceError, match=rf"floats of epochs x channels x times; found {found}\."):
        source.events(source.recordings()[0])


def test_channels_that_are_not_those_of_the_array(folder: Path) -> None:
    path = write(folder, "npy", eeg=make_eeg()[:, :15])
    assert complaint(folder, "npy") == (
        f"{path} must hold epochs x 16 channels x times, as many as ingest.source.arrays.channels names; it "
        "holds an array of shape (6, 15, 225). Mend the names."
    )


def test_several_arrays_in_a_file(folder: Path) -> None:
    path = write(folder, "npz")
    np.savez(path, a=make_eeg(), b=make_eeg())
    assert complaint(folder, "npz") == (
        f"{path} must hold one array, or one called 'eeg'; it holds ['a', 'b']. Mend the file, or name "
        "something else in ingest.source."
    )
    np.savez(path, eeg=make_eeg(), b=np.zeros(3))
    source = EpochsSource(folder, params_of("npz"))
    assert source.read(source.recordings()[0]).eeg.shape == (6, 16, 225)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_and_one_that_is_no_such_file(folder: Path, kind: str) -> None:
    path = write(folder, kind)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    text = complaint(folder, kind)
    assert text.startswith(f"{path} must ")
    assert text.count(". ") >= 1
    raw = mne.io.RawArray(make_signal(500) * 1e-6, mne.create_info(16, 250, "eeg"), verbose="ERROR")
    if kind == "fif":
        path.unlink()
        raw.save(folder / "raw.fif", verbose="ERROR", overwrite=True)
        (folder / "raw.fif").rename(path)
        assert f"{path} must hold epochs of MNE" in complaint(folder, kind)


def test_code_in_an_array_is_not_run(folder: Path) -> None:
    write(folder, "npy")
    np.save(folder / "sub-01_ses-01-epo.npy", np.array([Path("/")], dtype=object))
    assert "must hold arrays and plain containers only" in complaint(folder, "npy")
    write(folder, "npz")
    np.savez(folder / "sub-01_ses-01-epo.npz", eeg=np.array([Path("/")], dtype=object))
    assert "must be a whole .npz file of numbers" in complaint(folder, "npz")


@pytest.mark.parametrize(("unit", "typical"), [("uV", "e-05"), ("V", "e-05")])
def test_another_unit_than_said(folder: Path, unit: str, typical: str) -> None:
    write(folder, "npy", eeg=make_eeg() * (1e-6 if unit == "uV" else 1e-12))
    text = complaint(folder, "npy", arrays=params_of("npy", unit).arrays)
    assert f"must be in {unit}, with channels that deviate by 0.01 to 5000 uV" in text
    assert typical in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": "nothing"}, "must have the groups"),
        ({"files": "(?P<subject>x)(?P<session>y)"}, "must hold files that match"),
        (
            {"files": r"sub-(?P<subject>\d+)_ses-(?P<session>\d+)-epo.*"},
            "must end in .fif where ingest.source.arrays is null",
        ),
    ],
)
def test_patterns_that_do_not_fit(folder: Path, changes: dict[str, str], message: str) -> None:
    write(folder, "npy")
    assert message in complaint(folder, "fif", **changes)
