"""The workspace that flows write: where it is, what DVC finds stale in it, and params that a run overrides."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tasks import STAGES
from tasks.runtime.environment import existing_folder
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_text
from tasks.wiring.contract import load_stage, params_for, params_model, read_params
from tasks.wiring.presets import override


def root() -> Path:
    """Return the workspace: ``PERCEPT_ROOT``, or the repository that this code lies in."""
    return existing_folder("PERCEPT_ROOT", Path(__file__).resolve().parents[1])


def parents() -> dict[str, list[str]]:
    """Return, for every stage of dvc.yaml in order, the stages whose outputs it depends on."""
    stages = yaml.safe_load((root() / "dvc.yaml").read_text())["stages"]
    writer = {_path(out): name for name, stage in stages.items() for out in stage.get("outs", [])}
    found = {
        name: {w for dep in stage.get("deps", []) for out, w in writer.items() if _meet(dep, out)}
        for name, stage in stages.items()
    }
    return {name: sorted(before, key=STAGES.index) for name, before in found.items()}


def _path(out: str | dict[str, Any]) -> str:
    """Return the path of an output, with or without options."""
    return out if isinstance(out, str) else next(iter(out))


def _meet(dep: str, out: str) -> bool:
    """Tell whether a dependency is an output or lies in one; ``${...}`` stands for any name."""
    pattern = re.sub(r"\$\{[^}]*\}", "*", dep)
    return fnmatchcase(out, pattern) or dep.startswith(f"{out}/")


def chosen_stages(stages: list[str] | None) -> list[str]:
    """Return stages in DAG order; all of them for None.

    Raises
    ------
    PerceptError
        If one does not exist.
    """
    known = [name for name in STAGES if name in parents()]
    unknown = [name for name in stages or [] if name not in known]
    if unknown:
        raise PerceptError(
            f"A stage must be one of {', '.join(known)}; {', '.join(map(repr, unknown))} is none. "
            "Start the run again with names from this list."
        )
    return [name for name in known if stages is None or name in stages]


def settled_stages(chosen: list[str]) -> set[str]:
    """Ask DVC once which of the stages can be passed over: unchanged, after none that will run.

    Parameters
    ----------
    chosen
        Stages of this run, in DAG order.

    Returns
    -------
    set of str
        None of them where DVC gives no answer; each stage then asks for itself.
    """
    asked = subprocess.run(
        [*dvc(), "status", "--json"], cwd=root(), env=environment(), capture_output=True, text=True
    )
    if asked.returncode:
        return set()
    changed = json.loads(asked.stdout)
    settled: set[str] = set()
    before = parents()
    for name in chosen:
        if name not in changed and all(p in settled for p in before[name] if p in chosen):
            settled.add(name)
    return settled


def dvc() -> list[str]:
    """Return the words that start DVC, waiting for its lock rather than failing."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock"]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a DVC command: our programs on the path, lines shown as they are written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT__")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"} | more


def override_params(overrides: Mapping[str, Any]) -> None:
    """Write params into params.yaml, all other text as it is, after checking that their stages accept them.

    Parameters
    ----------
    overrides
        By dotted name, for instance ``{"train.optimiser.learning_rate": 0.0005}``.

    Raises
    ------
    PerceptError
        If there is no such param, or its stage does not accept the value; the file is as it was.
    """
    file = root() / "params.yaml"
    read_params(file)
    stages = {name.split(".")[0] for name in overrides} & set(STAGES)
    for stage in sorted(stages):
        for key, place in params_model(load_stage(stage)).shared().items():
            if f"{stage}.{key}" in overrides:
                raise PerceptError(
                    f"{stage}.{key} is {place}, for all stages that need it. Set that."
                )
    candidate = file.with_name(f".{file.name}.candidate.partial")
    try:
        write_text(candidate, override(file.read_bytes().decode(), overrides, file))
        for stage in sorted(stages):
            params_for(load_stage(stage), candidate)
        candidate.replace(file)
    finally:
        candidate.unlink(missing_ok=True)
