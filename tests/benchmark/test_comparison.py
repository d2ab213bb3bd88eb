"""Two finished runs side by side."""

import shutil

import pytest

from tasks.__main__ import main
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score, write_scores
from tasks.artifacts.tables import write_table
from tasks.benchmark.comparison import paired_difference
from tests.synthetic_study import make_study

CONTRACTS = {
    "trials": TRIALS,
    "captions": CAPTIONS,
    "text_vectors": TEXT_VECTORS,
    "predictions": PREDICTIONS,
}


def finished(root, repository, noise, value, change=""):
    """Write what a finished run leaves: tables, scores and params."""
    study, artifacts = make_study(noise=noise), Artifacts(root)
    for name, contract in CONTRACTS.items():
        path = getattr(artifacts, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(getattr(study, name), path, contract)
    scores = {"concept": Score(value=value, n=9, low=value - 0.1, high=value + 0.1)}
    artifacts.evaluate_metrics.parent.mkdir(parents=True)
    write_scores(artifacts.evaluate_metrics, scores | {"same": Score(value=0.5, n=9)})
    params = (repository / "params.yaml").read_text()
    (root / "params.yaml").write_text(
        params.replace("batch_size: 128 ", change or "batch_size: 128 ")
    )
    return root


def test_params_scores_and_the_same_trials_are_laid_side_by_side(tmp_path, repository, capsys):
    good = finished(tmp_path / "good", repository, noise=0.0, value=0.9)
    poor = finished(tmp_path / "poor", repository, 5.0, value=0.2, change="batch_size: 64 ")
    assert main(["compare", str(poor), str(good)]) == 0
    page = capsys.readouterr().out
    assert "- `train.batch_size: 64 -> 128`" in page
    assert "| `concept` | 0.200 (0.100 to 0.300) | 0.900 (0.800 to 1.000) |" in page
    assert "`same`" not in page
    (row,) = (line for line in page.splitlines() if line.startswith("| The concept is named"))
    _, _, n_trials, first, second, told, _ = (cell.strip() for cell in row.split("|"))
    difference, low = (float(told.replace("(", " ").split()[i]) for i in (0, 1))
    assert int(n_trials) > 0
    assert difference == pytest.approx(float(second) - float(first), abs=1.1e-3)
    assert 0 < low < difference


def test_a_run_beside_itself_does_not_differ(tmp_path, repository, capsys):
    run = finished(tmp_path / "run", repository, noise=0.5, value=0.5)
    shutil.copytree(run, tmp_path / "copy")
    assert main(["compare", str(run), str(tmp_path / "copy")]) == 0
    page = capsys.readouterr().out
    assert "\nNone.\n" in page
    assert page.count("+0.000 (+0.000 to +0.000)") == 3
    assert "every score is the same" in page


def test_trials_that_one_run_alone_held_out_are_left_aside():
    rows = {"trial_id": ["a", "b"], "subject": ["s", "s"], "stimulus_id": ["x", "y"]}
    one = rows | {"correct": [1.0, 0.0]}
    other = rows | {"trial_id": ["b", "c"], "stimulus_id": ["y", "z"], "correct": [1.0, 1.0]}
    both, more = paired_difference(one, other)
    assert both["trial_id"].tolist() == ["b"]
    assert more.value == 1
    assert paired_difference(one, rows | {"trial_id": ["d", "e"], "correct": [1.0, 1.0]}) is None


def test_a_run_that_is_not_finished_is_named(tmp_path, repository, capsys):
    run = finished(tmp_path / "run", repository, noise=0.5, value=0.5)
    assert main(["compare", str(run), str(tmp_path / "nothing")]) == 1
    assert str(tmp_path / "nothing") in capsys.readouterr().err
