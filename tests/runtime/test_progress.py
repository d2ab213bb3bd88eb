"""What is done is counted on a terminal, and nowhere else."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tasks.runtime import progress
from tasks.runtime.progress import counting, files_there


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_counts_the_files_on_disk(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.01)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, color_system=None, width=60)
    with counting("pictures", len(paths), files_there(paths), console):
        for path in paths[:2]:
            path.touch()
    assert ("pictures 2/3" in text.getvalue()) == terminal
    assert bool(text.getvalue()) == terminal


def test_the_bar_ends_with_an_error() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyboardInterrupt), counting("pictures", 1, lambda: 0, console):
        raise KeyboardInterrupt
