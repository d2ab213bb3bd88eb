"""`percept run`: one stage, as DVC runs it."""

import argparse
import ast
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from tasks import PARAMS_FILE, PARAMS_HELP, STAGES

EXAMPLE = "percept run preprocess"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    run = commands.add_parser("run", help="run one stage, as dvc.yaml does")
    run.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    run.add_argument("--params", type=Path, default=PARAMS_FILE, help=PARAMS_HELP)
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> None:
    """Run a stage: tracked where a Prefect API is configured, directly where none is."""
    from tasks.runtime.progress import announced
    from tasks.runtime.workspace import share_cache, sole_writer, use_the_code_of

    use_the_code_of()
    share_cache()
    if _is_a_helper():
        _run_stage(options)
        return
    with sole_writer(f"percept run {options.stage}"), announced(_headline(options.stage)):
        from tasks.wiring.inputs import unchanged_inputs

        with unchanged_inputs(options.stage, options.params):
            _run_stage(options)


def _run_stage(options: argparse.Namespace) -> None:
    if os.environ.get("PREFECT_API_URL"):
        # by name: tasks never import flows
        importlib.import_module("flows.stage").run_stage(options.stage, options.params)
        return
    from tasks.artifacts.catalogue import Artifacts
    from tasks.wiring.contract import call, load_stage

    call(load_stage(options.stage), Artifacts(), options.params)


def _headline(stage: str) -> str:
    """Return which stage this is of how many, and what it does, as its module says; nothing is imported for it."""
    spec = importlib.util.find_spec(f"tasks.{stage}")
    source = Path(str(spec and spec.origin)).read_text()
    does = str(ast.get_docstring(ast.parse(source))).splitlines()[0].rstrip(".")
    return f"[{STAGES.index(stage) + 1} of {len(STAGES)}] {stage}: {does[0].lower()}{does[1:]}"


def _is_a_helper() -> bool:
    """Tell whether ``torchrun`` started this process beside a first one, which holds the workspace."""
    return os.environ.get("RANK", "0") != "0"
