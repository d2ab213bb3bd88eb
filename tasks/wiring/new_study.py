"""A folder for a new study: params, pipeline, presets and the shipped models, outside of any checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import yaml

from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_text
from tasks.runtime.workspace import PACKAGE
from tasks.wiring.dvc import has_code, write_pipeline
from tasks.wiring.presets import describe_preset, merged

SHIPPED = "share/percept"
"""Where the wheel puts what lies beside the code in a checkout: presets, models, templates of plots."""
IGNORED = """\
/data/raw/
/data/interim/
/data/processed/
/data/cache/
/data/galleries/
/decoded/
/reports/galleries/
/reports/index.html
/reports/plots/
"""
README = """\
# A study with Percept

Started from the preset `{preset}`: {description}

1. {first} `percept doctor` names every file that is missing, where it goes, and what a
   later stage would refuse.
2. Look at `params.yaml`: `percept params PATTERN` explains every param.
3. `dvc repro` runs what is stale, up to `reports/index.html`.
"""


RECORDED = "Put the recordings and pictures into `data/raw/{folder}`."
SIMULATED = "Nothing has to be brought: the first stage simulates the recordings."


class NewStudyError(PerceptError):
    """A study cannot be started there."""


def start_study(folder: Path, preset: str) -> list[str]:
    """Write a folder in which every command of `percept` and `dvc repro` work.

    Parameters
    ----------
    folder : Path
        New or empty.
    preset : str
        Whose params it starts from.

    Returns
    -------
    list of str
        Names of what was written.

    Raises
    ------
    NewStudyError
        If the folder holds anything, or DVC cannot be started in it.
    PresetError
        If there is no such preset.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = next(iter(folder.iterdir())).name if folder.is_dir() else "a file"
        raise NewStudyError(
            f"A study starts in a folder that is new or empty; {folder} holds {found}. Name another folder."
        )
    shipped = shipped_files()
    params = merged(preset, shipped / "presets")
    folder.mkdir(parents=True, exist_ok=True)
    _start_dvc(folder)
    for name in ("presets", "data/models", ".dvc/plots"):
        shutil.copytree(shipped / name, folder / name)
    write_text(folder / "params.yaml", params)
    write_text(folder / ".gitignore", IGNORED)
    source = yaml.safe_load(params)["ingest"]["source"]
    first = SIMULATED if source["name"] == "simulated" else RECORDED.format(folder=source["folder"])
    description = describe_preset(preset, shipped / "presets").rstrip(".")
    readme = README.format(preset=preset, description=description, first=first)
    write_text(folder / "README.md", readme)
    write_pipeline(folder / "dvc.yaml")
    return sorted(path.name for path in folder.iterdir())


def shipped_files() -> Path:
    """Return the folder with ``presets``, ``data/models`` and ``.dvc/plots``: the checkout, or what the wheel installed.

    Raises
    ------
    NewStudyError
        If the installation lacks them.
    """
    checkout = PACKAGE.parent
    if has_code(checkout) and (checkout / "presets").is_dir():
        return checkout
    for file in files("percept") or ():
        if file.match(f"{SHIPPED}/presets/base.yaml"):
            return Path(str(file.locate())).resolve().parents[1]
    raise NewStudyError(
        f"Percept must be installed with {SHIPPED}/presets; the files of this installation name none. "
        "Install its wheel again."
    )


def _start_dvc(folder: Path) -> None:
    """Make the folder a repository of DVC: below Git where Git holds the folder, without it elsewhere."""
    prefix = _run(["git", "rev-parse", "--show-prefix"], folder)
    place = ["--no-scm"] if prefix.returncode else ["--subdir"] if prefix.stdout.strip() else []
    started = _run([sys.executable, "-m", "dvc", "init", "--quiet", *place], folder)
    if started.returncode:
        said = (started.stderr.strip().splitlines() or ["nothing was said"])[0]
        raise NewStudyError(f"DVC must start a repository in {folder}; it did not: {said}")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
