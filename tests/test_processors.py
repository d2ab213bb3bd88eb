"""The same commit on another processor: the same study to the byte, scores within the stated tolerance."""

import runpy

import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores

STAGES = ("simulate", "ingest", "preprocess", "caption", "embed", "train", "retrieve", "audit")


@pytest.mark.nightly
def test_tiny_study_on_three_processors(repository, tmp_path):
    benchmark = runpy.run_path(str(repository / "benchmarks/processors.py"))
    runs = []
    for place, setting in enumerate(benchmark["SETTINGS"].values()):
        runs.append(tmp_path / str(place))
        benchmark["reckoned"](runs[-1], "tiny", STAGES, setting)
    first, *others = runs
    assert len(read_scores(Artifacts(first).audit_metrics)) > 10
    for other in others:
        found = benchmark["compared"](first, other)
        exact = {
            name for folder, name in found["files_that_differ"] if folder in ("raw", "interim")
        }
        assert not exact
        assert set(found["scores"]) == {"audit", "caption"}
        for file, scores in found["scores"].items():
            assert scores["beyond_tolerance"] == 0, f"{file}: {scores}"
