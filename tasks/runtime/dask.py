"""Shards on a Dask cluster."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.runtime.map import worker_count
from tasks.runtime.workers import (
    CONNECT_TIMEOUT_S,
    RunnerError,
    code_fingerprint,
    on_worker,
    require_package,
)

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)


@contextmanager
def executor(address: str | None, gpu: bool) -> Iterator[Executor]:
    """Open a running cluster, or start one of worker processes on this machine.

    Parameters
    ----------
    address
        Of the scheduler, say ``tcp://10.0.0.1:8786``; None starts a cluster on loopback.
    gpu
        Whether each shard asks for one ``GPU``, a resource that workers are started with
        (``dask worker --resources GPU=1``); where no worker has one, shards run on any.

    Yields
    ------
    Executor
        A shard whose worker is lost runs again on another one.

    Raises
    ------
    RunnerError
        If Dask is not installed, no scheduler answers or the one that did goes away, or a worker lacks the
        code.
    """
    require_package("distributed", "dask")
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it is said in a sentence
    with _client(address) as client:
        try:
            yield DaskExecutor(client, gpu)
        except (CancelledError, CommClosedError) as error:
            raise RunnerError(
                f"The Dask scheduler at {client.scheduler.address} must answer until the last shard ends; it "
                "went away. Start it and its workers again, then run again: finished shards are kept."
            ) from error
        except ImportError as error:
            raise RunnerError(
                f"Dask workers must have all code that a shard needs; one lacks some ({error}). Install "
                "Percept as here where the workers run, start them anew and run again."
            ) from error
        except KilledWorker as error:
            raise RunnerError(
                "A shard must find a worker that lives until its end; Dask gave up after "
                f"{error.allowed_failures + 1} were lost, most often for want of memory. "
                "Give the workers more and run again: finished shards are kept."
            ) from error


@contextmanager
def _client(address: str | None) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    if address is None:
        with (
            LocalCluster(
                n_workers=worker_count(),
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # an HTTP server on loopback, any port
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise RunnerError(
            f"PERCEPT_ADDRESS must name a running Dask scheduler; none answers at {address}. "
            "Start one with `dask scheduler`, or unset PERCEPT_ADDRESS."
        ) from error
    with client:
        yield client


def _unpacker() -> Callable[[bytes], Any]:
    """Return a function that travels as code, not as a name: a worker that lacks ours can say so, not die of it."""

    def unpack(packed: bytes) -> Any:
        import pickle  # as Dask itself sends work: whoever reaches a scheduler can run code (docs/security.md)

        try:
            work, args, kwargs = pickle.loads(packed)  # noqa: S301
        except AttributeError as error:
            raise ImportError(str(error)) from error
        return work(*args, **kwargs)

    return unpack


class DaskExecutor(Executor):
    """A client's executor whose shards run in this folder, with this code."""

    def __init__(self, client: Client, gpu: bool) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        offered = any(worker["resources"].get("GPU") for worker in workers)
        if gpu and not offered:
            logger.info("No Dask worker offers a GPU; the shards run on any worker.")
        resources = {"GPU": 1} if gpu and offered else None
        self._inner = client.get_executor(pure=False, resources=resources)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start one shard."""
        words = (str(Path.cwd()), code_fingerprint(), fn, *args)
        future: Future[Any] = self._inner.submit(
            _unpacker(), pickle.dumps((on_worker, words, kwargs))
        )
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what has not ended, or wait for it."""
        self._inner.shutdown(wait=wait and not cancel_futures)
