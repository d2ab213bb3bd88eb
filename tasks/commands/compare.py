"""`percept compare`: two finished runs side by side."""

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = "percept compare ../first-study ."


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    text = "lay two finished runs side by side: params, scores, differences on the same trials"
    compare = commands.add_parser("compare", help=text)
    for name, which in (("one", "first"), ("other", "second")):
        compare.add_argument(
            name, metavar=name.upper(), type=Path, help=f"folder of the {which} run's study"
        )
    compare.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    from tasks.benchmark.comparison import compare_runs

    print(compare_runs(options.one, options.other), end="")
