"""How a stage hands its shards to whatever runs them."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from tasks.runtime.environment import whole_number

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Work = TypeVar("Work", bound=Callable[..., Any])


class Map(Protocol):
    """What a stage sees of a cluster: ``map(work, shards)`` returns the results in order."""

    def __call__(self, work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
        """Do ``work`` on every shard."""
        ...


def serial_map(work: Callable[[Shard], Result], shards: Iterable[Shard], /) -> list[Result]:
    """Do one shard after the other in this process."""
    return [work(shard) for shard in shards]


def on_gpu(work: Work) -> Work:
    """Mark a function of a shard as one that wants a GPU to itself, where there are any."""
    work.__dict__["on_gpu"] = True
    return work


def wants_gpu(work: Callable[..., Any]) -> bool:
    """Tell whether a function, or the one inside its ``partial``, was marked by `on_gpu`."""
    return _is_marked(work, "on_gpu")


def _is_marked(work: Callable[..., Any], mark: str) -> bool:
    while isinstance(work, partial):
        work = work.func
    return bool(getattr(work, mark, False))


def with_own_bar(work: Work) -> Work:
    """Mark a function of a shard whose stage shows how far it is, so that no second bar is shown."""
    work.__dict__["with_own_bar"] = True
    return work


def has_own_bar(work: Callable[..., Any]) -> bool:
    """Tell whether a function, or the one inside its ``partial``, was marked by `with_own_bar`."""
    return _is_marked(work, "with_own_bar")


def worker_count() -> int:
    """Return the number of workers: ``PERCEPT_WORKERS``, or the cores of this machine.

    Raises
    ------
    EnvironmentVariableError
        If the variable is not a whole number above zero.
    """
    return whole_number("PERCEPT_WORKERS") or os.cpu_count() or 1
