"""`percept summary`: the result of the finished run in a few lines."""

import argparse
from typing import Any

EXAMPLE = "percept summary"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "say what the finished run found, where its report is, and what to do next"
    commands.add_parser("summary", help=text).set_defaults(command=_summary)


def _summary(_: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.reporting.study import read_study
    from tasks.reporting.verdict import lights, tiles, verdict

    artifacts = Artifacts()
    study = read_study(artifacts.paths())
    print(f"\n{verdict(study)}\n")
    for tile in tiles(study):
        print(f"  {tile.name:<14} {tile.value:>8}   {tile.note}")
    print()
    for light in lights(study):
        print(f"  {light.state:<11} {light.question} {light.said}")
    print(
        f"\nThe report: {artifacts.report_page} (open it in a browser)\n"
        "Next: `percept doctor` says what your own recordings need; `percept params` lists what can be changed."
    )
