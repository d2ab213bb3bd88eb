"""`percept params`: what every param means."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import PARAMS_FILE, STAGES

if TYPE_CHECKING:
    from tasks.wiring.reference import Param

EXAMPLE = "percept params 'train.*'"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    params = commands.add_parser("params", help="say what every param means, may be and is")
    params.add_argument(
        "pattern",
        metavar="NAME-PATTERN",
        nargs="?",
        default="*",
        help="a part of a name, or a pattern such as '*.seed' (default: all)",
    )
    params.add_argument(
        "--params", type=Path, default=PARAMS_FILE, help="the file that values are read from"
    )
    params.set_defaults(command=_params)


def _params(options: argparse.Namespace) -> None:
    from tasks.runtime.errors import PerceptError
    from tasks.wiring.contract import read_params
    from tasks.wiring.reference import reference

    values = read_params(options.params)
    first = options.pattern.split(".")[0]
    stages = [first] if first in STAGES else STAGES  # importing a stage takes seconds
    found = [param for param in reference(stages) if _fits(param.name, options.pattern)]
    if not found:
        raise PerceptError(
            f"NAME-PATTERN must be part of the name of a param; {options.pattern!r} is part of none. "
            "`percept params` prints them all."
        )
    for param in found:
        print("\n".join(_lines(param, values)))


def _fits(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return pattern in name or fnmatchcase(name, pattern)


def _lines(param: "Param", values: dict[str, Any]) -> Iterator[str]:
    """Yield what is said of a param: name and value, meaning, possible values, presets."""
    from tasks.wiring.presets import show
    from tasks.wiring.reference import lookup

    value = lookup(values, param.name, param.tag)
    here = show(value[0]) if value else "(not in use)"
    kind = f"  [{param.tag[0]}: {param.tag[1]}]" if param.tag else ""
    yield f"{param.name}: {here}{kind}"
    yield f"    {param.meaning}"
    yield f"    {param.values}"
    if param.presets:
        set_by = (f"{name} {show(value)}" for name, value in param.presets.items())
        yield f"    presets: {'; '.join(set_by)}"
