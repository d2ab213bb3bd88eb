"""What a stage reads must stand there unchanged when it ends: DVC hashes it then, and believes that the stage read it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import DirEntry, scandir
from pathlib import Path
from typing import Any

import yaml

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of
from tasks.wiring.contract import read_params
from tasks.wiring.presets import leaves, show

PIPELINE = Path("dvc.yaml")
SMALL = 1 << 20
"""Bytes; a named file of up to this size is compared by its content, all others by size and time."""
MOST_NAMED = 5
"""Changed inputs that a message names."""


class InputChangedError(PerceptError):
    """An input of a stage changed while it ran."""


@contextmanager
def unchanged_inputs(stage: str, params_file: Path) -> Iterator[None]:
    """Let a block run a stage, and fail at its end if what dvc.yaml says that it reads changed meanwhile.

    Parameters
    ----------
    stage
        A stage of dvc.yaml in the working directory. Where there is none, nothing is recorded, and so nothing is
        compared.
    params_file
        Whose sections are compared.

    Raises
    ------
    InputChangedError
        If a param, a file of code or a file of data is another. DVC then records nothing.
    """
    before = _inputs(stage, params_file)
    yield
    after = _inputs(stage, params_file)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        named = [_words(name, before, after) for name in changed[:MOST_NAMED]]
        more = len(changed) - len(named)
        raise InputChangedError(
            f"What {stage} reads must stay as it is until {stage} ends; changed while it ran: "
            f"{', '.join(named)}{f' and {more} more' if more else ''}. Nothing is recorded of this run. "
            "Run `dvc repro` again, which runs it with what stands there now."
        )


def _inputs(stage: str, params_file: Path) -> dict[str, Any]:
    """Return a mark of every input, by its dotted name or its path."""
    entry = _entry(stage)
    if entry is None:
        return {}
    values = leaves(read_params(params_file))
    sections = tuple(f"{name}." for name in entry.get("params", ()))
    found = {name: value for name, value in values.items() if f"{name}.".startswith(sections)}
    for dependency in entry.get("deps", ()):
        path = Path(re.sub(r"\$\{([^}]*)\}", lambda name: str(values.get(name[1])), dependency))
        if path.is_dir():
            found |= _marks_below(path)
        else:
            small = path.exists() and path.stat().st_size <= SMALL
            found[path.as_posix()] = sha256_of(path) if small else _mark(path)
    return found


def _entry(stage: str) -> dict[str, Any] | None:
    pipeline = yaml.load(PIPELINE.read_text(), yaml.CSafeLoader) if PIPELINE.exists() else {}
    entry: dict[str, Any] | None = pipeline.get("stages", {}).get(stage)
    return entry


def _marks_below(folder: Path) -> dict[str, Any]:
    """Return a mark of every file in a folder; links are followed, as DVC does."""
    found = {}
    todo = [str(folder)]
    while todo:
        with scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    todo.append(entry.path)
                else:
                    found[entry.path] = _mark(entry)
    return found


def _mark(file: Path | DirEntry[str]) -> tuple[int, int] | None:
    """Return size and time of a file; None where there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def _words(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Name an input, with both values if it is a param."""
    if "/" in name or PIPELINE.with_name(name).exists():
        return name
    values = (show(side[name]) if name in side else "absent" for side in (before, after))
    return f"{name} ({' -> '.join(values)})"
