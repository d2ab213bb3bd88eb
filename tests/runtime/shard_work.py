"""Work that test shards do: what a real shard does, small: write a file atomically, return its path."""

import os
import signal
import time
from pathlib import Path

from tasks.runtime.files import sha256_of, write_text
from tasks.runtime.map import on_gpu


def square(shard: tuple[str, int]) -> str:
    """Write the square of a number and return where."""
    folder, number = shard
    path = Path(folder) / f"{number}.txt"
    write_text(path, f"{number**2}\n")
    return str(path)


def square_losing_a_worker(shard: tuple[str, int]) -> str:
    """Do the same; the first worker that is given the number 3 dies of it without a word."""
    folder, number = shard
    grave = Path(folder) / "a_worker_died_here"
    if number == 3 and not grave.exists():
        grave.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(shard)


def fail_at_three(shard: tuple[str, int]) -> str:
    """Refuse the number 3 as a stage refuses bad input."""
    from tasks.runtime.errors import PerceptError

    if shard[1] == 3:
        raise PerceptError("A number must not be 3; it is. Remove it.")
    return square(shard)


@on_gpu
def visible_gpus(shard: int) -> str:
    """Return the GPUs that this worker was given."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def worker_pid(shard: int) -> int:
    time.sleep(0.05)  # so that both workers get some
    return os.getpid()


@on_gpu
def worker_pid_on_gpu(shard: int) -> int:
    return worker_pid(shard)


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of every result in a folder."""
    return {path.name: sha256_of(path) for path in sorted(folder.glob("[0-9].txt"))}
