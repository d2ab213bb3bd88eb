"""`percept ci-report` says what a reviewer wants to know, and fails where a guarded score regresses."""

import json
import subprocess

import pytest
import yaml

from tasks.__main__ import main
from tasks.commands.ci_report import read_thresholds, stale_stages
from tasks.runtime.errors import PerceptError

PARAMS = {"train": {"learning_rate": 0.001, "filters": {"ridge": 5.0}}, "report": {"seed": 7}}


def score(value, low=None, high=None, **more):
    return {"value": value, "low": low, "high": high, "n": 100, **more}


BASE = {
    "concept_recall_at_1_of_40": score(0.70, 0.65, 0.75),
    "concept_recall_at_5_of_40": score(0.80, 0.75, 0.85),
    "kid_clip_decoded": score(0.04, 0.00, 0.10, lower_is_better=True),
    "same_score": score(0.5),
}


def git(folder, *words):
    name = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def write(folder, params, scores, outs):
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "reports/metrics/evaluate.json").write_text(json.dumps(scores))
    lock = {"schema": "2.0", "stages": {n: {"outs": [{"md5": o}]} for n, o in outs.items()}}
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))


@pytest.fixture
def branch(tmp_path, monkeypatch):
    """Return a function that writes what a branch changes, in a repository with a base."""
    (tmp_path / "reports/metrics").mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/thresholds.yaml").write_text(
        "guarded:\n- score: concept_recall_at_*\n- score: kid_clip_*\n"
        "limits:\n- {score: concept_recall_at_1_of_40, at_least: 0.5}\n"
    )
    write(tmp_path, PARAMS, BASE, {"train": "a", "report": "b"})
    git(tmp_path, "init", "--initial-branch", "main")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--message", "base")
    git(tmp_path, "checkout", "-b", "branch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.commands.ci_report.stale_stages", list)

    def change(scores, learning_rate=0.0005):
        params = json.loads(json.dumps(PARAMS))
        params["train"]["learning_rate"] = learning_rate
        write(tmp_path, params, BASE | scores, {"train": "c", "report": "b"})

    return change


def test_reviewer_sees_params_stages_and_scores_that_moved(branch, capsys, tmp_path):
    branch({"concept_recall_at_1_of_40": score(0.80, 0.75, 0.85), "new_<b>|score": score(0.1)})
    assert main(["ci-report", "--base", "main", "--out", "report.md"]) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "report.md").read_text() == text
    assert "**Passed**" in text
    assert "| `train.learning_rate` | `0.001` | `0.0005` |" in text
    assert "### Stages with other outputs: train\n" in text
    row = "| `concept_recall_at_1_of_40` | 0.700 (0.650 to 0.750) | 0.800 (0.750 to 0.850) | +0.100 | better |"
    assert row in text
    assert "same_score" not in text
    assert "`new_&lt;b>\\|score`" in text


def test_rounding_of_a_processor_is_no_change(branch, capsys):
    branch({"concept_recall_at_1_of_40": score(0.705, 0.655, 0.755), "same_score": score(0.51)})
    assert main(["ci-report", "--base", "main"]) == 0
    text = capsys.readouterr().out
    assert "### Scores: 0 of 4 changed" in text
    assert "2 more differ by no more than processors do: same arithmetic." in text
    assert "`concept_recall_at_1_of_40`" not in text


def test_change_within_the_interval_passes_and_is_folded_away(branch, capsys):
    branch({"concept_recall_at_1_of_40": score(0.66), "kid_clip_decoded": score(0.09)})
    assert main(["ci-report", "--base", "main"]) == 0
    text = capsys.readouterr().out
    assert "<summary>2 within their intervals</summary>" in text


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            {"concept_recall_at_1_of_40": score(0.60, 0.55, 0.65)},
            "concept_recall_at_1_of_40 must stay in its interval on the base, "
            "0.700 (0.650 to 0.750); it is 0.600 (0.550 to 0.650).",
        ),
        (
            {"kid_clip_decoded": score(0.2, lower_is_better=True)},
            "kid_clip_decoded must stay in its interval on the base, "
            "0.040 (0.000 to 0.100); it is 0.200.",
        ),
    ],
)
def test_regression_of_a_guarded_score_fails_after_printing(branch, capsys, scores, sentence):
    branch(scores)
    assert main(["ci-report", "--base", "main"]) == 1
    shown = capsys.readouterr()
    assert "**Failed.**" in shown.out
    assert f"- {sentence}" in shown.out
    assert shown.err == f"percept: {sentence}\n"


