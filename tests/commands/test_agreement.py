"""`make repro` says in a sentence whether its scores are the committed ones."""

import json
import shutil
import subprocess

import pytest

from tasks.__main__ import main
from tasks.artifacts.agreement import PARTS, apart, tolerance
from tasks.artifacts.metrics import Score

SHARE = Score(value=0.84, n=1000, low=0.80, high=0.88, chance=0.03, ceiling=0.85, control=0.03)
RANK = Score(value=50.0, n=1000, low=48.0, high=52.0, unit="rank")


def git(folder, *words):
    name = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """Return a function that writes metrics in a repository in which others are committed."""
    path = tmp_path / "reports/metrics/evaluate.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("a: 1\n")

    def write(**scores):
        rows = {"share": SHARE, "rank": RANK} | scores
        path.write_text(json.dumps({n: r.model_dump() for n, r in rows.items() if r is not None}))

    write()
    git(tmp_path, "init")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--message", "scores")
    monkeypatch.chdir(tmp_path)
    return write


def said(capsys):
    assert main(["agreement"]) == 0
    return capsys.readouterr().out


def test_same_scores(committed, capsys):
    assert said(capsys) == "All 2 scores are the committed ones.\n"


def test_rounding_is_called_so_and_the_way_back_works(committed, capsys, tmp_path):
    committed(share=SHARE.model_copy(update={"value": 0.842}))
    text = said(capsys)
    assert text.startswith("1 of 2 scores differ from the committed ones, and ")
    assert f"by {0.002 / tolerance(SHARE):.2f} of the tolerance at most (share)" in text
    assert "the results are the same" in text
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "--message", "lock", "dvc.lock")
    way_back = text.split("`")[1]
    assert way_back.startswith("git checkout HEAD -- ")
    git(tmp_path, *way_back.split()[1:])
    assert said(capsys) == "All 2 scores are the committed ones.\n"


def test_a_change_is_no_rounding_and_its_reason_is_looked_for(committed, capsys, tmp_path):
    committed(share=SHARE.model_copy(update={"value": 0.7}), rank=None)
    text = said(capsys)
    assert "2 of 2 scores differ" in text
    assert "2 by more than the rounding of processors (rank, share)" in text
    assert "Params and code are the committed ones" in text
    (tmp_path / "params.yaml").write_text("a: 2\n")
    assert "Params or code differ from the committed ones, too." in said(capsys)


def test_nothing_to_compare_with(committed, capsys, tmp_path):
    shutil.rmtree(tmp_path / ".git")
    assert "nothing to compare" in said(capsys)


@pytest.mark.parametrize("score", [SHARE, RANK])
@pytest.mark.parametrize("part", ["value", "low", "high"])
def test_tolerance_is_the_border_of_agreement(score, part):
    number, allowed = getattr(score, part), tolerance(score, part)
    assert apart(score, score) == 0
    assert 0 < apart(score, score.model_copy(update={part: number - 0.99 * allowed})) <= 1
    assert apart(score, score.model_copy(update={part: number - 1.5 * allowed})) > 1


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_number_that_one_run_lacks_is_no_rounding(part):
    full = SHARE.model_copy(update={"control_low": 0.02, "control_high": 0.04})
    assert apart(full, full.model_copy(update={part: None})) == float("inf")


def test_a_share_that_is_counted_may_differ_by_two_answers():
    counted = Score(value=0.5, n=10)
    assert tolerance(counted) == pytest.approx(0.2)
