"""How much memory this process may take: of the machine, or of the control group that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

SYSTEM = Path("/")
UNLIMITED = 2**60
"""What version 1 of control groups says where there is no limit is still more."""


def available_bytes(root: Path = SYSTEM) -> int:
    """Return the memory that is free for this process, in bytes.

    Limits of control groups (containers, batch systems) count like the machine's own memory; files that are
    merely remembered count as free.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` lie.
    """
    return min([int(psutil.virtual_memory().available), *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what each control group that holds this process has left."""
    groups = root / "proc/self/cgroup"
    if not groups.exists():
        return
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            used = "memory.usage_in_bytes"
        else:
            continue
        for folder in _and_above(top, top / path.lstrip("/")):
            files = [folder / name for name in (limit, used, "memory.stat")]
            if all(file.exists() for file in files):
                yield from _left(*(file.read_text() for file in files))


def _and_above(top: Path, folder: Path) -> list[Path]:
    """Return a folder and those above it; of one that is not there, what is seen from inside a container."""
    return [folder, *(above for above in folder.parents if above.is_relative_to(top))]


def _left(limit: str, used: str, statistics: str) -> Iterator[int]:
    if limit.strip() == "max" or int(limit) >= UNLIMITED:
        return
    counts = dict(line.split() for line in statistics.splitlines())
    remembered = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
    yield max(0, int(limit) - int(used) + remembered)