def test_better_by_being_lower_is_no_regression(branch):
    branch({"kid_clip_decoded": score(-0.1, lower_is_better=True)})
    assert main(["ci-report", "--base", "main"]) == 0


def test_limit_holds_whatever_the_base_says(branch, capsys):
    branch({"concept_recall_at_1_of_40": score(0.4)})
    assert main(["ci-report", "--base", "main"]) == 1
    assert "concept_recall_at_1_of_40 must be at least 0.5; it is 0.400." in capsys.readouterr().out


def test_scores_of_other_params_fail(branch, capsys, monkeypatch):
    branch({})
    monkeypatch.setattr(
        "tasks.commands.ci_report.stale_stages",
        lambda: ["Scores must belong to the code; stale are: train. Run `dvc repro`."],
    )
    assert main(["ci-report", "--base", "main"]) == 1
    assert "stale are: train" in capsys.readouterr().err


def test_unknown_base(branch, capsys):
    assert main(["ci-report", "--base", "nowhere"]) == 1
    assert capsys.readouterr().err == (
        "percept: --base must be a commit that this branch comes from; 'nowhere' is none. "
        "Fetch it (`git fetch origin main`), or name another.\n"
    )


def test_thresholds_of_the_repository_are_read_and_name_real_scores(repository):
    import fnmatch

    guards = read_thresholds(repository / ".ci/thresholds.yaml")
    names = [
        name
        for path in (repository / "reports/metrics").glob("*.json")
        for name in json.loads(path.read_text())
    ]
    for rule in [*guards["guarded"], *guards["limits"]]:
        assert fnmatch.filter(names, rule["score"]), f"{rule['score']} guards nothing"


@pytest.mark.parametrize(
    "rules",
    [
        "guarded:\n- {name: x}\n",
        "guarded: [x]\n",
        "guarded:\n- {score: x, at_least: 0.5}\n",  # would be no limit
        "limits:\n- {score: x}\n",
        "limits:\n- {score: x, at_least: half}\n",
        "limit:\n- {score: x, at_least: 0.5}\n",
    ],
)
def test_malformed_thresholds_are_refused(tmp_path, rules):
    path = tmp_path / "thresholds.yaml"
    path.write_text(rules)
    with pytest.raises(PerceptError, match=r"must hold lists `guarded` and `limits` of "):
        read_thresholds(path)


@pytest.mark.parametrize("kind", ["guarded", "limits"])
def test_a_rule_that_matches_no_score_fails(branch, capsys, tmp_path, kind):
    branch({})
    rule = {"score": "concept_recal_*"} | ({"at_least": 0.5} if kind == "limits" else {})
    (tmp_path / ".ci/thresholds.yaml").write_text(yaml.safe_dump({kind: [rule]}))
    assert main(["ci-report", "--base", "main"]) == 1
    assert capsys.readouterr().err == (
        f"percept: .ci/thresholds.yaml: `concept_recal_*` of `{kind}` must match a score; it matches none. "
        "Mend the pattern, or remove it.\n"
    )


MERGE = "<<<<<<< HEAD\n{}=======\n{}>>>>>>> other\n"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("params.yaml", "YAML"),
        ("dvc.lock", "YAML"),
        ("reports/metrics/evaluate.json", "JSON"),
        (".ci/thresholds.yaml", "YAML"),
    ],
)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda text: MERGE.format(text, text),
            "line 1 is the mark of a merge that is not resolved",
        ),
        (lambda text: text[: len(text) // 2] + "\n{[", ""),
        (lambda text: "[1, 2]", "it holds list"),
        (lambda text: "\udcff\udcfe{", ""),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_sentence(
    branch, capsys, tmp_path, name, kind, spoil, reason
):
    branch({})
    path = tmp_path / name
    path.write_bytes(spoil(path.read_text()).encode(errors="surrogateescape"))
    assert main(["ci-report", "--base", "main"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"percept: {name} must be {kind} with names; it is not ({reason}")
    assert said.count("\n") == 1


def test_a_base_that_holds_the_marks_of_a_merge_is_named(branch, capsys, tmp_path):
    path = tmp_path / "dvc.lock"
    path.write_text(MERGE.format(path.read_text(), path.read_text()))
    git(tmp_path, "commit", "--all", "--message", "a bad merge")
    branch({})
    assert main(["ci-report", "--base", "HEAD"]) == 1
    said = capsys.readouterr().err
    assert "dvc.lock of " in said
    assert "is the mark of a merge" in said
    assert "Name another commit as --base." in said


def test_where_dvc_fails_its_words_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = stale_stages()
    assert problem.startswith("`dvc status` must say what is stale; it fails: ERROR: you are not")
