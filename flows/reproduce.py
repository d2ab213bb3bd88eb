"""The whole story: every stage in DAG order, independent branches side by side.

Each task is `dvc repro --single-item STAGE`, so DVC alone decides what is stale, and a retry of a failed
run walks over finished stages ("didn't change, skipping") to the one that failed.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks import STAGES
from tasks._wiring import load_stage, reads, writes
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores

ROOT = Path(__file__).resolve().parents[1]
WAITED_FOR = "simulated"  # `ingest` reads the raw folder that holds what `simulate` wrote


def parents() -> dict[str, list[str]]:
    """Return, for every stage in order, the stages whose artefacts it reads."""
    loaded = {name: load_stage(name) for name in STAGES}
    writer = {artifact: name for name, stage in loaded.items() for artifact in writes(stage)}
    writer["raw"] = writer[WAITED_FOR]
    return {
        name: sorted({writer[a] for a in reads(stage) if a in writer}, key=STAGES.index)
        for name, stage in loaded.items()
    }


@task(task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False)
def reproduce_stage(stage: str, force: bool = False) -> None:
    """Bring one stage up to date through DVC, with its output as this task's log.

    Raises
    ------
    RuntimeError
        If DVC reports a failure; the log holds its words.
    """
    logger = get_run_logger()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(
        command + ["--force"] * force,
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            logger.info("%s", line.rstrip())
    if process.returncode:
        raise RuntimeError(
            f"Stage {stage} must end with exit code 0; it ended with {process.returncode}. "
            "Read its log above, remove the cause, and retry this run."
        )


SIDE_BY_SIDE = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=2))


@flow(name="reproduce", task_runner=SIDE_BY_SIDE, persist_result=False)
def reproduce(stages: list[str] | None = None, force: bool = False) -> None:
    """Reproduce the pipeline, or the named stages alone, in DAG order.

    Parameters
    ----------
    stages
        Stages to bring up to date; all by default.
    force
        Run them even where DVC finds nothing changed.
    """
    if os.environ.get("DVC_STAGE"):
        raise RuntimeError(
            "A flow must not start inside a DVC stage; "
            f"stage {os.environ['DVC_STAGE']} tried. Start it from a shell."
        )
    chosen = [name for name in STAGES if stages is None or name in stages]
    started: dict[str, PrefectFuture[None]] = {}
    for name in chosen:
        before = [started[parent] for parent in parents()[name] if parent in started]
        started[name] = reproduce_stage.submit(name, force, wait_for=before, return_state=False)
    wait(list(started.values()))
    for future in started.values():
        future.result()
    if "evaluate" in chosen:
        _show_scores()


def _show_scores() -> None:
    """Put the scores beside the run in the UI."""
    path = Artifacts(ROOT).evaluate_metrics
    if path.exists():
        rows = [
            {"score": name, "value": s.value, "chance": s.chance, "ceiling": s.ceiling, "n": s.n}
            for name, s in read_scores(path).items()
        ]
        create_table_artifact(key="scores", table=rows, description="Scores of this run")


if __name__ == "__main__":
    reproduce()
