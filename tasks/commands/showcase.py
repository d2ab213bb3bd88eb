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

GRID = Path("docs/pictures.png")
START = "<!-- scores: written by `percept showcase` from reports/metrics -->"
END = "<!-- /scores -->"
ROWS: tuple[tuple[str, str], ...] = (
    ("concept_recall_at_1_of_*", "Concept named from one trial of an unseen picture"),
    ("concept_recall_at_5_of_*", "... among the five best"),
    (
        "zero_shot_concept_recall_at_1_of_[0-9]",
        "Concept never trained, among the held-out concepts",
    ),
    ("stimulus_recall_at_1_of_*", "The very picture among all held-out pictures"),
    ("judged_concept_accuracy_decoded", "Object seen by the judge in the rendered picture"),
    ("judged_theme_accuracy_decoded", "Theme seen by the judge in the rendered picture"),
    ("two_way_clip_decoded", "Render nearer to its own picture than to another's"),
    ("kid_clip_decoded", "KID of the renders in CLIP space (lower is better)"),
    (
        "saliency_contrast_topography_correlation_object",
        "Saliency of object heads against the planted topography (rank correlation)",
    ),
    ("saliency_contrast_topography_correlation_spatial", "... of spatial heads"),
    ("saliency_contrast_topography_correlation_thematic", "... of thematic heads"),
)
"""Patterns of score names, of which the first match counts, and what they are in words."""


NUMBER = re.compile(r"-?\d+\.\d{3}")
COLUMNS = ("value", "low", "high", "chance", "ceiling", "control")
HALF_A_DIGIT = 0.0005


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
    from tasks.artifacts.metrics import read_scores

    scores = read_scores(artifacts.evaluate_metrics) | read_scores(artifacts.explain_metrics)
    head = "| score | value (95 % interval) | chance | ceiling | shuffled EEG | n |\n|---|---|---|---|---|---|"
    return "\n".join([head, *_lines(scores)])


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
    from tasks.artifacts.metrics import read_scores

    scores = read_scores(artifacts.evaluate_metrics) | read_scores(artifacts.explain_metrics)
    lines, expected = shown.strip().splitlines(), score_table(artifacts).splitlines()
    if len(lines) != len(expected):
        return [f"{len(lines)} lines instead of {len(expected)}"]
    pairs = zip(lines, expected, strict=True)
    return [line for line, wanted in pairs if line != wanted and not _agree(line, wanted, scores)]


def _agree(line: str, wanted: str, scores: dict[str, Score]) -> bool:
    """Tell whether a row differs from the wanted one in the rounding of a processor alone."""
    from tasks.artifacts.agreement import tolerance

    if NUMBER.sub("", line) != NUMBER.sub("", wanted):
        return False
    score = scores[line.split("`")[1]]
    numbers = zip(
        NUMBER.findall(line), (p for p in COLUMNS if getattr(score, p) is not None), strict=True
    )
    return all(
        abs(float(number) - getattr(score, part)) <= tolerance(score, part) + HALF_A_DIGIT
        for number, part in numbers
    )


def _lines(scores: dict[str, Score]) -> Iterator[str]:
    for pattern, words in ROWS:
        name = next((n for n in sorted(scores) if fnmatch.fnmatchcase(n, pattern)), None)
        if name is not None:
            score = scores[name]
            value = f"**{_number(score.value)}** ({_number(score.low)} to {_number(score.high)})"
            others = (_number(v) for v in (score.chance, score.ceiling, score.control))
            yield f"| {words}<br>`{name}` | {value} | {' | '.join(others)} | {score.n} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
