"""The plan of the code: its rooms, from the ground up, and what each may import.

`tests/test_rooms.py` holds the code to this list, and ``python -m tests.rooms`` writes the table of
docs/architecture.md from it.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tasks import STAGES

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
START = "<!-- rooms: written by `python -m tests.rooms` -->"
END = "<!-- /rooms -->"

ROOMS = {
    "runtime": (),
    "artifacts": (),
    "statistics": (),
    "simulation": (),
    "eeg": ("simulation",),
    "language": ("statistics", "simulation"),
    "clip": (),
    "encoder": ("eeg", "clip"),
    "diffusion": ("statistics", "language", "clip"),
    "scores": ("statistics", "simulation", "eeg", "language", "clip", "encoder"),
    "controls": ("statistics", "eeg", "clip", "encoder", "diffusion", "scores"),
    "explanation": ("statistics", "language", "scores"),
    "reporting": ("statistics", "eeg", "language", "clip", "scores"),
    "fetching": (),
    "pretraining": ("simulation", "language", "clip", "diffusion"),
    "stages": (
        "statistics",
        "simulation",
        "eeg",
        "language",
        "clip",
        "encoder",
        "diffusion",
        "scores",
        "controls",
        "explanation",
        "reporting",
    ),
    "decoding": ("eeg", "language", "clip", "encoder", "scores"),
    "wiring": (),
    "sweeps": ("statistics", "encoder", "scores", "wiring"),
    "benchmark": ("statistics", "eeg", "clip", "encoder", "scores", "controls", "wiring"),
    "commands": (
        "eeg",
        "language",
        "clip",
        "encoder",
        "diffusion",
        "reporting",
        "fetching",
        "pretraining",
        "decoding",
        "stages",
        "wiring",
        "sweeps",
        "benchmark",
    ),
    "main": (),
    "flows": ("reporting", "wiring", "sweeps"),
}
"""Room to the rooms that it imports. `runtime` is everybody's, `artifacts` nearly so.

Commands, stages, cluster runners and flows that are found by name are no imports.
"""

NO_ARTIFACTS = ("runtime", "fetching", "main")
"""Rooms that have no need of `artifacts`."""


def allowed(room: str) -> set[str]:
    """Return all rooms that a room may import."""
    artifacts = set() if room in NO_ARTIFACTS else {"artifacts"}
    return ({*ROOMS[room], "runtime"} | artifacts) - {room}


def room_of(module: str) -> str | None:
    """Return the room of a first-party module; None for names of the package `tasks` itself."""
    parts = module.split(".")
    if parts[0] == "flows":
        return "flows"
    if len(parts) == 1 or parts[1] in ("__init__", "STAGES", "PARAMS_FILE"):
        return None
    if parts[1] in STAGES:
        return "stages"
    return "main" if parts[1] == "__main__" else parts[1]


@cache
def modules() -> dict[str, Path]:
    """Return every module of the product with its file."""
    files = sorted([*(ROOT / "tasks").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
    return {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in files}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the first-party modules that a file imports anywhere, in functions too."""
    known = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in whole]
        else:
            continue
        yield from (n for n in names if n.split(".")[0] in ("tasks", "flows"))


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """Return who imports whom: pairs of rooms, with the modules that do it."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, path in modules().items():
        for imported in imports_of(path):
            pair = (room_of(module), room_of(imported))
            if None not in pair and pair[0] != pair[1]:
                found.setdefault(pair, []).append(f"{module} -> {imported}")
    return found


def table() -> str:
    """Return the rooms as a Markdown table: what lives there, its size, what it imports."""
    lines = [
        "| room | what lives there | modules | imports, beside `runtime` |",
        "|---|---|---|---|",
    ]
    for room in ROOMS:
        files = [path for module, path in modules().items() if room_of(module) == room]
        files = [path for path in files if path.name != "__init__.py"]
        may = ", ".join(f"`{name}`" for name in ROOMS if name in allowed(room) - {"runtime"})
        lines.append(f"| {_where(room)} | {_about(room)} | {len(files)} | {may or '–'} |")
    return "\n".join(lines)


def _where(room: str) -> str:
    special = {"stages": "`tasks/*.py`", "main": "`tasks/__main__.py`", "flows": "`flows/`"}
    return special.get(room, f"`tasks/{room}/`")


def _about(room: str) -> str:
    """Return the first sentence of a room's own docstring."""
    special = {
        "stages": "tasks/__init__.py",
        "main": "tasks/__main__.py",
        "flows": "flows/__init__.py",
    }
    path = ROOT / special.get(room, f"tasks/{room}/__init__.py")
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}")
