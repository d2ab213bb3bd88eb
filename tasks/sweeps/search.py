"""The search of a sweep: every arm chooses among its settings by successive halving on a development study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.params import EpochParams, TrainParams
from tasks.encoder.resumption import SavedRun
from tasks.runtime.files import write_json
from tasks.runtime.map import Map
from tasks.runtime.workers import code_fingerprint
from tasks.sweeps.cells import read_data
from tasks.sweeps.plan import Cell, Changes, Sweep, SweepError, train_params

DEVELOPMENT = "development"
SCORE = "validation_recall_at_1"
"""What settings are ranked by: the best epoch's, on validation trials, mean over heads."""
EXPLANATION = (
    "The share of the validation trials of the development study for which a head's caption comes first, mean over "
    "heads, in the best epoch so far. After each round the better half of an arm's settings goes on."
)


@dataclass(frozen=True)
class Attempt:
    """The training of one arm with one setting, up to an epoch.

    Attributes
    ----------
    arm, setting : str
        What is tried.
    cell : Cell
        Where it is trained; its section `train` is that of any number of epochs.
    n_epochs : int
        Where it stops for now, in the schedule of the whole.
    """

    arm: str
    setting: str
    cell: Cell
    n_epochs: int

    @property
    def folder(self) -> Path:
        """What is kept of it, of all numbers of epochs."""
        return Path(self.cell.results) / self.cell.key

    @property
    def record(self) -> Path:
        """File that says that it is done, with the log of the training."""
        return self.folder / f"{self.n_epochs}.json"

    @property
    def state(self) -> SavedRun:
        """Where the training goes on."""
        return SavedRun(self.folder / code_fingerprint())

    def score(self) -> float:
        """Return the best score of an epoch so far."""
        return max(float(row[SCORE]) for row in self.log())

    def log(self) -> list[dict[str, float]]:
        """Return one row per epoch; the first is that before the first step."""
        log: list[dict[str, float]] = json.loads(self.record.read_text())["log"]
        return log


@dataclass(frozen=True)
class Search:
    """The search of one sweep, as far as its records say.

    Attributes
    ----------
    sweep : Sweep
        With a search.
    root : Path
        Of the development study.
    base : dict
        The section `train` of params.yaml.
    results : Path
        Folder of all attempts.
    """

    sweep: Sweep
    root: Path
    base: Changes
    results: Path

    def run(self, map: Map) -> None:
        """Do what is not done yet, round by round, all arms side by side.

        Raises
        ------
        SweepError
            If a setting is not as it must be.
        """
        while todo := [a for arm in self._arms() for a in self._standing(arm)[1]]:
            map(run_attempt, [attempt for attempt in todo if not attempt.record.exists()])

    def chosen(self) -> dict[str, str]:
        """Return the setting of every arm whose search is over."""
        standing = {arm: self._standing(arm) for arm in self._arms()}
        return {arm: left[0] for arm, (left, todo) in standing.items() if not todo}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per setting that was tried: arm, setting, score after each round."""
        chosen, rows = self.chosen(), []
        for arm in self._arms():
            for setting in self.sweep.arms[arm].settings:
                tried = [self._attempt(arm, setting, n) for n in self._epochs()]
                scores = {a.n_epochs: a.score() for a in tried if a.record.exists()}
                if scores:
                    row = {"arm": arm, "setting": setting, "chosen": chosen.get(arm) == setting}
                    rows.append(row | {"scores": scores})
        return rows

    def as_markdown(self) -> str:
        """Return the settings that were tried as a page's last section."""
        epochs = self._epochs()
        head = ["arm", "setting", *(f"{n} epochs" for n in epochs), "chosen"]
        lines = [head, ["---"] * len(head)]
        for row in self.rows():
            scores: Mapping[int, float] = row["scores"]
            cells = [f"{scores[n]:.3f}" if n in scores else "" for n in epochs]
            lines.append([row["arm"], row["setting"], *cells, "yes" if row["chosen"] else ""])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"\n## Settings that were tried\n\n{EXPLANATION}\n\n{table}\n"

    def _arms(self) -> list[str]:
        return [name for name, arm in self.sweep.arms.items() if arm.settings]

    def _epochs(self) -> list[int]:
        if self.sweep.search is None:
            raise SweepError("A search needs a development study. Add `search` to the sweep.")
        return self.sweep.search.epochs

    def _standing(self, arm: str) -> tuple[list[str], list[Attempt]]:
        """Return the settings still in the race, the best first, and the attempts of the next round."""
        left = list(self.sweep.arms[arm].settings)
        for n_epochs in self._epochs():
            attempts = [self._attempt(arm, setting, n_epochs) for setting in left]
            if not all(attempt.record.exists() for attempt in attempts):
                return left, attempts
            best = sorted(attempts, key=Attempt.score, reverse=True)
            keep = max(1, len(best) // 2)
            for attempt in best[keep:]:
                attempt.state.remove()
            left = [attempt.setting for attempt in best[:keep]]
        for setting in left:
            self._attempt(arm, setting, self._epochs()[-1]).state.remove()
        return left, []

    def _attempt(self, arm: str, setting: str, n_epochs: int) -> Attempt:
        params = train_params(self.base, self.sweep, arm, self.sweep.seeds[0], setting)
        cell = Cell(
            str(self.root), DEVELOPMENT, "pooled", "all", arm, params.model_dump(mode="json"),
            1.0, None, False, str(self.results),
        )  # fmt: skip
        return Attempt(arm, setting, cell, n_epochs)


def run_attempt(attempt: Attempt) -> str:
    """Train up to the epoch that is asked for, going on from where the round before stopped.

    Returns
    -------
    str
        Path of its record.
    """
    params = TrainParams.model_validate(attempt.cell.train)
    decay = params.selection.ema_decay
    until = EpochParams(name="epoch", epoch=attempt.n_epochs, ema_decay=decay)
    params = params.model_copy(update={"selection": until})
    train = ARCHITECTURES[params.architecture.name].train
    trained = train(read_data(attempt.cell, params), params, attempt.state)
    write_json(attempt.record, {"train": attempt.cell.train, "log": trained.log})
    return str(attempt.record)
