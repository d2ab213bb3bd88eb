"""Shards on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.runtime.map import worker_count
from tasks.runtime.workers import RunnerError, code_fingerprint, on_worker, require_package

LOST_WORKERS = 3
LOOPBACK = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}

logger = logging.getLogger(__name__)


@contextmanager
def executor(address: str | None, gpu: bool) -> Iterator[Executor]:
    """Open a running cluster, or start one on this machine.

    Parameters
    ----------
    address
        ``auto`` on a machine of the cluster, ``ray://HOST:10001`` from outside; None starts a cluster on
        loopback.
    gpu
        Whether each shard asks for a GPU; where the cluster has none, shards run on any CPU.

    Yields
    ------
    Executor
        A shard whose worker is lost runs again on another one, at most three times.

    Raises
    ------
    RunnerError
        If Ray is not installed or no cluster answers.
    """
    require_package("ray", "ray")
    from ray import exceptions

    with _connection(address):
        try:
            yield RayExecutor(gpu)
        except exceptions.RayTaskError as error:
            raise error.cause from None
        except (exceptions.WorkerCrashedError, exceptions.NodeDiedError) as error:
            raise RunnerError(
                f"A shard must find a worker that lives until its end; {LOST_WORKERS + 1} were lost, "
                "most often for want of memory. Give the workers more and run again: finished shards "
                "are kept."
            ) from error


@contextmanager
def _connection(address: str | None) -> Iterator[None]:
    """Connect for as long as the block runs; a connection that is there already is used and left."""
    import ray

    if ray.is_initialized():
        yield
        return
    options = {"address": address} if address else {"num_cpus": worker_count(), **LOOPBACK}
    try:
        ray.init(configure_logging=False, **options)
    except ConnectionError as error:
        raise RunnerError(
            f"PERCEPT_ADDRESS must name a running Ray cluster; none answers at {address}. "
            "Start one with `ray start --head`, or unset PERCEPT_ADDRESS."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


class RayExecutor(Executor):
    """Ray's remote functions as an executor whose shards run in this folder, with this code."""

    def __init__(self, gpu: bool) -> None:
        import ray

        offered = ray.cluster_resources().get("GPU", 0) >= 1
        if gpu and not offered:
            logger.info("The Ray cluster has no GPU; the shards run on its CPUs.")
        options = {"num_gpus": 1} if gpu and offered else {"num_cpus": 1}
        self._remote = ray.remote(max_retries=LOST_WORKERS, **options)(on_worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one shard."""
        reference = self._remote.remote(str(Path.cwd()), code_fingerprint(), fn, *args, **kwargs)
        future: Future[Any] = reference.future()
        return future
