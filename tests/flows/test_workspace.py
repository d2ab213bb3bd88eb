"""What flows know of the workspace: the order of DVC, what is stale, params that a run overrides."""

import pytest
import yaml

from flows.workspace import chosen_stages, override_params, parents, settled_stages
from tasks.runtime.errors import PerceptError
from tests.flows.workspaces import make_workspace, run


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    folder = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("PERCEPT_ROOT", str(folder))
    return folder


def test_order_is_that_of_dvc(workspace):
    assert parents() == {
        "simulate": [],
        "ingest": ["simulate"],
        "preprocess": ["ingest"],
        "caption": ["preprocess"],
    }
    assert chosen_stages(None) == ["simulate", "ingest", "preprocess", "caption"]
    assert chosen_stages(["caption", "ingest"]) == ["ingest", "caption"]


def test_unknown_stage_is_refused(workspace):
    with pytest.raises(PerceptError) as caught:
        chosen_stages(["ingest", "digest"])
    assert str(caught.value) == (
        "A stage must be one of simulate, ingest, preprocess, caption; 'digest' is none. "
        "Start the run again with names from this list."
    )


def test_stages_are_settled_only_before_the_first_that_runs(workspace):
    everything = chosen_stages(None)
    assert settled_stages(everything) == set()
    run(workspace, "dvc", "repro")
    assert settled_stages(everything) == set(everything)
    (workspace / "ingested").unlink()
    assert settled_stages(everything) == {"simulate"}
    assert settled_stages(["preprocess", "caption"]) == set()


@pytest.fixture
def params(tmp_path, repository, monkeypatch):
    monkeypatch.setenv("PERCEPT_ROOT", str(tmp_path))
    file = tmp_path / "params.yaml"
    file.write_text((repository / "params.yaml").read_text())
    return file


def test_overrides_are_written_and_comments_stay(params):
    before = params.read_text()
    override_params(
        {"train.optimiser.learning_rate": 0.0005, "preprocess.filters.notch_hz": [60.0]}
    )
    after = yaml.safe_load(params.read_text())
    assert after["train"]["optimiser"]["learning_rate"] == 0.0005
    assert after["preprocess"]["filters"]["notch_hz"] == [60.0]
    now = params.read_text()
    touched = [(a, b) for a, b in zip(before.splitlines(), now.splitlines(), strict=True) if a != b]
    assert touched == [
        (
            "    notch_hz: [50.0]          # Hz; mains and its harmonics, or []",
            "    notch_hz: [60.0]          # Hz; mains and its harmonics, or []",
        ),
        (
            "    learning_rate: 0.0003   # peak of the schedule",
            "    learning_rate: 0.0005   # peak of the schedule",
        ),
    ]
    override_params(
        {"train.optimiser.learning_rate": 0.0005, "preprocess.filters.notch_hz": [60.0]}
    )
    assert params.read_text() == now


def test_override_of_no_param_changes_nothing(params):
    before = params.read_bytes()
    with pytest.raises(PerceptError) as caught:
        override_params({"train.optimiser.learning_rat": 1.0})
    assert str(caught.value) == (
        "A param must be in params.yaml; 'train.optimiser.learning_rat' is not. "
        "Write it as there, with dots between the levels, say train.optimiser.learning_rate."
    )
    assert params.read_bytes() == before


def test_override_of_a_shared_param_in_its_old_place_names_the_one_place(params):
    before = params.read_bytes()
    with pytest.raises(PerceptError) as caught:
        override_params({"evaluate.model": "local-dir:clip"})
    assert str(caught.value) == (
        "evaluate.model is embed.model, for all stages that need it. Set that."
    )
    assert params.read_bytes() == before


def test_override_that_a_stage_does_not_accept_changes_nothing(params):
    before = params.read_bytes()
    with pytest.raises(
        PerceptError, match=r"^train.optimiser.learning_rate: .*; found 'fast'. Mend it in "
    ):
        override_params({"train.optimiser.learning_rate": "fast"})
    assert params.read_bytes() == before
    assert list(params.parent.iterdir()) == [params]
