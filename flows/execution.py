"""The `map` that a stage is given when Prefect watches: one task per shard, one process each."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from tasks._map import process_pool, worker_count

Shard = TypeVar("Shard")
Result = TypeVar("Result")


def prefect_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do the shards as Prefect tasks, each of which watches one process of a local pool.

    Prefect sees numbers of shards, never their content; DVC alone remembers results.

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
    with process_pool(max(1, min(worker_count(), len(todo)))) as pool:
        futures = [pool.submit(work, shard) for shard in todo]
        try:
            watched = [_watch(f, f"shard {k + 1} of {len(todo)}") for k, f in enumerate(futures)]
            return [future.result() for future in watched]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _watch(future: Future[Result], label: str) -> PrefectFuture[Result]:
    """Return a Prefect task run that ends as the shard in its process ends."""

    @task(name="shard", task_run_name=label, cache_policy=NO_CACHE, persist_result=False)
    def shard() -> Result:
        return future.result()

    return shard.submit()
