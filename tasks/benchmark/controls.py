"""An encoder trained anew on what holds no answer: what it still scores is not read from the brain."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import SEEN
from tasks.artifacts.tables import read_table, write_table
from tasks.benchmark import CONTROLS
from tasks.benchmark.runs import Run
from tasks.controls.noise import gaussian_noise
from tasks.eeg.epochs import read_file, write_epochs
from tasks.runtime.files import fingerprint, sha256_of
from tasks.statistics.draws import seed_of
from tasks.wiring.contract import call, load_stage, read_params, reads, writes

STAGES = ("train", "retrieve")

logger = logging.getLogger(__name__)


def control_root(run: Run, control: str) -> Path:
    """Return where a control of a run lies; a run with other params or inputs has another one."""
    params = read_params(run.root / "params.yaml")
    inputs = [sha256_of(path) for path in (run.artifacts.trials, run.artifacts.image_targets)]
    key = fingerprint(control, inputs, *(params.get(name) for name in STAGES))
    return run.root / "data" / "cache" / "benchmark" / f"{control}-{key}"


def is_retrained(run: Run, control: str) -> bool:
    """Tell whether a control of a run is there."""
    return Artifacts(control_root(run, control)).image_gallery.exists()


def retrain(run: Run, control: str) -> None:
    """Run the stages `train` and `retrieve` on a control, unless that is done; a killed run goes on.

    Parameters
    ----------
    control : str
        One of `CONTROLS`.
    """
    if is_retrained(run, control):
        return
    root = control_root(run, control)
    logger.info("%s, %s: training in %s.", run.name, CONTROLS[control], root)
    artifacts, replaced = Artifacts(root), "epochs" if control == "noise" else "trials"
    stages = [load_stage(name) for name in STAGES]
    made = {replaced} | {name for stage in stages for name in writes(stage)}
    for name in {name for stage in stages for name in reads(stage)} - made:
        _link(getattr(run.artifacts, name), getattr(artifacts, name))
    if control == "noise":
        _write_noise(run.artifacts.epochs, artifacts.epochs)
    else:
        shuffled = _shuffled(read_table(run.artifacts.trials, TRIALS))
        write_table(shuffled, artifacts.trials, TRIALS)
    for stage in stages:
        call(stage, artifacts, run.root / "params.yaml")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


def _write_noise(source: Path, target: Path) -> None:
    for file in sorted(source.glob("*.arrow")):
        trial_ids, eeg, info = read_file(file)
        of = [file.stem] * len(eeg)
        noise = gaussian_noise(eeg, of, of, seed_of(0, file.stem))
        write_epochs(target / file.name, trial_ids, noise, info)


def _shuffled(trials: pa.Table) -> pa.Table:
    """Deal the pictures of each subject's kept training and validation trials out anew."""
    rows = trials.to_pandas()
    seen = rows["kept"] & rows["split"].isin(SEEN)
    source = np.arange(len(rows))
    for subject, some in rows[seen].groupby("subject"):
        places = some.index.to_numpy()
        source[places] = np.random.default_rng(seed_of(0, str(subject))).permutation(places)
    for column in ("stimulus_id", "concept"):
        place = trials.column_names.index(column)
        trials = trials.set_column(place, trials.field(column), trials[column].take(source))
    return trials
