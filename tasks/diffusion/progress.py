"""A bar of the pictures on disk, whoever draws them: this process, its workers or a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 0.5


@contextmanager
def pictures_bar(missing: Sequence[Path], console: Console | None = None) -> Iterator[None]:
    """Count the pictures that have come to lie on disk, where there is a terminal.

    Parameters
    ----------
    missing : Sequence[Path]
        Files that are not there yet.
    console : rich.console.Console or None
        Where the bar is shown; None is the standard error.
    """
    console = console or Console(stderr=True)
    columns = TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        if bar.disable:
            yield
            return
        task, ended = bar.add_task("pictures", total=len(missing)), threading.Event()

        def watch() -> None:
            left = set(missing)
            while not ended.wait(EVERY_S):
                left = {path for path in left if not path.exists()}
                bar.update(task, completed=len(missing) - len(left))

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()
            bar.update(task, completed=sum(path.exists() for path in missing))
