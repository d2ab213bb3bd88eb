"""What every cluster's workers share: the folder, the code, and the error where either is not there."""

import importlib.util
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint, sha256_of
from tasks.runtime.map import Result, Shard

CODE = Path(__file__).resolve().parents[1]
"""The folder `tasks`: a worker must have every byte of it."""
CONNECT_TIMEOUT_S = 20


class RunnerError(PerceptError):
    """Shards cannot run where they should, or lost their workers too often."""


def require_package(name: str, runner: str) -> None:
    """Refuse a runner whose package is not installed.

    Raises
    ------
    RunnerError
        If it is not.
    """
    if importlib.util.find_spec(name) is None:
        raise RunnerError(
            f"PERCEPT_RUNNER={runner} needs the package {name}; it is not installed. "
            "Run `pip install --editable '.[cluster]'`."
        )


def on_worker(folder: str, code: str, work: Callable[[Shard], Result], shard: Shard) -> Result:
    """Do a shard in another process's place: its folder, and the same code.

    Parameters
    ----------
    folder
        The workspace, at the same path on every machine.
    code
        What `code_fingerprint` returned where the shard was sent from.

    Raises
    ------
    RunnerError
        If this machine does not see the folder, or runs other code.
    """
    host = os.uname().nodename
    if not Path(folder).is_dir():
        raise RunnerError(
            f"Every worker must see {folder}; {host} does not. "
            "Mount the storage that holds it at the same path, and run again."
        )
    if code_fingerprint() != code:
        raise RunnerError(
            f"Every worker must run the code of {folder}; the code on {host} differs. "
            f"Install Percept there from {folder} and restart the worker."
        )
    os.chdir(folder)
    return work(shard)


@cache
def code_fingerprint() -> str:
    """Return a hash of Percept's own code in this process."""
    return fingerprint([sha256_of(path) for path in sorted(CODE.rglob("*.py"))])
