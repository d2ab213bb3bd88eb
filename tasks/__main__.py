"""The `percept` command. Each subcommand imports what it needs, so that `percept --help` answers at once."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tasks import STAGES
from tasks._commands import captions, ci_report, fetch, gallery, sweep

PARAMS_FILE = Path("params.yaml")


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

    run = commands.add_parser("run", help="run one stage, as dvc.yaml does")
    run.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    run.add_argument("--params", type=Path, default=PARAMS_FILE)
    run.set_defaults(command=_run)

    trace = commands.add_parser("trace", help="print every row of one trial, raw file to picture")
    trace.add_argument("trial_id", metavar="TRIAL_ID")
    trace.set_defaults(command=_trace)

    doctor = commands.add_parser("doctor", help="say what is missing on this machine")
    doctor.add_argument("--params", type=Path, default=PARAMS_FILE)
    doctor.set_defaults(command=_doctor)

    preset = commands.add_parser("preset", help="write a preset into params.yaml")
    preset.add_argument("name", metavar="NAME")
    preset.set_defaults(command=_preset)

    pretrain = commands.add_parser("pretrain", help="train the small shipped models anew")
    pretrain.add_argument("--out", type=Path, default=Path("data/models"))
    pretrain.add_argument("--work", type=Path, default=Path("data/cache/pretrain"))
    pretrain.add_argument("--minutes", type=float, default=120.0, help="budget for the UNet")
    pretrain.set_defaults(command=_pretrain)

    wiring = commands.add_parser("wiring", help="write dvc.yaml anew from the stage signatures")
    wiring.set_defaults(command=_wiring)

    sweep.add(commands)

    fetch.add(commands)
    captions.add(commands)
    gallery.add(commands)

    showcase = commands.add_parser(
        "showcase", help="write the README's pictures and table from the last run"
    )
    showcase.set_defaults(command=_showcase)
    ci_report.add(commands)
    return parser


def _run(options: argparse.Namespace) -> None:
    """Run a stage: tracked where a Prefect API is configured, directly where none is."""
    from tasks.runtime.workspace import share_cache, sole_writer, use_the_code_of

    use_the_code_of()
    share_cache()
    with nullcontext() if _is_a_helper() else sole_writer(f"percept run {options.stage}"):
        if os.environ.get("PREFECT_API_URL"):
            import importlib  # by name: tasks never import flows

            importlib.import_module("flows.stage").run_stage(options.stage, options.params)
            return
        from tasks.artifacts.catalogue import Artifacts
        from tasks.wiring.contract import call, load_stage

        call(load_stage(options.stage), Artifacts(), options.params)


def _is_a_helper() -> bool:
    """Tell whether ``torchrun`` started this process beside a first one, which holds the workspace."""
    return os.environ.get("RANK", "0") != "0"


def _trace(options: argparse.Namespace) -> None:
    from tasks._trace import trace

    for line in trace(options.trial_id):
        print(line)


def _doctor(options: argparse.Namespace) -> int:
    from tasks._doctor import examine

    findings = examine(options.params)
    for finding in findings:
        print(f"{finding.mark}  {finding.what}: {finding.text}")
    return int(any(finding.blocks for finding in findings))


def _preset(options: argparse.Namespace) -> None:
    from tasks.wiring.presets import apply_preset

    apply_preset(options.name, PARAMS_FILE)
    print(
        f"{PARAMS_FILE} now holds the preset {options.name}. Next: percept doctor, then dvc repro."
    )


def _pretrain(options: argparse.Namespace) -> None:
    from tasks.simulation.pretraining import pretrain

    pretrain(options.out, options.work, minutes=options.minutes)


def _wiring(_: argparse.Namespace) -> None:
    from tasks.wiring.dvc import write_pipeline

    write_pipeline(Path("dvc.yaml"))


def _showcase(_: argparse.Namespace) -> None:
    from tasks._showcase import GRID, update_readme
    from tasks.artifacts.catalogue import Artifacts
    from tasks.reporting.figures import write_picture_grid

    write_picture_grid(Artifacts(), GRID)
    update_readme(Path("README.md"), Artifacts())


if __name__ == "__main__":
    sys.exit(main())
