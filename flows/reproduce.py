"""The whole story: every stage in DAG order, independent branches side by side.

Each task is `dvc repro --single-item STAGE`, so DVC alone decides what is stale, and a retry of a failed
run passes over finished stages to the one that failed.
"""

import logging
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from pydantic import Field

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
from tasks import STAGES
from tasks.runtime.errors import TRY_AGAIN, PerceptError
from tasks.runtime.secrets import RedactingFilter, redact, redacted_errors
from tasks.runtime.workspace import WRITER, sole_writer

PARENT = "PERCEPT_PARENT_TASK_RUN"
"""Tells the flow of a stage which task run started it."""
LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
LONGEST_NAME = 120
RETRIES = 3
BACKOFF_S = 30.0


class StageFailedError(PerceptError):
    """DVC reports that a stage failed."""


class BusyError(StageFailedError):
    """A stage failed for want of something that may be there the next time."""


class SentenceFilter(logging.Filter):
    """Takes the traceback from the record of an error that is one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if record.exc_info and isinstance(record.exc_info[1], PerceptError):
            record.exc_info = None  # the message names the error
        return True


def keep_logs_short_and_clean() -> None:
    """Let what Prefect logs of runs hold neither secrets nor tracebacks of what is said in a sentence."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(SentenceFilter())
        logging.getLogger(name).addFilter(RedactingFilter())


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


STAGE = Annotated[str, Field(json_schema_extra={"enum": list(STAGES)})]
CHOSEN = Field(None, description="Stages to bring up to date; where none is named, all of them.")
FORCE = Field(False, description="Run them even where DVC finds nothing changed.")
OVERRIDES = Field(
    None,
    description="Params to write into params.yaml first, by dotted name, for instance "
    '{"train.optimiser.learning_rate": 0.0005}. They stay there after the run.',
)


def run_name() -> str:
    """Return what the UI calls a run: its stages, and the params that it sets."""
    found = flow_run.parameters
    words = [", ".join(found.get("stages") or ["everything"])]
    words += [f"{name} {value}" for name, value in (found.get("overrides") or {}).items()]
    words += ["forced"] if found.get("force") else []
    return textwrap.shorten("; ".join(words), LONGEST_NAME, placeholder=" ...")


@flow(name="percept", flow_run_name=run_name, task_runner=SIDE_BY_SIDE, persist_result=False)
def reproduce(
    stages: list[STAGE] | None = CHOSEN,
    force: bool = FORCE,
    overrides: dict[str, Any] | None = OVERRIDES,
) -> None:
    """Reproduce the pipeline, or the named stages alone, in DAG order."""
    keep_logs_short_and_clean()
    if os.environ.get("DVC_STAGE"):
        raise PerceptError(
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
        show_results(root(), chosen)


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
