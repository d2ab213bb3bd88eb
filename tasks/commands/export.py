"""`percept export`: the encoder of a finished study, to be handed on."""

import argparse
from pathlib import Path
from typing import Any

from tasks import PARAMS_FILE, PARAMS_HELP

EXAMPLE = "percept export my-encoder"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write the trained encoder with its preprocessing, captions and model card into a folder",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new or empty")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> None:
    from tasks.artifacts.catalogue import Artifacts
    from tasks.decoding.bundle import export_bundle
    from tasks.wiring.contract import read_params

    config = export_bundle(Artifacts(), read_params(options.params)["preprocess"], options.folder)
    calibrated = [found.error for found in config.calibration.values() if found is not None]
    errors = [error for error in calibrated if error is not None]
    sure = (
        f"confidence is off by {max(errors):.3f} at most (expected calibration error on test trials)"
        if errors
        else "there were too few validation trials to calibrate a confidence"
    )
    print(f"{options.folder} holds the encoder; {sure}.")
    print(f"Next: percept decode RECORDING --encoder {options.folder}")
