"""What is done is counted on a terminal, and nowhere else."""

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from tasks.runtime import progress
from tasks.runtime.progress import announced, counting, files_there


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


def test_what_runs_says_what_it_is_how_long_it_has_run_and_how_long_it_took():
    console, written = log()
    with announced("[1 of 13] simulate: draws a study", console, every_s=0.02):
        wait_until(lambda: "s so far)" in written.getvalue())
    lines = written.getvalue().splitlines()
    assert lines[0] == "[1 of 13] simulate: draws a study ..."
    assert re.fullmatch(r"\[1 of 13\] simulate: draws a study \(\d+ s so far\)", lines[1])
    assert lines[-1].startswith("[1 of 13] simulate: draws a study (done in ")


def test_a_failure_is_not_said_to_be_done():
    console, written = log()
    with pytest.raises(ValueError, match="broken"), announced("train", console):
        raise ValueError("broken")
    assert "done" not in written.getvalue()


def test_nothing_is_said_beside_a_bar():
    console, written = log()
    screen = Console(file=io.StringIO(), force_terminal=True)
    with announced("embed", console, 0.01), counting("texts", 2, lambda: 1, screen):
        before = written.getvalue()
        time.sleep(0.1)
        assert written.getvalue() == before


def log():
    """Return a console that is no terminal, and what it writes to."""
    written = io.StringIO()
    return Console(file=written, soft_wrap=True, highlight=False, markup=False), written


def wait_until(holds):
    """Wait ten seconds at most."""
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
