"""`percept preset`: the params of a study, by name."""

import argparse
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from tasks import PARAMS_FILE

EXAMPLE = "percept preset bids"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    preset = commands.add_parser("preset", help="write the params of a study into params.yaml")
    preset.add_argument("name", metavar="NAME", nargs="?", help="as `--list` shows them")
    preset.add_argument("--list", action="store_true", help="print the presets, and nothing else")
    preset.add_argument("--show", action="store_true", help="print the params, write nothing")
    preset.add_argument(
        "--force", action="store_true", help="write them even where changes of yours are lost"
    )
    preset.add_argument("--params", type=Path, default=PARAMS_FILE, help="the file to write")
    preset.set_defaults(command=_preset)


def _preset(options: argparse.Namespace) -> None:
    from tasks.wiring.presets import describe_preset, merged, preset_names

    if options.list or options.name is None:
        names = preset_names()
        width = max(map(len, names), default=0)
        for name in names:
            print(f"{name:{width}}  {describe_preset(name)}")
    elif options.show:
        sys.stdout.write(merged(options.name))
    else:
        _write(options.name, options.params, force=options.force)


def _write(name: str, params_file: Path, *, force: bool) -> None:
    """Write a preset, say what it changes, and refuse where that would lose what is in no preset."""
    from tasks.runtime.files import write_text
    from tasks.wiring.presets import PresetError, compare, differences, merged

    new = merged(name)
    old = params_file.read_bytes().decode(errors="replace") if params_file.exists() else ""
    found = compare(old)
    if found.own and not force:
        lines = "".join(f"\n  {line}" for line in found.own)
        near = f"The preset nearest to it is {found.nearest}"
        raise PresetError(
            f"{params_file} must hold nothing of yours to be replaced by the preset {name}; it does. "
            f"{near if found.nearest else 'It cannot be read as params'}. "
            f"These lines would be lost:{lines}\n"
            "Keep a copy of what you need, then run the same command with --force. "
            f"`percept preset {name} --show` prints the preset and writes nothing."
        )
    write_text(params_file, new)
    for line in found.own:
        print(f"lost: {line}")
    for line in differences(old, new):
        print(line)
    other = "" if params_file == Path(PARAMS_FILE) else f" --params {quote(str(params_file))}"
    print(f"{params_file} holds the preset {name}. Next: percept doctor{other}")
