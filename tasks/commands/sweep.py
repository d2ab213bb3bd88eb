"""`percept sweep`: many trainings, one table."""

import argparse
import os
from pathlib import Path
from typing import Any

from tasks import PARAMS_FILE, PARAMS_HELP

EXAMPLE = "percept sweep encoders"


def add(commands: Any) -> None:
    """Add the command ``sweep``.

    Parameters
    ----------
    commands
        The subparsers of `percept`.
    """
    text = "train and score every cell of sweeps/NAME.yaml; goes on where it ended"
    sweep = commands.add_parser("sweep", help=text)
    sweep.add_argument("name", metavar="NAME", help="for instance encoders, ablations, protocols")
    sweep.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
    sweep.add_argument(
        "--table", action="store_true", help="write the table of what is done, train nothing"
    )
    sweep.set_defaults(command=_sweep)


def _sweep(options: argparse.Namespace) -> None:
    from tasks.runtime.runners import runner_map
    from tasks.sweeps.run import run_sweep, sweep_cells, write_table

    if options.table:
        page = write_table(options.name, *sweep_cells(options.name, options.params))
    elif os.environ.get("PREFECT_API_URL"):
        import importlib  # by name: tasks never import flows

        page = importlib.import_module("flows.sweep").sweep(options.name, options.params)
    else:
        page = run_sweep(options.name, options.params, runner_map)
    print(f"The table: {page}")
