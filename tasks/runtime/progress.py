"""A bar of what lies on disk, whoever makes it: this process, its workers or a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 0.5


@contextmanager
def counting(
    what: str, total: int, n_done: Callable[[], int], console: Console | None = None
) -> Iterator[None]:
    """Show how many are done while the body runs, where there is a terminal.

    Parameters
    ----------
    what : str
        Of what, in the plural.
    total : int
        How many there will be.
    n_done : callable
        Counts those that are done; called twice a second, from a thread of its own.
    console : rich.console.Console or None
        Where the bar is shown; None is the standard error.
    """
    console = console or Console(stderr=True)
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        if bar.disable:
            yield
            return
        task, ended = bar.add_task(what, total=total), threading.Event()

        def watch() -> None:
            while not ended.wait(EVERY_S):
                bar.update(task, completed=n_done())

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()
            bar.update(task, completed=n_done())


def files_there(missing: Collection[Path]) -> Callable[[], int]:
    """Return what counts the files that have come to be since.

    Parameters
    ----------
    missing : Collection[Path]
        Files that are not there yet.
    """
    left = set(missing)

    def count() -> int:
        left.difference_update([path for path in left if path.exists()])
        return len(missing) - len(left)

    return count
