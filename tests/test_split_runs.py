"""Splits other than the default one, from the recordings to the report."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.splits import ZERO_SHOT, main_split
from tasks.artifacts.tables import read_table
from tests.test_pipeline import run

SPLITS: dict[str, dict[str, Any]] = {
    "subject": {"seed": 0, "test_subject": "sub-02", "validation_fraction": 0.1},
    "time_chunk": {"n_chunks": 5, "test_chunk": 4, "validation_chunk": 2, "guard_s": 2.0},
}


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", sorted(SPLITS))
def test_a_split_of_trials_goes_from_recordings_to_report(
    strategy: str, tmp_path: Path, repository: Path
) -> None:
    clone, params = tiny(
        tmp_path / "percept", repository, {"strategy": strategy} | SPLITS[strategy]
    )
    if strategy == "subject":
        assert "!!" in run(clone, "percept", "doctor", expect=1)
        params["train"]["per_subject"] = False
        write_params(clone, params)
    run(clone, "percept", "doctor")
    run(clone, "dvc", "repro")

    trials = read_table(clone / Artifacts.trials.path, Artifacts.trials.schema).to_pandas()
    test = trials[trials["split"] == "test"]
    training = trials[trials["split"] == "train"]
    assert set(test["stimulus_id"]) & set(training["stimulus_id"])
    if strategy == "subject":
        assert set(test["subject"]) == {"sub-02"}
        assert set(training["subject"]) == {"sub-01"}
    scores = json.loads((clone / Artifacts.evaluate_metrics.path).read_text())
    assert scores
    assert all(name.startswith("known_") for name in scores)
    page = (clone / Artifacts.report_page.path).read_text()
    assert "Repeated stimuli: " in page
    assert "says nothing of new ones" in page


@pytest.mark.slow
def test_a_study_whose_test_concepts_were_never_trained_goes_from_recordings_to_report(
    tmp_path: Path, repository: Path
) -> None:
    split = {
        "strategy": "concept",
        "seed": 0,
        "zero_shot_fraction": 0.3,
        "validation_fraction": 0.1,
    }
    clone, _ = tiny(tmp_path / "percept", repository, split)
    run(clone, "dvc", "repro")
    trials = read_table(clone / Artifacts.trials.path, Artifacts.trials.schema).to_pandas()
    assert main_split(trials["split"]) == ZERO_SHOT
    n_concepts = trials.loc[trials["split"] == ZERO_SHOT, "concept"].nunique()
    scores = read_scores(clone / Artifacts.evaluate_metrics.path)
    assert scores[f"zero_shot_concept_recall_at_1_of_{n_concepts}"].n > 0
    audited = read_scores(clone / Artifacts.audit_metrics.path)
    assert audited["encoder"].chance == pytest.approx(1 / n_concepts, abs=0.05)
    assert (clone / Artifacts.report_page.path).stat().st_size > 100_000


def tiny(clone: Path, repository: Path, split: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Clone the repository and choose the tiny preset with another split."""
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
    run(clone, "percept", "preset", "tiny")
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["preprocess"]["split"] = split
    write_params(clone, params)
    return clone, params


def write_params(clone: Path, params: dict[str, Any]) -> None:
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
