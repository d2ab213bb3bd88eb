"""A study is started in an empty folder, from a checkout or from the installed wheel."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.__main__ import main
from tasks.wiring import new_study
from tasks.wiring.new_study import start_study
from tasks.wiring.presets import merged


def test_a_study_has_what_dvc_and_percept_need(tmp_path, repository, capsys):
    folder = tmp_path / "mine"
    assert main(["init", str(folder), "--preset", "bids"]) == 0
    assert capsys.readouterr().out.endswith(f"Next: cd {folder} && percept doctor\n")
    assert (folder / "params.yaml").read_text() == merged("bids", repository / "presets")
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]
    assert all("percept.version" in stage["deps"] for stage in stages.values())
    for name in ("presets", "data/models", ".dvc/plots"):
        ours, theirs = (
            sorted(p.relative_to(root / name) for p in (root / name).rglob("*") if p.is_file())
            for root in (folder, repository)
        )
        assert ours == theirs
    readme = (folder / "README.md").read_text()
    assert "into `data/raw/bids`" in readme
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=folder, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert listed.stdout.split() == list(stages)


def test_a_simulated_study_is_brought_nothing(tmp_path):
    start_study(tmp_path / "mine", "tiny")
    assert "Nothing has to be brought" in (tmp_path / "mine" / "README.md").read_text()


def test_a_study_within_a_repository_of_git_is_tracked_by_it(tmp_path):
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    start_study(tmp_path / "mine", "tiny")
    assert "no_scm" not in (tmp_path / "mine/.dvc/config").read_text()


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["init", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"percept: A study starts in a folder that is new or empty; {tmp_path} holds thesis.tex. "
        "Name another folder.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_unknown_preset_leaves_no_folder(tmp_path, capsys):
    assert main(["init", str(tmp_path / "mine"), "--preset", "bidz"]) == 1
    assert "'bidz' is none" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_an_installation_without_presets_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(new_study, "PACKAGE", tmp_path / "tasks")
    monkeypatch.setattr(new_study, "files", lambda name: None)
    with pytest.raises(
        new_study.NewStudyError, match="must be installed with share/percept/presets"
    ):
        start_study(Path(tmp_path / "mine"), "bids")
