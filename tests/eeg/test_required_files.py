"""A newcomer is told which files are missing, where they go and where they come from."""

from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from tasks.commands.doctor import examine
from tasks.eeg.sources.registry import AnySourceParams
from tasks.eeg.sources.required_files import missing_files, needed_files
from tasks.wiring.presets import merged, preset_names
from tests.conftest import REPOSITORY, preset

PRESETS = REPOSITORY / "presets"


def source_of(name: str) -> AnySourceParams:
    return TypeAdapter(AnySourceParams).validate_python(preset(name)["ingest"]["source"])


def write_preset(name: str, folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text(merged(name, PRESETS))
    return path


@pytest.mark.parametrize("name", preset_names(PRESETS))
def test_every_file_of_an_empty_study_is_missing_and_has_an_origin(
    name: str, tmp_path: Path
) -> None:
    params = source_of(name)
    missing = missing_files(params, tmp_path)
    assert missing == needed_files(params) != []
    assert all(need.origin for need in missing)


def test_what_is_there_is_not_missing(tmp_path: Path) -> None:
    params = source_of("eegcvpr")
    (tmp_path / params.file).touch()
    patterns = [need.pattern for need in missing_files(params, tmp_path)]
    assert params.file not in patterns
    assert f"{params.images}/n*/*" in patterns


def test_doctor_names_the_missing_files(tmp_path: Path) -> None:
    findings = examine(write_preset("eegcvpr", tmp_path), tmp_path)
    lines = [f.text for f in findings if f.what == "recordings" and f.blocks]
    assert any("eeg_5_95_std.pth is missing; ask the authors" in line for line in lines)


def test_doctor_says_that_a_subject_left_out_has_no_filters(tmp_path: Path) -> None:
    params = preset("tiny")
    params["preprocess"]["split"] = {
        "strategy": "subject",
        "seed": 0,
        "test_subject": "sub-02",
        "validation_fraction": 0.1,
    }
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    assert [f.text for f in examine(path, tmp_path) if f.what == "split" and f.blocks] == [
        "preprocess.split leaves sub-02 out, so that it has no filters of its own; set "
        "train.per_subject to false"
    ]
    params["train"]["per_subject"] = False
    path.write_text(yaml.safe_dump(params))
    assert not [f for f in examine(path, tmp_path) if f.what == "split"]


def test_doctor_names_the_missing_captions(tmp_path: Path) -> None:
    def found() -> list[tuple[str, bool]]:
        findings = examine(write_preset("muse_cats_dogs", tmp_path), tmp_path)
        return [(f.text, f.blocks) for f in findings if f.what == "captions"]

    path = tmp_path / "data" / "raw" / "muse_cats_dogs" / "captions.json"
    assert found() == [(f"{path} is missing; docs/real_recordings.md says what it holds", True)]
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert found() == [(f"{path} is there", False)]
