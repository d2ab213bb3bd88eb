"""The whole DAG on a tiny study, in a temporary clone: what a user of a fresh checkout would see."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import read_table
from tasks.runtime.files import sha256_of
from tasks.wiring.dvc import import_closure

pytestmark = pytest.mark.slow
AFTER_TRAIN = STAGES[STAGES.index("train") :]


def environment() -> dict[str, str]:
    """Return what a shell with the activated environment has, less every setting of Percept and Prefect."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PERCEPT_", "PREFECT_", "OPENAI_"))
    }
    folder = str(Path(sys.executable).parent)
    return kept | {
        "PATH": folder + os.pathsep + kept["PATH"],
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def run(clone: Path, *words: str, expect: int = 0) -> str:
    """Run a command in the clone and return what it printed."""
    done = subprocess.run(
        words,
        cwd=clone,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


def ran(output: str) -> list[str]:
    """Return the stages that DVC says it ran."""
    return [name for name in STAGES if f"Running stage '{name}'" in output]


def set_param(clone: Path, name: str, value: object) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    section, *place, key = name.split(".")
    here = params[section]
    for part in place:
        here = here[part]
    here[key] = value
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


@pytest.fixture(scope="module")
def clone(tmp_path_factory, repository) -> Path:
    """Clone the repository, choose the tiny preset, reproduce everything."""
    folder = tmp_path_factory.mktemp("fresh") / "percept"
    subprocess.run(["git", "clone", "--quiet", str(repository), str(folder)], check=True)
    run(folder, "percept", "preset", "tiny")
    output = run(folder, "dvc", "repro")
    assert ran(output) == list(STAGES)
    return folder


def test_everything_is_there_and_valid(clone):
    for name, artifact in Artifacts.all().items():
        path = getattr(Artifacts(clone), name)
        assert path.exists(), name
        if artifact.schema is not None:
            read_table(path, artifact.schema)


def test_second_repro_finds_nothing_to_do(clone):
    output = run(clone, "dvc", "repro")
    assert ran(output) == []
    assert "up to date" in output


def test_scores_stand_beside_chance_and_ceiling(clone):
    scores = json.loads((clone / Artifacts.evaluate_metrics.path).read_text())
    concept = [s for name, s in scores.items() if name.startswith("concept_recall_at_1_of_")]
    assert concept
    for score in concept:
        assert score["n"] > 0
        assert 0 < score["chance"] < 0.5
        assert score["ceiling"] >= score["chance"]
        assert score["low"] <= score["value"] <= score["high"]


def test_trace_follows_one_trial_from_recording_to_picture(clone):
    trials = read_table(clone / Artifacts.renders.path, Artifacts.renders.schema)
    output = run(clone, "percept", "trace", trials["trial_id"][0].as_py())
    for name in ("recordings", "events", "stimuli", "trials", "captions", "retrievals", "renders"):
        assert any(line.startswith(name + " ") for line in output.splitlines()), name


def test_doctor_finds_nothing_missing(clone):
    assert "!!" not in run(clone, "percept", "doctor")


def test_misspelt_param_stops_before_any_work_and_loses_nothing(clone):
    before = sha256_of(clone / Artifacts.trials.path)
    good = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(good.replace("learning_rate:", "learning_rat:"))
    output = run(clone, "percept", "run", "train", expect=1)
    assert "train.optimiser.learning_rat is no param of train" in output
    assert "Traceback" not in output
    (clone / "params.yaml").write_text(good)
    assert sha256_of(clone / Artifacts.trials.path) == before
    assert (clone / Artifacts.encoder.path / "encoder.safetensors").exists()


def test_truncated_table_is_one_clear_error(clone):
    path = clone / Artifacts.captions.path
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[: len(whole) // 2])
    output = run(clone, "percept", "run", "embed", expect=1)
    path.write_bytes(whole)
    assert "must be a whole Parquet file" in output
    assert "dvc repro" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("module", ["tasks/encoder/losses.py", "tasks/controls/drift.py"])
def test_a_changed_module_makes_stale_exactly_the_stages_that_import_it(clone, module):
    importing = {s for s in STAGES if module in import_closure(clone / f"tasks/{s}.py", clone)}
    assert importing
    path = clone / module
    before = path.read_text()
    path.write_text(f"{before}# another byte\n")
    stale = json.loads(run(clone, "dvc", "status", "--json"))
    path.write_text(before)
    assert set(stale) == importing
    assert json.loads(run(clone, "dvc", "status", "--json")) == {}


def test_one_param_reruns_only_what_follows_and_a_kill_resumes_to_the_same_bytes(clone):
    weights = clone / Artifacts.encoder.path / "encoder.safetensors"
    first = sha256_of(weights)
    set_param(clone, "train.optimiser.learning_rate", 0.0005)
    kill_training_midway(clone)
    output = run(clone, "dvc", "repro")
    assert {"train", "retrieve", "evaluate"} <= set(ran(output)) <= set(AFTER_TRAIN)
    resumed = sha256_of(weights)
    assert resumed != first
    run(clone, "dvc", "repro", "--single-item", "--force", "train")
    assert sha256_of(weights) == resumed


def kill_training_midway(clone: Path) -> None:
    """Start `dvc repro train` and kill the whole process group once a checkpoint lies in the cache."""
    cache = clone / "data/cache/train"
    known = set(cache.rglob("*")) if cache.exists() else set()
    with subprocess.Popen(
        ["dvc", "repro", "train"], cwd=clone, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while process.poll() is None and not fresh_checkpoints(cache, known):
            time.sleep(0.05)
        killed = process.poll() is None
        if killed:
            os.killpg(process.pid, signal.SIGKILL)
    assert killed, "the training ended before it could be killed"
    assert fresh_checkpoints(cache, known)


def fresh_checkpoints(cache: Path, known: set[Path]) -> list[Path]:
    return [p for p in cache.rglob("state.pt") if p not in known]


def test_tracked_run_shows_the_stage_and_its_shards(clone, monkeypatch):
    """With a Prefect API configured, `percept run` is a flow whose shards are task runs."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
    from prefect.testing.utilities import prefect_test_harness

    from flows.stage import run_tracked

    monkeypatch.chdir(clone)
    with prefect_test_harness(server_startup_timeout=180):
        run_tracked("preprocess")
        with get_client(sync_client=True) as client:
            flow_runs = client.read_flow_runs(limit=50, sort=FlowRunSort.ID_DESC)
            task_runs = client.read_task_runs(limit=50, sort=TaskRunSort.ID_DESC)
    assert [(r.name, r.state_name) for r in flow_runs] == [("preprocess", "Completed")]
    assert task_runs
    assert {r.state_name for r in task_runs} == {"Completed"}
    assert all(r.name.startswith("shard ") for r in task_runs)
