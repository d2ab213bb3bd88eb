"""The `percept` command. Each subcommand imports what it needs, so that `percept --help` answers at once."""

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

COMMANDS = (
    "run",
    "trace",
    "init",
    "doctor",
    "preset",
    "params",
    "pretrain",
    "wiring",
    "sweep",
    "benchmark",
    "fetch",
    "captions",
    "gallery",
    "export",
    "decode",
    "showcase",
    "ci_report",
    "agreement",
    "cache",
)
"""Modules of `tasks.commands`, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after saying in one sentence what must be mended.

    Parameters
    ----------
    arguments
        Words of the command line; those of this process by default.

    Returns
    -------
    int
        The exit code.
    """
    from tasks.runtime.errors import TRY_AGAIN, PerceptError, TransientError
    from tasks.runtime.secrets import redact

    options = _parser().parse_args(arguments)
    _keep_secrets()
    try:
        return int(options.command(options) or 0)
    except TransientError as error:
        print(f"percept: {redact(str(error))}", file=sys.stderr)
        return TRY_AGAIN
    except (PerceptError, OSError) as error:  # OSError: a full disk, a folder that is read-only
        print(f"percept: {redact(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print("percept: interrupted; run the same command again to go on.", file=sys.stderr)
    return 1


def _keep_secrets() -> None:
    """Log to stderr, and let neither a log nor a traceback show a secret."""
    from tasks.runtime.secrets import RedactingFormatter, print_redacted

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = print_redacted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="percept", description="From EEG to words to pictures, with honest numbers."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"tasks.commands.{name}").add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
