"""Where shards run: ``PERCEPT_RUNNER`` says on what, ``PERCEPT_ADDRESS`` on which cluster.

Every runner is an executor of `concurrent.futures`: a pool of processes or threads on this machine, a Dask
cluster, a Ray cluster. A shard is a function and a description of work; its results are paths, which lie
on storage that every worker sees. None of this changes a result, and none of it is a param.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from tasks.runtime.map import Result, Shard, has_own_bar, serial_map, wants_gpu, worker_count
from tasks.runtime.workers import RunnerError

RUNNERS = ("local", "threads", "dask", "ray")


def runner_name() -> str:
    """Return what ``PERCEPT_RUNNER`` says, ``local`` by default.

    Raises
    ------
    RunnerError
        If there is no such runner.
    """
    name = os.environ.get("PERCEPT_RUNNER") or "local"
    if name not in RUNNERS:
        raise RunnerError(
            f"PERCEPT_RUNNER must be one of {', '.join(RUNNERS)}; it is {name!r}. "
            "Set it to one of these, or unset it."
        )
    return name


def runner_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do the shards side by side, wherever ``PERCEPT_RUNNER`` says, with a bar on a terminal.

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

    Raises
    ------
    RunnerError
        If the runner is unknown, cannot be reached, or loses its workers again and again.
    """
    todo = list(shards)
    if runner_name() == "local" and local_worker_count(work, len(todo)) <= 1:
        return serial_map(work, todo)
    with submitted(work, todo) as futures:
        for ended in _with_bar(as_completed(futures), work, len(futures)):
            ended.result()
        return [future.result() for future in futures]


@contextmanager
def submitted(
    work: Callable[[Shard], Result], shards: Sequence[Shard]
) -> Iterator[list[Future[Result]]]:
    """Start every shard; on an error, cancel those that have not begun and raise it.

    Parameters
    ----------
    work
        A picklable function of one shard.
    shards
        Picklable descriptions of pieces of work.

    Yields
    ------
    list of Future
        In the order of the shards.
    """
    with open_runner(work, len(shards)) as executor:
        try:
            yield [executor.submit(work, shard) for shard in shards]
        except BrokenExecutor as error:
            raise RunnerError(
                "Worker processes must live until their shard ends; one was killed, most often for "
                "want of memory. Lower PERCEPT_WORKERS and run again: finished shards are kept."
            ) from error
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def open_runner(work: Callable[..., Any], n_shards: int) -> Iterator[Executor]:
    """Open the runner that the environment names, for shards of one kind.

    Parameters
    ----------
    work
        What will run; a function marked by `tasks.runtime.map.on_gpu` asks for a GPU.
    n_shards
        How many workers there can be any use for.

    Yields
    ------
    Executor
        Its futures end with the result of a shard, or with its error.

    Raises
    ------
    RunnerError
        If the runner is unknown or cannot be reached, or its package is not installed.
    """
    name = runner_name()
    if name == "local":
        with process_pool(max(1, local_worker_count(work, n_shards)), _gpus(work)) as pool:
            yield pool
    elif name == "threads":
        with ThreadPoolExecutor(max(1, min(worker_count(), n_shards))) as threads:
            yield threads
    else:
        cluster = importlib.import_module(f"tasks.runtime.{name}")
        with cluster.executor(os.environ.get("PERCEPT_ADDRESS"), wants_gpu(work)) as shards:
            yield shards


def process_pool(workers: int, gpus: Sequence[str] = ()) -> ProcessPoolExecutor:
    """Return a pool of spawned processes that share this machine's cores evenly, and its GPUs one each."""
    context = get_context("spawn")
    free = context.SimpleQueue()
    for gpu in gpus:
        free.put(gpu)
    threads = max(1, (os.cpu_count() or 1) // workers)
    return ProcessPoolExecutor(
        workers,
        mp_context=context,
        initializer=_prepare_process,
        initargs=(threads, free if gpus else None),
    )


def local_worker_count(work: Callable[..., Any], n_shards: int) -> int:
    """Return how many local processes are of use: one per shard, core and, where it wants one, GPU."""
    limits = [worker_count(), n_shards]
    gpus = _gpus(work)
    return min([*limits, len(gpus)] if gpus else limits)


def _with_bar(
    ended: Iterator[Future[Result]], work: Callable[..., Any], n_shards: int
) -> Iterable[Future[Result]]:
    """Show a bar while shards end, where there is a terminal and the stage shows none."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    quiet = not console.is_terminal or has_own_bar(work)
    return track(ended, "shards", total=n_shards, console=console, disable=quiet)


def _gpus(work: Callable[..., Any]) -> list[str]:
    """Return the GPUs of this machine that ``work`` may use, as CUDA names them."""
    if not wants_gpu(work) or os.environ.get("PERCEPT_DEVICE") == "cpu":
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]


def _prepare_process(threads: int, gpus: Any) -> None:
    """Give numerical libraries imported later ``threads`` threads, and the next free GPU if there is one."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.get()
