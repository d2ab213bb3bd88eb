"""Run a sweep: studies that are missing are made, every cell is done once, one table is written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import yaml

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table
from tasks.runtime.files import fingerprint, write_text
from tasks.runtime.map import Map
from tasks.sweeps.cells import run_cell
from tasks.sweeps.plan import Cell, Changes, Sweep, cells_of, changed, read_sweep
from tasks.sweeps.search import Search
from tasks.sweeps.table import as_markdown, long_table
from tasks.wiring.contract import call, load_stage, params_for, read_params
from tasks.wiring.presets import merged

SWEEPS = Path("sweeps")
CACHE = Path("data/cache/sweeps")
REPORTS = Path("reports/sweeps")
PREPARED_BY = ("simulate", "ingest", "preprocess", "caption", "embed")

logger = logging.getLogger(__name__)


def run_sweep(name: str, params_file: Path, map: Map) -> Path:
    """Do what is not done yet of a sweep, and write its table.

    Parameters
    ----------
    name : str
        A file of the folder `sweeps`.

    Returns
    -------
    pathlib.Path
        The table as Markdown; the CSV lies beside it.

    Raises
    ------
    SweepError
        If the sweep cannot be read, or does not fit a study.
    """
    sweep = read_sweep(name, SWEEPS)
    if sweep.search is not None:
        _prepared(sweep.search.study, params_file)
    search = _search(sweep, params_file)
    if search is not None:
        search.run(map)
    roots = {study: _prepared(changes, params_file) for study, changes in sweep.studies.items()}
    cells = _cells(sweep, roots, params_file, search)
    todo = [cell for cell in cells if not cell.result.exists()]
    logger.info(
        "%s: %d trainings, %d of them done before.", name, len(cells), len(cells) - len(todo)
    )
    for some in _by_seed(todo):
        map(run_cell, some)
        write_table(name, sweep, cells, search)
    return write_table(name, sweep, cells, search)


def write_table(name: str, sweep: Sweep, cells: Sequence[Cell], search: Search | None) -> Path:
    """Write the table of the cells that are done, and that of the settings that were tried."""
    table = long_table(cells, next(iter(sweep.arms)))
    n_done = sum(cell.result.exists() for cell in cells)
    write_text(REPORTS / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    page = REPORTS / f"{name}.md"
    tried = search.as_markdown() if search is not None else ""
    write_text(page, as_markdown(sweep, table, n_done, len(cells)) + "\n" + tried)
    return page


def sweep_cells(name: str, params_file: Path) -> tuple[Sweep, list[Cell], Search | None]:
    """Return a sweep, the cells of its studies that are there already, and its search.

    Parameters
    ----------
    name : str
        A file of the folder `sweeps`.
    """
    sweep = read_sweep(name, SWEEPS)
    roots = {s: study_root(changes, params_file) for s, changes in sweep.studies.items()}
    there = {s: root for s, root in roots.items() if Artifacts(root).image_targets.exists()}
    search = _search(sweep, params_file)
    return sweep, _cells(sweep, there, params_file, search), search


def _search(sweep: Sweep, params_file: Path) -> Search | None:
    """Return the search of a sweep that has one."""
    if sweep.search is None:
        return None
    root = study_root(sweep.search.study, params_file)
    return Search(sweep, root, read_params(params_file)["train"], CACHE / "search")


def _cells(
    sweep: Sweep, roots: dict[str, Path], params_file: Path, search: Search | None
) -> list[Cell]:
    """Return the cells of all studies, in the order of seeds, so that an early look shows every arm."""
    base, settings = read_params(params_file)["train"], search.chosen() if search else {}
    cells: list[Cell] = []
    for study, root in roots.items():
        subjects = read_table(Artifacts(root).trials, TRIALS, ["trial_id", "subject"])["subject"]
        known = sorted(set(subjects.to_pylist()))
        cells += cells_of(sweep, study, root, known, base, CACHE / "cells", settings)
    return sorted(cells, key=lambda cell: sweep.seeds.index(cell.seed))


def _by_seed(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Split cells into one list per seed."""
    seeds = dict.fromkeys(cell.seed for cell in cells)
    return [[cell for cell in cells if cell.seed == seed] for seed in seeds]


def study_root(changes: Changes | None, params_file: Path) -> Path:
    """Return where the artefacts of a study lie.

    Parameters
    ----------
    changes : dict or None
        To the params file; None for the study that lies in `data`.
    """
    if changes is None:
        return Path()
    sections = {stage: _study_params(changes, params_file)[stage] for stage in PREPARED_BY}
    return CACHE / "studies" / fingerprint(sections)


def _study_params(changes: Changes, params_file: Path) -> Changes:
    """Return all params of a study that starts from the params file, or from the preset that it names."""
    named, sections = changes.get("preset"), {k: v for k, v in changes.items() if k != "preset"}
    return changed(yaml.safe_load(merged(named)) if named else read_params(params_file), sections)


def _prepared(changes: Changes | None, params_file: Path) -> Path:
    """Run the stages before `train` where their artefacts are missing, and return the root of all."""
    root = study_root(changes, params_file)
    if changes is None:
        params_for(load_stage("train"), params_file)
        return root
    own_params = root / "params.yaml"
    write_text(own_params, yaml.safe_dump(_study_params(changes, params_file), sort_keys=False))
    models = root / "data" / "models"
    models.parent.mkdir(parents=True, exist_ok=True)
    if not models.exists():
        models.symlink_to(Path("data/models").resolve(), target_is_directory=True)
    for name in PREPARED_BY:
        done = root / f"{name}.done"
        if not done.exists():
            logger.info("Study %s: %s.", root.name, name)
            call(load_stage(name), Artifacts(root), own_params)
            write_text(done, "")
    return root
