"""`percept doctor` says before any work what later stages would refuse."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tasks.commands.doctor import examine
from tests.conftest import preset
from tests.eeg.stages import run_ingest
from tests.eeg.studies import write_study as write_mini_study

IMAGE = {
    "strategy": "image",
    "seed": 0,
    "zero_shot_fraction": 0.25,
    "test_fraction": 0.25,
    "validation_fraction": 0.25,
}
PICTURES = [(f"c{c}_{i}.png", f"c{c}") for c in range(4) for i in range(8)]


def write_study(root: Path, split: Mapping[str, str] | None = None) -> Path:
    """Write a BIDS study without any EEG: what is told of its parts rests on the events alone."""
    folder = root / "data" / "raw" / "bids"
    (folder / "images").mkdir(parents=True)
    table = pd.DataFrame(PICTURES, columns=["stimulus", "concept"])
    table["image"] = "images/" + table["stimulus"]
    if split is not None:
        table["split"] = table["stimulus"].map(split).fillna("n/a")
    table.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    for name, _ in PICTURES:
        (folder / "images" / name).write_bytes(b"a picture")
    for subject in ("01", "02"):
        stem = folder / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-look"
        stem.parent.mkdir(parents=True)
        Path(f"{stem}_eeg.fif").write_bytes(b"EEG")
        events = pd.DataFrame({"onset": range(32), "duration": 0.5, "stim_file": table["stimulus"]})
        events.to_csv(f"{stem}_events.tsv", sep="\t", index=False)
    return folder


def told(root: Path, split: Mapping[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """Return mark and text of what is said of the parts."""
    params = preset("bids")
    params["preprocess"]["split"] = dict(split)
    params["train"]["batch_size"] = 8
    for name, value in changes.items():
        section, key = name.split("__")
        params[section][key] = value
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return [(f.mark, f.text) for f in examine(path, root) if f.what == "parts"]


def refusals(found: list[tuple[str, str]]) -> list[str]:
    return [text for mark, text in found if mark == "!!"]


def test_what_the_parts_hold_is_told_and_nothing_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path)
    found = told(tmp_path, IMAGE, evaluate__ks=[1])
    assert found == [
        (
            "ok",
            "train 24 trials of 12 pictures and 3 concepts; validation 12 trials of 6 pictures and 3 "
            "concepts; test 12 trials of 6 pictures and 3 concepts; zero_shot 16 trials of 8 pictures and "
            "1 concepts",
        )
    ]


def test_an_official_split_without_labels(tmp_path: Path) -> None:
    write_study(tmp_path)
    official = {"strategy": "official", "seed": 0, "validation_fraction": 0.1}
    (text,) = refusals(told(tmp_path, official))
    assert text.startswith("Every stimulus shown must have an official split, one of train, ")
    assert "32 have not: c0_0.png (none), " in text


def test_concepts_that_no_training_trial_shows_and_k_beyond_the_concepts(tmp_path: Path) -> None:
    parts = {name: "test" if concept == "c3" else "train" for name, concept in PICTURES}
    write_study(tmp_path, parts)
    official = {"strategy": "official", "seed": 0, "validation_fraction": 0.25}
    found = told(tmp_path, official, evaluate__ks=[1, 5])
    assert [text for mark, text in found if mark == "--"] == [
        "the held-out trials show 1 concepts: any decoder is right among the first 1, 5 of them (evaluate.ks)",
        "1 concepts are shown by test trials and by no training trial (c3): their trials will count as zero_shot",
    ]
    assert not refusals(found)
    known = official | {"test_subject": "sub-02"}
    parts_told = dict(found)["ok"], dict(told(tmp_path, known))["ok"]
    assert "train 36 trials" in parts_told[0]
    assert "train 18 trials" in parts_told[1]
    (text,) = refusals(told(tmp_path, official | {"test_subject": "sub-07"}))
    assert text.startswith(
        "preprocess.split.test_subject must be a subject of the study: sub-01, sub-02;"
    )


@pytest.mark.parametrize(
    ("split", "changes", "message"),
    [
        ({"validation_fraction": 0.0}, {}, "must hold kept trials of the split 'validation'"),
        ({}, {"train__batch_size": 13}, "training stimuli as train.batch_size (13);"),
        (
            {},
            {"retrieve__k": 13},
            "the gallery train will hold the captions of 12 pictures, fewer than",
        ),
        (
            {"zero_shot_fraction": 0.0, "test_fraction": 0.0},
            {},
            "no trial is held out, so that nothing can be evaluated: change preprocess.split",
        ),
    ],
)
def test_what_a_later_stage_would_refuse(
    tmp_path: Path, split: dict[str, float], changes: dict[str, Any], message: str
) -> None:
    write_study(tmp_path)
    assert any(message in text for text in refusals(told(tmp_path, IMAGE | split, **changes)))


def test_a_session_without_training_trials_cannot_be_whitened(tmp_path: Path) -> None:
    parts = {name: "test" if name[3] in "67" else "train" for name, _ in PICTURES}
    write_study(tmp_path, parts)
    subject = {
        "strategy": "subject",
        "seed": 0,
        "test_subject": "sub-02",
        "validation_fraction": 0.2,
    }
    white = {"covariance_of": "epochs", "shrinkage": "auto"}
    (text,) = refusals(told(tmp_path, subject, preprocess__whitening=white))
    assert text == (
        "each session must have training trials to be whitened; 1 have none (sub-02 ses-01): set "
        "preprocess.whitening to null, or change preprocess.split"
    )
    both = {
        "strategy": "official",
        "seed": 0,
        "test_subject": "sub-02",
        "validation_fraction": 0.2,
    }
    assert not refusals(told(tmp_path, both, preprocess__whitening=white))


def test_a_table_that_names_what_is_not_there(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    (folder / "images" / "c0_0.png").unlink()
    (text,) = refusals(told(tmp_path, IMAGE))
    assert "have its image on disk; 1 are missing: c0_0.png" in text
    assert not refusals(told(tmp_path, IMAGE, ingest__on_missing_image="drop"))
    path = folder / "stimuli.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    (text,) = refusals(told(tmp_path, IMAGE))
    assert "must be listed among the stimuli; 1 are missing: c3_7.png" in text


def said(root: Path, section: Mapping[str, Any], what: str) -> list[tuple[str, str]]:
    params = preset("bids") | {"ingest": dict(section)}
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return [(f.mark, f.text) for f in examine(path, root) if f.what == what]


def test_recordings_that_were_not_fetched_are_named(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_eeg.fif"
    path.unlink()
    path.symlink_to("../../.git/annex/objects/gone")
    section = preset("bids")["ingest"]
    ((mark, text),) = said(tmp_path, section, "recordings")
    assert mark == "!!"
    assert f"1 files of {folder} are listed and not on this disk" in text
    assert text.endswith(f"{path.name}; fetch them, or set ingest.on_missing_recording to drop")
    dropping = section | {"on_missing_recording": "drop"}
    ((mark, text),) = said(tmp_path, dropping, "recordings")
    assert (mark, text[-33:]) == ("--", "their recordings will be left out")
    ((mark, text), *_) = said(tmp_path, dropping, "parts")
    assert mark == "ok"
    assert sum(map(int, re.findall(r"(\d+) trials", text))) == 32


def test_a_file_that_one_subject_lacks_is_missing(tmp_path: Path) -> None:
    section = preset("things_eeg2")["ingest"]
    source = section["source"] | {"layout": "nice", "eeg": "eeg"}
    folder = tmp_path / "data" / "raw" / source["folder"]
    for subject, part in (("01", "training"), ("01", "test"), ("02", "training")):
        path = folder / "eeg" / f"sub-{subject}" / f"preprocessed_eeg_{part}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"EEG")
    found = [text for _, text in said(tmp_path, section | {"source": source}, "recordings")]
    lacking = folder / "eeg" / "sub-02" / "preprocessed_eeg_test.npy"
    assert [text for text in found if "preprocessed" in text] == [
        f"{lacking} is missing; THINGS-EEG2, CC BY 4.0: osf.io/3jk45"
    ]


def test_what_is_gone_since_ingest_is_named(tmp_path: Path) -> None:
    study = write_mini_study(tmp_path / "data" / "raw")
    run_ingest(study.raw, {"name": "simulated", "folder": "simulated"})
    params = preset("tiny")
    params["ingest"]["source"] = {"name": "simulated", "folder": "simulated"}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    pictures = sorted((study.folder / "stimuli").iterdir())
    for picture in pictures[1:]:
        picture.unlink()
    (text,) = [f.text for f in examine(path, tmp_path) if f.what == "parts" and f.blocks]
    assert f"31 of {2 + 32} recordings and pictures are gone: {pictures[1]}, " in text


@pytest.mark.parametrize("recipe", ["things_eeg2_nice", "things_eeg2_ubp"])
def test_kinds_that_nobody_writes_are_foreseen(tmp_path: Path, recipe: str) -> None:
    params = preset(recipe)
    path = tmp_path / "params.yaml"

    def kinds() -> list[str]:
        path.write_text(yaml.safe_dump(params))
        return [f.text for f in examine(path, tmp_path) if f.what == "caption kinds"]

    assert kinds() == []
    params["render"]["composition"]["kinds"] = ["ObjectSnap", "ThemeTag"]
    assert kinds() == [
        "render.composition.kinds names ThemeTag; caption.backend concept writes ObjectSnap alone"
    ]
