"""The `percept` command. Each subcommand imports what it needs, so that `percept --help` answers at once."""

import argparse
import difflib
import importlib
import importlib.metadata
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

COMMANDS = (
    "init",
    "doctor",
    "preset",
    "params",
    "fetch",
    "captions",
    "run",
    "summary",
    "trace",
    "gallery",
    "export",
    "decode",
    "sweep",
    "benchmark",
    "compare",
    "agreement",
    "showcase",
    "ci_report",
    "cache",
    "pretrain",
    "wiring",
)
"""Modules of `tasks.commands`, in the order of the help: first what users need, then what makers need."""

EXIT_CODES = (
    "exit codes: 0 done; 1 something must be mended first, the last line says what; 2 the command line is not "
    "understood; 75 a server failed, the same command may work later"
)
CLOSE = 0.6
"""How alike a word and a known one must be for the latter to be offered, from 0 to 1."""


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

    options = make_parser().parse_args(arguments)
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
    logging.basicConfig(
        level=logging.WARNING, handlers=[handler]
    )  # of libraries, what is wrong alone
    for ours in ("tasks", "flows"):
        logging.getLogger(ours).setLevel(logging.INFO)
    sys.excepthook = print_redacted


class _Parser(argparse.ArgumentParser):
    """A parser that offers the known word that is nearest to an unknown one."""

    def error(self, message: str) -> NoReturn:
        """Print the usage, what was not understood and what may have been meant; exit with 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: {message}{self._meant(message)}\n")

    def _meant(self, message: str) -> str:
        choice = re.search(r"invalid choice: '([^']+)' \(choose from (.*)\)", message)
        option = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        if choice:
            wrong, known = choice[1], re.findall(r"[\w-]+", choice[2])
        elif option:
            wrong, known = (
                option[1],
                sorted({name for each in parsers(self) for name in each._option_string_actions}),
            )
        else:
            return ""
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=CLOSE)
        return f". Did you mean {near[0]}?" if near else ""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with an example for each command."""
    import shtab

    parser = _Parser(
        prog="percept",
        description="From EEG to words to pictures, with honest numbers.",
        epilog=EXIT_CODES,
    )
    parser.add_argument(
        "--version", action="version", version=f"percept {importlib.metadata.version('percept')}"
    )
    text = "print a script that completes commands and options, for bash, zsh or tcsh"
    shtab.add_argument_to(parser, "--print-completion", help=text)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"tasks.commands.{name}")
        module.add(commands)
        commands.choices[name.replace("_", "-")].epilog = f"example: {module.EXAMPLE}"
    for each in parsers(parser):
        for action in each._actions:
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and, below it, those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each)


if __name__ == "__main__":
    sys.exit(main())
