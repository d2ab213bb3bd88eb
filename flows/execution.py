"""The `map` that a stage is given when Prefect watches: the same runners, each shard a task run."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, as_completed
from math import ceil
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from tasks.runtime.map import Result, Shard
from tasks.runtime.runners import submitted

MAX_TASK_RUNS = 100
"""More shards than this are watched in groups: Prefect is made for hundreds of task runs."""


def prefect_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do the shards wherever ``PERCEPT_RUNNER`` says, each watched by a Prefect task run.

    Prefect sees numbers of shards, never their content; DVC alone remembers results. The watching task runs
    live in this process, so that workers on other machines need no way to the Prefect server, which
    listens on loopback only.

    Parameters
    ----------
    work
        A picklable function of one shard.
    shards
        Picklable descriptions of pieces of work.

    Returns
    -------
    list
        One result per shard, in the order of the shards.
    """
    todo = list(shards)
    if not todo:
        return []
    with submitted(work, todo) as futures:
        watched = [_watch(group, label) for group, label in _groups(futures)]
        _show_progress(futures)
        for run in watched:
            run.wait()
        return [future.result() for future in futures]


def _groups(futures: Sequence[Future[Result]]) -> Iterable[tuple[Sequence[Future[Result]], str]]:
    """Split the shards into neighbours that share a task run, with a label for each."""
    size = ceil(len(futures) / MAX_TASK_RUNS)
    for start in range(0, len(futures), size):
        group = futures[start : start + size]
        name = f"shard {start + 1}" if size == 1 else f"shards {start + 1}-{start + len(group)}"
        yield group, f"{name} of {len(futures)}"


def _watch(group: Sequence[Future[Result]], label: str) -> PrefectFuture[None]:
    """Return a task run that ends as the shards of a group end."""

    @task(name="shard", task_run_name=label, cache_policy=NO_CACHE, persist_result=False)
    def shard() -> None:
        for future in group:
            if future.cancelled():
                raise RuntimeError("Not started, because another shard failed.")
            future.result()

    return shard.submit()


def _show_progress(futures: Sequence[Future[Result]]) -> None:
    """Keep a bar beside the run in the UI until every shard has ended; raise the first error."""
    made = create_progress_artifact(0.0, description=f"0 of {len(futures)} shards")
    artifact = made if isinstance(made, UUID) else None
    shown = 0
    for done, future in enumerate(as_completed(futures), 1):
        future.result()
        share = 100 * done // len(futures)
        if artifact is not None and share > shown:
            shown = share
            update_progress_artifact(artifact, share, f"{done} of {len(futures)} shards")
