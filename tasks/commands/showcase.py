"""`percept showcase`: what the README shows, taken from the last run: the picture grid and the table of scores."""

from __future__ import annotations

import argparse
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.artifacts.metrics import Score

    Number = tuple[Score, str]

SIMPLE = "simple_decoder"
GRID = Path("docs/pictures.png")
START = "<!-- scores: written by `percept showcase` from reports/metrics -->"
END = "<!-- /scores -->"
ROWS: tuple[tuple[str, str, str], ...] = (
    ("concept_recall_at_1_of_*", "Names the object in an unseen picture, from one trial", SIMPLE),
    (
        "stimulus_recall_at_1_of_*",
        "Finds the unseen picture among all held-out pictures, from one trial",
        "",
    ),
    (
        "zero_shot_concept_recall_at_1_of_[0-9]",
        "Names an object that it was never trained on, among those held out",
        "",
    ),
    (
        "judged_concept_accuracy_decoded",
        "Draws a picture in which an independent classifier sees the object",
        "",
    ),
    (
        "two_way_clip_decoded",
        "Draws a picture that CLIP finds nearer to the one shown than to another",
        "",
    ),
)
"""Patterns of score names, of which the first match counts, what they are in words, and a simple method's score."""

NUMBER = re.compile(r"-?\d+\.\d{3}")
HALF_A_DIGIT = 0.0005

EXAMPLE = "percept showcase"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "write the README's pictures and table from the last run"
    commands.add_parser("showcase", help=text).set_defaults(command=_showcase)


def _showcase(_: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.reporting.picture_grid import write_picture_grid

    write_picture_grid(Artifacts(), GRID)
    update_readme(Path("README.md"), Artifacts())


def update_readme(readme: Path, artifacts: Artifacts) -> None:
    """Write the table of scores between its markers in the README.

    Parameters
    ----------
    readme
        Markdown with the two markers.

    Raises
    ------
    PerceptError
        If a marker or a metrics file is missing.
    """
    from tasks.runtime.errors import PerceptError
    from tasks.runtime.files import write_text

    text = readme.read_text()
    if START not in text or END not in text:
        raise PerceptError(f"{readme} must hold the lines {START!r} and {END!r}. Restore them.")
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    write_text(readme, f"{before}{START}\n{score_table(artifacts)}\n{END}{after}")


def score_table(artifacts: Artifacts) -> str:
    """Return the scores of the last run as a Markdown table."""
    head = "| what it does | how often (95 % interval) | a simple method | guessing | at best |"
    return "\n".join([head, "|---|---|---|---|---|", *(line for line, _ in _rows(artifacts))])


def disagreements(shown: str, artifacts: Artifacts) -> list[str]:
    """Return the rows of a table that are not those of the last run, whatever its processor.

    Parameters
    ----------
    shown
        What `score_table` returned once.
    artifacts
        Where the metrics of a run lie: of the same one, or of another processor.

    Returns
    -------
    list of str
        Lines that another run may not show: other words, or a number that lies farther from the run's than
        `tasks.artifacts.agreement.tolerance` and the third decimal allow.
    """
    lines, rows = shown.strip().splitlines(), list(_rows(artifacts))
    head = score_table(artifacts).splitlines()[: -len(rows)]
    if len(lines) != len(head) + len(rows):
        return [f"{len(lines)} lines instead of {len(head) + len(rows)}"]
    tops = zip(lines[: len(head)], head, strict=True)
    wrong = [line for line, wanted in tops if line != wanted]
    pairs = zip(lines[len(head) :], rows, strict=True)
    return wrong + [line for line, (wanted, numbers) in pairs if not _agree(line, wanted, numbers)]


def _agree(line: str, wanted: str, numbers: list[Number]) -> bool:
    """Tell whether a row differs from the wanted one in the rounding of a processor alone."""
    from tasks.artifacts.agreement import tolerance

    if NUMBER.sub("", line) != NUMBER.sub("", wanted):
        return False
    found = NUMBER.findall(line)
    known = [(score, part) for score, part in numbers if getattr(score, part) is not None]
    return len(found) == len(known) and all(
        abs(float(number) - getattr(score, part)) <= tolerance(score, part) + HALF_A_DIGIT
        for number, (score, part) in zip(found, known, strict=True)
    )


def _rows(artifacts: Artifacts) -> Iterator[tuple[str, list[Number]]]:
    """Yield each row of the table, and the scores' numbers that it shows, in their order."""
    from tasks.artifacts.metrics import read_scores

    scores, controls = (
        read_scores(path) for path in (artifacts.evaluate_metrics, artifacts.audit_metrics)
    )
    for pattern, words, simple in ROWS:
        name = next((n for n in sorted(scores) if fnmatch.fnmatchcase(n, pattern)), None)
        if name is not None:
            score = scores[name]
            numbers: list[Number] = [(score, part) for part in ("value", "low", "high")]
            value = f"**{_number(score.value)}** ({_number(score.low)} to {_number(score.high)})"
            other = controls.get(simple)
            numbers += [(other, "value")] if other is not None else []
            numbers += [(score, "chance"), (score, "ceiling")]
            cells = [value, _number(other.value if other is not None else None)]
            cells += [_number(score.chance), _number(score.ceiling)]
            yield f"| {words}<br>`{name}` | {' | '.join(cells)} |", numbers


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
