"""An encoder is handed on, and decodes a recording as the study did."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
import yaml

import percept
from tasks.__main__ import main
from tasks.artifacts.catalogue import Artifacts
from tasks.decoding.bundle import (
    CHECKSUMS,
    CONFIG,
    FILES,
    FORMAT,
    BundleError,
    export_bundle,
    load_bundle,
)
from tasks.decoding.page import surest
from tasks.runtime.files import sha256_of
from tests.test_published_layouts import STRATEGIES, run, write_workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS study of noise with a planted response, up to its retrievals."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = write_workspace(root, "bids", STRATEGIES["image"] | {"retrieve.k": 1})
        run(root, params, last="retrieve")
    return root


@pytest.fixture(scope="module")
def folder(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder of the study, exported."""
    target = tmp_path_factory.mktemp("export") / "encoder"
    params = yaml.safe_load((study / "params.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(study)
        export_bundle(Artifacts(), params["preprocess"], target)
    return target


def recording_of(study: Path) -> tuple[Path, Path, str, str]:
    """Return the first recording, its events, its id and subject."""
    row = percept.load_study(study).table("recordings").iloc[0]
    path = next((study / "data" / "raw").rglob(f"{row['subject']}*_eeg.*"))
    events = next(path.parent.glob("*_events.tsv"))
    return path, events, str(row["recording_id"]), str(row["subject"])


def test_the_captions_of_held_out_trials_are_those_of_the_study(study: Path, folder: Path) -> None:
    path, events, name, subject = recording_of(study)
    encoder = percept.load_encoder(folder)
    own = subject if encoder.bundle.encoder.description["per_subject"] else None
    decoded = encoder.decode_recording(path, events=events, subject=own)
    tables = percept.load_study(study)
    trials, retrievals = tables.table("trials"), tables.table("retrievals")
    texts = tables.table("captions").set_index("caption_id")["text"]
    nearest = retrievals[(retrievals["gallery"] == "train") & (retrievals["rank"] == 1)]
    found = nearest.merge(trials[trials["recording_id"] == name], on="trial_id")
    assert len(found) > 20
    captions = decoded.captions
    shown = pd.read_csv(events, sep="\t")
    with_picture = np.flatnonzero(shown.sort_values("onset")["stim_file"].notna())
    assert len(captions) + len(decoded.dropped) == len(shown)
    for row in found.to_dict("records"):
        trial = with_picture[row["presentation_order"]]
        assert captions.loc[trial, row["kind"]] == texts[row["caption_id"]]


def test_the_epochs_of_a_study_are_decoded_in_a_notebook(study: Path, folder: Path) -> None:
    encoder = percept.load_encoder(folder)
    epochs = percept.load_study(study).epochs("test")
    subject = epochs.metadata["subject"].iloc[0]
    own = subject if encoder.bundle.encoder.description["per_subject"] else None
    chosen = epochs[epochs.metadata["subject"] == subject]
    decoded = encoder.decode(chosen.get_data() * 1e6, subject=own, k=2)
    n_kinds = len(decoded.kinds)
    assert decoded.vectors.shape[:2] == (len(chosen), n_kinds)
    assert np.allclose(np.linalg.norm(decoded.vectors, axis=2), 1, atol=1e-5)
    assert decoded.to_pandas().groupby(["trial", "kind"]).size().eq(2).all()
    sure = decoded.confidence.to_numpy(float)
    assert ((sure >= 0) & (sure <= 1) | np.isnan(sure)).all()


def test_a_recording_is_decoded_from_the_shell(
    study: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, events, _, subject = recording_of(study)
    words = ["decode", str(path), "--encoder", str(folder), "--events", str(events), "--out", "out"]
    per_subject = json.loads((folder / "encoder.json").read_text())["per_subject"]
    assert main(words + (["--subject", subject] if per_subject else [])) == 0
    said = capsys.readouterr().out
    assert "trial 1 at " in said
    table = pd.read_parquet("out/decoded.parquet")
    assert set(table["tier"]) == {"object", "spatial", "thematic"}
    page = Path("out/decoded.html").read_text()
    assert f"Decoded: {path.name}" in page
    assert str(surest_text(table)) in page
    assert str(tmp_path) not in page


def surest_text(table: pd.DataFrame) -> str:
    """Return the nearest caption of the first trial."""
    return table[(table["rank"] == 1) & (table["kind"] == "ThemeTag")]["caption"].iloc[0]


def test_a_caption_below_the_wanted_confidence_is_not_sure(study: Path, folder: Path) -> None:
    path, events, _, subject = recording_of(study)
    encoder = percept.load_encoder(folder)
    own = subject if encoder.bundle.encoder.description["per_subject"] else None
    decoded = encoder.decode_recording(path, events=events, subject=own)
    rows = surest(decoded, 0.7)
    known = rows["confidence"].notna()
    assert (rows.loc[known, "sure"] == (rows.loc[known, "confidence"] >= 0.7)).all()
    assert not rows.loc[~known, "sure"].any()


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


@pytest.mark.parametrize("name", [*FILES, CHECKSUMS])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copy = copied(folder, tmp_path)
    (copy / name).unlink()
    with pytest.raises(
        BundleError, match=f"{name} is missing. Write one with `percept export FOLDER`"
    ):
        load_bundle(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_was_altered_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copy = copied(folder, tmp_path)
    content = bytearray((copy / name).read_bytes())
    content[-3] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} was altered or damaged|must hold whole files"):
        load_bundle(copy)


def test_a_folder_of_a_newer_version_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path)
    content = json.loads((copy / CONFIG).read_text()) | {"format": FORMAT + 1, "voice": "calm"}
    (copy / CONFIG).write_text(json.dumps(content))
    sums = json.loads((copy / CHECKSUMS).read_text()) | {CONFIG: sha256_of(copy / CONFIG)}
    (copy / CHECKSUMS).write_text(json.dumps(sums))
    with pytest.raises(BundleError, match=r"of format 2, written by version .* Update Percept"):
        load_bundle(copy)


def test_nothing_is_exported_into_a_folder_with_files(
    study: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(study)
    (tmp_path / "notes.txt").write_text("mine")
    params = yaml.safe_load((study / "params.yaml").read_text())
    with pytest.raises(BundleError, match="must be new or empty; it holds files"):
        export_bundle(Artifacts(), params["preprocess"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_card_tells_channels_subjects_and_limits(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    description = json.loads((folder / "encoder.json").read_text())
    assert card.startswith("---\nlibrary_name: percept\n")
    assert all(name in card for name in (*description["channels"], *description["subjects"]))
    assert "too sure of pictures of concepts that were never trained" in card


def test_what_is_missing_from_a_study_is_told(tmp_path: Path, study: Path) -> None:
    with pytest.raises(percept.load_study.__globals__["StudyError"], match="holds no table"):
        percept.load_study(tmp_path)
    with pytest.raises(percept.load_study.__globals__["StudyError"], match="nothing is none"):
        percept.load_study(study).table("nothing")
    assert isinstance(percept.load_study(study).epochs(), mne.BaseEpochs)


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the built wheel installs, and nothing of the checkout."""
    built, target = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.j2", "*.css", "*.js", "pyproject.toml", "README.md"],
        cwd=repository, capture_output=True, check=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, tracked):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(built), str(source)], check=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_example_of_the_readme_runs_from_the_wheel(
    study: Path, folder: Path, repository: Path, installed: Path, tmp_path: Path
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.S)
    place = tmp_path / "elsewhere"
    shutil.copytree(study / "data", place / "data")
    shutil.copytree(folder, place / "my-encoder")
    percept.load_study(study).epochs("test").save(place / "sub-07-epo.fif", verbose="error")
    example += "print(percept.__file__)\n"
    said = subprocess.run(
        [sys.executable, "-c", example],
        cwd=place, env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    assert said.strip().splitlines()[-1] == str(installed / "percept" / "__init__.py")
    assert "rows x 10 columns" in said
