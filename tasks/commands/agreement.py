"""`percept agreement`: whether the scores on disk are the committed ones, in a sentence or two."""

import argparse
from collections.abc import Sequence
from typing import Any

FILES = "dvc.lock reports/metrics"
INPUTS = ("params.yaml", "dvc.yaml", "requirements.lock", "tasks", "data/models")
"""Beside raw data, what scores follow from; the committed ones follow from the committed inputs."""
MOST_NAMES = 5

EXAMPLE = "percept agreement"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "say whether the scores are the committed ones, up to the rounding of this processor"
    commands.add_parser("agreement", help=text).set_defaults(command=_agreement)


def _agreement(_: argparse.Namespace) -> None:
    from tasks.commands.ci_report import command, compare_scores, scores_at, scores_here

    committed = scores_at("HEAD")
    if not committed:
        print("No scores are committed here: there is nothing to compare these with.")
        return
    changes = compare_scores(committed, scores_here())
    inputs = command("git", "status", "--porcelain", "--", *INPUTS).stdout
    print(sentence({change.name: change.apart for change in changes}, changed=bool(inputs)))


def sentence(apart: dict[str, float], *, changed: bool) -> str:
    """Return in plain words how the scores here differ from the committed ones.

    Parameters
    ----------
    apart
        Difference of each score in units of the tolerance; infinite where one side lacks it.
    changed
        Whether params or code differ from the committed ones.
    """
    moved = sorted((name for name in apart if apart[name]), key=lambda name: -apart[name])
    if not moved:
        return f"All {len(apart)} scores are the committed ones."
    back = f"`git checkout HEAD -- {FILES}` brings the committed files back."
    outside = [name for name in moved if apart[name] > 1]
    some = f"{len(moved)} of {len(apart)} scores differ from the committed ones"
    if not outside:
        return (
            f"{some}, and {FILES.replace(' ', ' and ')} with them, by {apart[moved[0]]:.2f} of the tolerance at "
            f"most ({moved[0]}): this is how processors differ in rounding, the results are the same. {back}"
        )
    reason = (
        "Params or code differ from the committed ones, too."
        if changed
        else "Params and code are the committed ones: another version of a library, other data or a "
        "processor that rounds more differently than those we know."
    )
    return f"{some}, {len(outside)} by more than the rounding of processors ({_listed(outside)}). {reason} {back}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
