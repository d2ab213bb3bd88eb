"""Small workspaces whose stages are shell commands, for tests of what surrounds stages."""

import json
import os
import subprocess
import sys
from pathlib import Path

DAG = """\
stages:
  simulate:
    cmd: echo simulate >> ran && echo '<b>simulated</b>' > simulated
    outs: [simulated]
  ingest:
    cmd: echo ingest >> ran && cp simulated ingested
    deps: [simulated]
    outs: [ingested]
  preprocess:
    cmd: echo preprocess >> ran && test ! -e cause && cp ingested preprocessed
    deps: [ingested]
    outs: [preprocessed]
  caption:
    cmd: echo caption >> ran && cp preprocessed captioned
    deps: [preprocessed]
    outs: [captioned]
  evaluate:
    cmd: echo evaluate >> ran && cp scores.json reports/metrics/evaluate.json
    deps: [captioned, scores.json]
    outs: [reports/metrics/evaluate.json]
  report:
    cmd: echo report >> ran && cp page.html reports/index.html
    deps: [reports/metrics/evaluate.json, page.html]
    outs: [reports/index.html]
"""
SCORES = {
    "a_detail": {"value": 0.1, "n": 3},
    "concept_recall_at_1_of_40": {"value": 0.693, "n": 1121, "chance": 0.025},
}
PAGE = "<!doctype html><title>Report</title><h1>The report of a small workspace</h1>"


def environment(**more: str) -> dict[str, str]:
    """Return what a shell with the activated environment has, less every setting of Percept and Prefect."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PERCEPT_", "PREFECT_", "OPENAI_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"PATH": path, "DVC_NO_ANALYTICS": "1"} | more


def make_workspace(folder: Path, dag: str = DAG) -> Path:
    """Make a DVC project of a few stages, by default with what two of them copy: a report and two scores."""
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").write_text(dag)
    (folder / "reports/metrics").mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(SCORES))
    (folder / "page.html").write_text(PAGE)
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    return folder


def run(folder: Path, *words: str) -> str:
    """Run a command there; return what it printed."""
    done = subprocess.run(
        words, cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def ran(folder: Path) -> list[str]:
    """Return the stages whose commands ran, in order."""
    return (folder / "ran").read_text().split() if (folder / "ran").exists() else []
