"""What flows know of the workspace: the order of DVC, what is stale, params that a run overrides."""

import json
import logging
from types import SimpleNamespace

import pytest
import yaml

from flows import reproduce as reproduce_module
from flows import showing
from flows.workspace import chosen_stages, override_params, parents, settled_stages
from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_text
from tests.flows.workspaces import PAGE, SCORES, make_workspace, run


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
        "evaluate": ["caption"],
        "report": ["evaluate"],
    }
    assert chosen_stages(None) == list(parents())
    assert chosen_stages(["caption", "ingest"]) == ["ingest", "caption"]


def test_unknown_stage_is_refused(workspace):
    with pytest.raises(PerceptError) as caught:
        chosen_stages(["ingest", "digest"])
    assert str(caught.value) == (
        "A stage must be one of simulate, ingest, preprocess, caption, evaluate, report; 'digest' is none. "
        "Start the run again with names from this list."
    )


@pytest.mark.slow
def test_stages_are_settled_only_before_the_first_that_runs(workspace):
    everything = chosen_stages(None)
    assert settled_stages(everything) == set()
    run(workspace, "dvc", "repro")
    assert settled_stages(everything) == set(everything)
    (workspace / "ingested").unlink()
    assert settled_stages(everything) == {"simulate"}
    assert settled_stages(["preprocess", "caption"]) == set()


@pytest.fixture
def shown(monkeypatch):
    """Return what is published, instead of sending it to a server."""
    found = {"logged": []}
    monkeypatch.setenv(showing.FILES_URL, "http://127.0.0.1:1/key")
    monkeypatch.setattr(
        showing, "create_table_artifact", lambda key, table, description: found.update({key: table})
    )
    monkeypatch.setattr(
        showing, "create_link_artifact", lambda key, link, link_text: found.update({key: link})
    )
    logger = SimpleNamespace(warning=lambda text, *args: found["logged"].append(text % args))
    monkeypatch.setattr(showing, "get_run_logger", lambda: logger)
    return found


def show(workspace, monkeypatch, name, chosen):
    monkeypatch.setattr(showing, "flow_run", SimpleNamespace(id=name))
    showing.show_results(workspace, chosen)


def test_a_run_shows_what_it_made_headline_first_and_its_report_is_kept(
    tmp_path, shown, monkeypatch
):
    monkeypatch.setattr(showing, "parents", dict)
    monkeypatch.setattr(showing, "settled_stages", lambda stages: {"evaluate", "report"})
    artifacts = Artifacts(tmp_path)
    write_text(artifacts.evaluate_metrics, json.dumps(SCORES))
    write_text(artifacts.report_page, PAGE)
    show(tmp_path, monkeypatch, "first", ["simulate", "caption"])
    assert shown == {"logged": []}
    show(tmp_path, monkeypatch, "second", ["evaluate", "report"])
    assert [row["score"] for row in shown["scores"]] == ["concept_recall_at_1_of_40", "a_detail"]
    assert shown["report"] == "http://127.0.0.1:1/key/runs/second/index.html"
    write_text(artifacts.report_page, "another")
    show(tmp_path, monkeypatch, "third", ["report"])
    pages = [(tmp_path / showing.RUNS / n / "index.html").read_text() for n in ("second", "third")]
    assert pages == [PAGE, "another"]


@pytest.mark.slow
def test_a_run_shows_nothing_that_dvc_finds_stale(workspace, shown, monkeypatch):
    run(workspace, "dvc", "repro")
    show(workspace, monkeypatch, "current", ["report"])
    assert shown.pop("report").endswith("/runs/current/index.html")
    (workspace / "captioned").write_text("otherwise")
    show(workspace, monkeypatch, "stale", ["report"])
    assert shown == {
        "logged": [
            "The report and pictures of report are not shown: DVC does not find report and all that it "
            "rests on up to date."
        ]
    }
    assert [folder.name for folder in (workspace / showing.RUNS).iterdir()] == ["current"]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({}, "everything"),
        ({"stages": ["retrieve"], "overrides": {"retrieve.k": 5}}, "retrieve; retrieve.k 5"),
        ({"stages": ["train", "report"], "force": True}, "train, report; forced"),
    ],
)
def test_the_name_of_a_run_says_what_it_does(monkeypatch, parameters, name):
    monkeypatch.setattr(reproduce_module, "flow_run", SimpleNamespace(parameters=parameters))
    assert reproduce_module.run_name() == name


def test_every_field_of_the_form_is_described():
    fields = reproduce_module.reproduce.parameters.properties
    assert list(fields) == ["stages", "force", "overrides"]
    assert all(field["description"].endswith(".") for field in fields.values())
    assert fields["stages"]["anyOf"][0]["items"]["enum"] == list(STAGES)


def test_errors_in_a_sentence_have_no_traceback_in_the_log_and_others_have():
    for error, kept in ((PerceptError("One sentence."), False), (ValueError("a fault"), True)):
        record = logging.makeLogRecord({"exc_info": (type(error), error, None)})
        assert reproduce_module.SentenceFilter().filter(record)
        assert bool(record.exc_info) == kept


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


def test_an_override_changes_its_own_value_and_no_other_byte(params):
    text = params.read_text()
    assert "null" in text
    params.write_bytes(text.replace("\n", "\r\n").encode())
    before = params.read_bytes().split(b"\n")
    override_params({"train.optimiser.learning_rate": 0.0005})
    after = params.read_bytes().split(b"\n")
    touched = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert touched == [
        (
            b"    learning_rate: 0.0003   # peak of the schedule\r",
            b"    learning_rate: 0.0005   # peak of the schedule\r",
        )
    ]


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
