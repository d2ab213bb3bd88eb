"""What a stage reads must stay as it is while it runs; otherwise it fails, and DVC records nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tasks.wiring.inputs import SMALL, InputChangedError, unchanged_inputs
from tests.flows.workspaces import environment, run

PARAMS = """\
ingest: {source: {folder: mine}}
embed: {model: small, precision: float32}
retrieve:
  k: 4          # ranks
  kinds: [object]
render: {seed: 1}
"""
DAG = """\
stages:
  retrieve:
    cmd: PYTHON stage.py
    deps: [tasks/retrieve.py, data/vectors.parquet, "data/raw/${ingest.source.folder}"]
    params: [retrieve, embed.model]
    outs: [table]
"""
STAGE = """\
import sys
from pathlib import Path
from tasks.__main__ import main
from tasks.runtime.params import Params
from tasks.wiring import contract

class Some(Params):
    k: int
    kinds: list[str]

def retrieve(*, params: Some) -> None:
    Path("table").write_text(str(params.k))
    if Path("edit").exists():
        file = Path("params.yaml")
        file.write_text(file.read_text().replace("k: 4", "k: 5"))

contract.load_stage = lambda name: retrieve
sys.exit(main(["run", "retrieve"]))
"""


@pytest.fixture
def study(tmp_path, repository, monkeypatch) -> Path:
    dag = DAG.replace("PYTHON", f"PYTHONPATH={repository} {sys.executable}")
    (tmp_path / "dvc.yaml").write_text(dag)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "stage.py").write_text(STAGE)
    for name in ("tasks/retrieve.py", "data/vectors.parquet", "data/raw/mine/subject/eeg.fif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
    os.truncate(tmp_path / "data/vectors.parquet", SMALL + 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rewrite(old: str, new: str):
    return lambda: Path("params.yaml").write_text(Path("params.yaml").read_text().replace(old, new))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (rewrite("k: 4", "k: 5"), "retrieve.k (4 -> 5)"),
        (rewrite("k: 4", "n: 4"), "retrieve.k (4 -> absent), retrieve.n (absent -> 4)"),
        (rewrite("model: small", "model: large"), "embed.model (small -> large)"),
        (lambda: Path("tasks/retrieve.py").write_text("as it is"), "tasks/retrieve.py"),
        (lambda: Path("tasks/retrieve.py").unlink(), "tasks/retrieve.py"),
        (lambda: os.truncate("data/vectors.parquet", SMALL + 2), "data/vectors.parquet"),
        (lambda: os.utime("data/vectors.parquet", (1, 1)), "data/vectors.parquet"),
        (
            lambda: Path("data/raw/mine/subject/eeg.fif").write_text("other"),
            "data/raw/mine/subject/eeg.fif",
        ),
        (lambda: Path("data/raw/mine/new.fif").touch(), "data/raw/mine/new.fif"),
        (
            lambda: Path("data/raw/mine/subject/eeg.fif").unlink(),
            "data/raw/mine/subject/eeg.fif",
        ),
    ],
)
def test_an_input_that_changes_is_named(study, edit, said):
    with (
        pytest.raises(InputChangedError) as caught,
        unchanged_inputs("retrieve", Path("params.yaml")),
    ):
        edit()
    assert str(caught.value) == (
        f"What retrieve reads must stay as it is until retrieve ends; changed while it ran: {said}. Nothing "
        "is recorded of this run. Run `dvc repro` again, which runs it with what stands there now."
    )


@pytest.mark.parametrize(
    "edit",
    [
        rewrite("seed: 1", "seed: 2"),  # of another stage
        rewrite("# ranks", "# how many"),
        rewrite("precision: float32", "precision: float16"),
        lambda: os.utime("tasks/retrieve.py", (1, 1)),  # the same text, written again
        lambda: Path("data/raw/another").mkdir(),
        lambda: Path("table").write_text("4"),
    ],
)
def test_what_the_stage_does_not_read_may_change(study, edit):
    with unchanged_inputs("retrieve", Path("params.yaml")):
        edit()


def test_the_error_of_the_stage_itself_comes_first(study):
    def fail_after_an_edit():
        with unchanged_inputs("retrieve", Path("params.yaml")):
            rewrite("k: 4", "k: 5")()
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        fail_after_an_edit()


def test_without_dvc_nothing_is_recorded_and_nothing_compared(study):
    Path("dvc.yaml").unlink()
    with unchanged_inputs("retrieve", Path("params.yaml")):
        rewrite("k: 4", "k: 5")()


@pytest.mark.slow
def test_dvc_records_nothing_of_a_run_whose_params_changed(study):
    run(study, "dvc", "init", "--no-scm", "--quiet")
    (study / "edit").touch()
    done = subprocess.run(
        ["dvc", "repro"], cwd=study, env=environment(), capture_output=True, text=True
    )
    assert done.returncode
    assert "retrieve.k (4 -> 5). Nothing is recorded of this run." in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (study / "dvc.lock").exists()

    run(study, "dvc", "repro")
    assert (study / "table").read_text() == "5"
    lock = yaml.safe_load((study / "dvc.lock").read_text())["stages"]["retrieve"]
    assert lock["params"]["params.yaml"]["retrieve"]["k"] == 5
    assert "up to date" in run(study, "dvc", "status")
