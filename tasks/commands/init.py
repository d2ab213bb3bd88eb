"""`percept init`: a folder for a new study."""

import argparse
from pathlib import Path
from shlex import quote
from typing import Any

EXAMPLE = "percept init my-study --preset bids"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    init = commands.add_parser("init", help="start a study in a new folder")
    init.add_argument("folder", metavar="FOLDER", type=Path, help="new or empty")
    init.add_argument(
        "--preset",
        default="bids",
        help="what it starts from, as `percept preset --list` shows them",
    )
    init.set_defaults(command=_init)


def _init(options: argparse.Namespace) -> None:
    from tasks.wiring.new_study import start_study

    written = start_study(options.folder, options.preset)
    print(f"{options.folder} holds {', '.join(written)}.")
    print(f"Next: cd {quote(str(options.folder))} && percept doctor")
