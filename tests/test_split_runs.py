"""Splits that hold out trials, not pictures, from the recordings to the report. Minutes each: `make nightly`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import read_table
from tests.test_pipeline import run

pytestmark = pytest.mark.nightly
SPLITS: dict[str, dict[str, Any]] = {
    "subject": {"seed": 0, "test_subject": "sub-02", "validation_fraction": 0.1},
    "time_chunk": {"n_chunks": 5, "test_chunk": 4, "validation_chunk": 2, "guard_s": 2.0},
}


@pytest.mark.parametrize("strategy", sorted(SPLITS))
def test_a_split_of_trials_goes_from_recordings_to_report(
    strategy: str, tmp_path: Path, repository: Path
) -> None:
    clone = tmp_path / "percept"
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
    run(clone, "percept", "preset", "tiny")
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["preprocess"]["split"] = {"strategy": strategy} | SPLITS[strategy]
    write_params(clone, params)
    if strategy == "subject":
        assert "!!" in run(clone, "percept", "doctor", expect=1)
        params["train"]["start"]["per_subject"] = False
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


def write_params(clone: Path, params: dict[str, Any]) -> None:
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
