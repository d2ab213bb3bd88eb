"""One workspace, one writer: whoever comes second waits, and says for whom.

Two locks of the operating system, which end with their process however it ends. The *writer* holds the
first: a flow, or a stage that was started from a shell. Stages that a flow starts hold the second, shared,
so that a new writer also waits for stages that outlive a killed flow.
"""

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.runtime.environment import seconds
from tasks.runtime.errors import PerceptError

FOLDER = Path(".percept")
PACKAGE = Path(__file__).resolve().parents[1]
"""The folder `tasks` of the code that runs."""
WRITER = "PERCEPT_WRITER"
"""Set by a flow to its process id, for the stages that it starts."""
POLL_S = 0.2

logger = logging.getLogger(__name__)


class WorkspaceError(PerceptError):
    """Somebody else writes the workspace, and was not waited for any longer."""


@contextmanager
def sole_writer(what: str, root: Path = Path()) -> Iterator[None]:
    """Hold the workspace for as long as the block runs.

    Parameters
    ----------
    what
        What runs, for whoever has to wait.

    Raises
    ------
    WorkspaceError
        If it is not free within ``PERCEPT_WAIT_S`` seconds (default: wait as long as it takes).
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if _started_by_the_writer(folder):
        with (folder / "stages").open("a") as stages:
            fcntl.flock(stages, fcntl.LOCK_SH)
            yield
        return
    with (folder / "writer").open("a+") as writer, (folder / "stages").open("a") as stages:
        _wait_for(writer, folder)
        _note(writer, f"{what} (process {os.getpid()}, since {time.strftime('%H:%M:%S')})")
        _wait_for(stages, folder)
        fcntl.flock(stages, fcntl.LOCK_UN)
        yield


def is_free(root: Path = Path()) -> bool:
    """Tell whether nothing writes the workspace at the moment."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    locks = [root / FOLDER / name for name in ("writer", "stages")]
    with locks[0].open("a") as writer, locks[1].open("a") as stages:
        return _taken(writer) and _taken(stages)


def share_cache(root: Path = Path()) -> None:
    """Let a queued experiment, which DVC runs in a copy of the workspace, use the caches of the original.

    What was paid for or finished before is not paid for or done again, and what the experiment adds
    stays. The caches are content-addressed and written atomically, so several may use them.

    Parameters
    ----------
    root
        Root of the copy, ``.dvc/tmp/exps/...`` in the original.
    """
    here = root.resolve()
    origin = next((p.parent for p in here.parents if p.name == ".dvc"), None)
    cache = root / "data" / "cache"
    if origin is not None and not cache.exists():
        (origin / "data" / "cache").mkdir(parents=True, exist_ok=True)
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.symlink_to(origin / "data" / "cache")


def use_the_code_of(root: Path = Path()) -> None:
    """Start this command anew with the workspace's own code, where the installed one lies elsewhere.

    DVC hashes the code in the workspace, so that is what must run: also in a clone or in the copy of a
    queued experiment.
    """
    own = root / "tasks" / "__main__.py"
    if own.exists() and own.resolve() != (PACKAGE / "__main__.py"):
        os.execv(sys.executable, [sys.executable, "-m", "tasks", *sys.argv[1:]])  # noqa: S606


def _started_by_the_writer(folder: Path) -> bool:
    """Tell whether a flow that holds the workspace started this process."""
    holder = folder / "writer"
    number = os.environ.get(WRITER)
    return bool(number) and holder.exists() and f"(process {number}," in holder.read_text()


def _wait_for(lock: object, folder: Path) -> None:
    limit = seconds("PERCEPT_WAIT_S")
    end = None if limit is None else time.monotonic() + limit
    told = False
    while not _taken(lock):
        held = (folder / "writer").read_text().strip()
        sentence = f"One run at a time may write this workspace; {held} does."
        if end is not None and time.monotonic() > end:
            raise WorkspaceError(f"{sentence} Wait until it ends or stop it, then run again.")
        if not told:
            logger.warning("%s Waiting until it ends.", sentence)
            told = True
        time.sleep(POLL_S)


def _taken(lock: object) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[arg-type]
    except BlockingIOError:
        return False
    return True


def _note(writer: object, sentence: str) -> None:
    writer.truncate(0)  # type: ignore[attr-defined]
    writer.write(sentence)  # type: ignore[attr-defined]
    writer.flush()  # type: ignore[attr-defined]
