"""The code keeps to the plan of its rooms."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks import STAGES
from tests.rooms import (
    END,
    PAGE,
    ROOMS,
    ROOT,
    START,
    allowed,
    arrows,
    imports_of,
    modules,
    room_of,
    table,
)


def test_every_module_lives_in_a_room_of_the_plan():
    assert {room for m in modules() if (room := room_of(m)) is not None} == set(ROOMS)
    top = {path.stem for path in (ROOT / "tasks").glob("*.py")}
    assert top == {*STAGES, "__init__", "__main__"}, "tasks/ itself holds the stages, nothing else"


def test_rooms_are_ordered_from_the_ground_up():
    order = list(ROOMS)
    for room in ROOMS:
        assert all(order.index(other) < order.index(room) for other in allowed(room))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_exactly_what_the_plan_says(room):
    found = {b: why for (a, b), why in arrows().items() if a == room}
    forbidden = {b: why[:3] for b, why in found.items() if b not in allowed(room)}
    assert not forbidden
    assert not allowed(room) - set(found), "an arrow of the plan that nobody uses any more"


def test_a_stage_imports_no_stage():
    for name in STAGES:
        others = {f"tasks.{other}" for other in STAGES if other != name}
        assert not others & set(imports_of(ROOT / "tasks" / f"{name}.py"))


def test_no_module_is_in_a_circle():
    known = modules()
    graph = {m: {n for n in imports_of(path) if n in known} for m, path in known.items()}
    while leaves := {m for m, imported in graph.items() if not imported}:
        graph = {m: imported - leaves for m, imported in graph.items() if m not in leaves}
    assert not graph


def test_the_page_shows_the_plan():
    text = PAGE.read_text()
    assert text.split(START)[1].split(END)[0].strip() == table(), "run `python -m tests.rooms`"


def test_every_name_in_the_code_is_defined():
    """Shapes of arrays in annotations are text, which the linter and mypy take for names: they look no further."""
    folders = ["tasks", "flows", "benchmarks", "tests"]
    command = [
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F821",
        "--output-format",
        "json",
        *folders,
    ]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    undefined = []
    for found in json.loads(done.stdout):
        tree = ast.parse(Path(found["filename"]).read_text())
        names = {(n.lineno, n.col_offset + 1) for n in ast.walk(tree) if isinstance(n, ast.Name)}
        if (found["location"]["row"], found["location"]["column"]) in names:
            undefined.append((found["filename"], found["message"]))
    assert not undefined
