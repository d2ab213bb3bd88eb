"""How a stage hands its shards to whatever runs them."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Map(Protocol):
    """What a stage sees of a cluster: ``map(work, shards)`` returns the results in order."""

    def __call__(self, work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
        """Do ``work`` on every shard."""
        ...


def serial_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do one shard after the other in this process."""
    return [work(shard) for shard in shards]


def process_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do the shards side by side in spawned processes, ``PERCEPT_WORKERS`` (default: the cores) at once.

    Parameters
    ----------
    work
        A picklable function of one shard.
    shards
        Picklable descriptions of pieces of work: paths and names, never arrays.

    Returns
    -------
    list
        One result per shard, in the order of the shards.
    """
    todo = list(shards)
    workers = min(worker_count(), len(todo))
    if workers <= 1:
        return serial_map(work, todo)
    with process_pool(workers) as pool:
        futures = [pool.submit(work, shard) for shard in todo]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes that share the cores of this machine evenly."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)
    )


def worker_count() -> int:
    """Return the number of worker processes: ``PERCEPT_WORKERS``, or the cores of this machine."""
    return int(os.environ.get("PERCEPT_WORKERS") or os.cpu_count() or 1)


def _limit_threads(count: int) -> None:
    """Let numerical libraries that are imported later in this process use ``count`` threads."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(count)
