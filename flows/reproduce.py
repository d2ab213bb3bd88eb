"""The whole story: every stage in DAG order, independent branches side by side.

Each task is `dvc repro --single-item STAGE`, so DVC alone decides what is stale, and a retry of a failed
run passes over finished stages to the one that failed.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff

from flows.showing import show_results
from flows.workspace import (
    chosen_stages,
    dvc,
    environment,
    override_params,
    parents,
    root,
    settled_stages,
)
from tasks.runtime.errors import TRY_AGAIN
from tasks.runtime.secrets import redact, redacted_errors
from tasks.runtime.workspace import WRITER, sole_writer

PARENT = "PERCEPT_PARENT_TASK_RUN"
"""Tells the flow of a stage which task run started it."""
RETRIES = 3
BACKOFF_S = 30.0


class StageFailedError(RuntimeError):
    """DVC reports that a stage failed."""


class BusyError(StageFailedError):
    """A stage failed for want of something that may be there the next time."""


def _may_pass(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether trying again can help: only where the stage itself says so."""
    return isinstance(state.result(raise_on_failure=False), BusyError)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(BACKOFF_S),
    retry_condition_fn=_may_pass,
)
def reproduce_stage(stage: str, force: bool = False, settled: bool = False) -> State[Any]:
    """Bring one stage up to date through DVC, with its output as this task's log.

    Parameters
    ----------
    force
        Run it even where DVC finds nothing changed.
    settled
        DVC has said before that there is nothing to do.

    Raises
    ------
    StageFailedError
        If DVC reports a failure; the log holds its words.
    """
    logger = get_run_logger()
    if settled:
        logger.info("Stage '%s' didn't change, skipping.", stage)
        return Completed(name="UpToDate", message=f"DVC finds {stage} up to date.")
    context = TaskRunContext.get()
    more = {PARENT: str(context.task_run.id)} if context else {}
    command = [*dvc(), "repro", "--single-item", *["--force"] * force, stage]
    last = skipped = ""
    with subprocess.Popen(
        command,
        cwd=root(), env=environment(**{WRITER: str(os.getpid())}, **more),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            logger.info("%s", redact(line.rstrip()))
            last = line.strip() or last
            skipped = skipped or (line if "didn't change, skipping" in line else "")
    if process.returncode:
        passing = re.search(rf"exited with {TRY_AGAIN}\b", last)
        raise (BusyError if passing else StageFailedError)(
            f"Stage {stage} must end with exit code 0; it ended with {process.returncode}. "
            "Read its log, remove the cause, and retry this run: finished stages are skipped."
        )
    if skipped:
        return Completed(name="UpToDate", message=f"DVC finds {stage} up to date.")
    return Completed(message=f"{stage} is done.")


SIDE_BY_SIDE = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=2))


@flow(name="percept", task_runner=SIDE_BY_SIDE, persist_result=False)
def reproduce(
    stages: list[str] | None = None,
    force: bool = False,
    overrides: dict[str, Any] | None = None,
) -> None:
    """Reproduce the pipeline, or the named stages alone, in DAG order.

    Parameters
    ----------
    stages
        Stages to bring up to date; all by default.
    force
        Run them even where DVC finds nothing changed.
    overrides
        Params to write into params.yaml first, by dotted name: {"train.optimiser.learning_rate": 0.0005}.
    """
    if os.environ.get("DVC_STAGE"):
        raise RuntimeError(
            "A flow must not start inside a DVC stage; "
            f"stage {os.environ['DVC_STAGE']} tried. Start it from a shell."
        )
    chosen = chosen_stages(stages)
    with redacted_errors(), sole_writer("a Prefect run", root()), _no_orphans():
        if overrides:
            override_params(overrides)
        settled = set() if force else settled_stages(chosen)
        dag = parents()
        started: dict[str, PrefectFuture[Any]] = {}
        for name in chosen:
            before = [started[parent] for parent in dag[name] if parent in started]
            started[name] = reproduce_stage.submit(
                name, force, name in settled, wait_for=before, return_state=False
            )
        wait(list(started.values()))
        for future in started.values():
            future.result()
        show_results(root())


@contextmanager
def _no_orphans() -> Iterator[None]:
    """Stop the commands under way when the run is cancelled or fails."""
    import psutil

    try:
        yield
    except BaseException:
        for child in psutil.Process().children(recursive=True):
            child.terminate()
        raise


if __name__ == "__main__":
    reproduce()
