"""A bar of what lies on disk, whoever makes it: this process, its workers or a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 0.5
SAID_EVERY_S = 8.0
"""Between two lines of `announced`."""
_bar_is_shown = threading.Event()


@contextmanager
def announced(
    what: str, console: Console | None = None, every_s: float = SAID_EVERY_S
) -> Iterator[None]:
    """Say what begins, every few seconds for how long it has run, and at its end how long it took.

    While `counting` shows a bar, nothing else is said.

    Parameters
    ----------
    what : str
        For instance which stage of how many.
    console : rich.console.Console or None
        Where it is said; None is the standard error.
    """
    console = console or Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    start, ended = time.monotonic(), threading.Event()

    def say(how: str) -> None:
        console.print(f"{what} {how}")

    def watch() -> None:
        while not ended.wait(every_s):
            if not _bar_is_shown.is_set():
                say(f"({time.monotonic() - start:.0f} s so far)")

    say("...")
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
    say(f"(done in {time.monotonic() - start:.0f} s)")


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
        _bar_is_shown.set()
        try:
            yield
        finally:
            _bar_is_shown.clear()
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
