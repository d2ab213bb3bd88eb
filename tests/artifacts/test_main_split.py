"""Splits are told apart in one module."""

import ast

import pytest

from tasks.artifacts.splits import HELD_OUT, SPLITS, TEST, TRAIN, ZERO_SHOT, main_split
from tests.rooms import ROOT, modules

ONE_PLACE = ROOT / "tasks/artifacts/splits.py"
MEMBERSHIP = ("isin", "is_in", "eq", "equal", "where")


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ((TRAIN, TEST, ZERO_SHOT), TEST),
        ((TRAIN, ZERO_SHOT), ZERO_SHOT),
        ((TRAIN,), None),
        ((), None),
    ],
)
def test_the_main_split_is_test_where_there_is_one(present, expected):
    assert main_split(present) == expected


def compared(tree: ast.AST) -> list[str]:
    """Return the names of splits that a module compares with, but for those of galleries."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in MEMBERSHIP:
            parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
        else:
            continue
        words = [n.value for part in parts for n in ast.walk(part) if isinstance(n, ast.Constant)]
        if "gallery" not in ast.unparse(node) and "names" not in ast.unparse(node):
            found += [word for word in words if word in SPLITS]
    return found


def test_nobody_else_compares_splits_by_name():
    known = ast.parse(
        "trials['split'] == 'test'; t.isin(['zero_shot', 'x']); g['gallery'] == 'train'"
    )
    assert compared(known) == ["test", "zero_shot"]
    for path in modules().values():
        sources = "eeg/sources" in path.as_posix()  # publishers' own words for their parts
        if path != ONE_PLACE and not sources:
            assert not compared(ast.parse(path.read_text())), path
    assert set(HELD_OUT) < set(SPLITS)
