"""`percept pretrain`: the small shipped models, trained anew."""

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = "percept pretrain --minutes 30"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    pretrain = commands.add_parser("pretrain", help="train the small shipped models anew")
    pretrain.add_argument(
        "--out", type=Path, default=Path("data/models"), help="folder of the models"
    )
    pretrain.add_argument(
        "--work", type=Path, default=Path("data/cache/pretrain"), help="folder of checkpoints"
    )
    pretrain.add_argument("--minutes", type=float, default=120.0, help="budget for the UNet")
    pretrain.set_defaults(command=_pretrain)


def _pretrain(options: argparse.Namespace) -> None:
    from tasks.pretraining.pretrain import pretrain

    pretrain(options.out, options.work, minutes=options.minutes)
