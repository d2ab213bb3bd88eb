"""`percept preset`: the params of a study, by name."""

import argparse
from pathlib import Path
from typing import Any

from tasks import PARAMS_FILE


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    preset = commands.add_parser("preset", help="write a preset into params.yaml")
    preset.add_argument("name", metavar="NAME")
    preset.set_defaults(command=_preset)


def _preset(options: argparse.Namespace) -> None:
    from tasks.wiring.presets import apply_preset

    apply_preset(options.name, Path(PARAMS_FILE))
    print(
        f"{PARAMS_FILE} now holds the preset {options.name}. Next: percept doctor, then dvc repro."
    )
