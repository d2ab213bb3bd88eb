"""`percept wiring`: dvc.yaml, written from the stage signatures."""

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = "percept wiring"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    wiring = commands.add_parser("wiring", help="write dvc.yaml anew from the stage signatures")
    wiring.set_defaults(command=_wiring)


def _wiring(_: argparse.Namespace) -> None:
    from tasks.wiring.dvc import write_pipeline

    write_pipeline(Path("dvc.yaml"))
