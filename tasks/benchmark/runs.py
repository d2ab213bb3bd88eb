"""A finished run, read from the folder in which its stages wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import TRAIN, main_split
from tasks.artifacts.tables import read_table
from tasks.clip.vectors import table_to_levels
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder, kept_epochs, load_encoder
from tasks.runtime.errors import PerceptError
from tasks.scores.held_out import vectors_of


@dataclass(frozen=True)
class Run:
    """One run: an encoder, what it was tested on, and where its files lie.

    Attributes
    ----------
    name : str
        Of its row; runs of one name that test the same subject are seeds of one system.
    trials : pandas.DataFrame
        Kept trials of the main held-out split, sorted by id: trial_id, recording_id, subject, stimulus_id,
        concept.
    gallery : pandas.DataFrame
        All stimuli of that split, sorted by id: stimulus_id, concept, image_path.
    others : pandas.DataFrame
        All other stimuli, with the same columns.
    trained : frozenset[str]
        Subjects with kept training trials.
    epoch : int or None
        Of the weights that predict; None for those that `train` chose.
    """

    name: str
    root: Path
    trials: pd.DataFrame
    gallery: pd.DataFrame
    others: pd.DataFrame
    trained: frozenset[str]
    epoch: int | None = None

    @property
    def artifacts(self) -> Artifacts:
        """Return the catalogue of the run's folder."""
        return Artifacts(self.root)

    def protocol(self, subject: str) -> str:
        """Return ``intra`` where the subject was trained on, and ``inter`` where not."""
        return "intra" if subject in self.trained else "inter"

    def kept_epochs(self) -> list[Run]:
        """Return the run at each epoch whose weights `train.keep_epochs` kept."""
        return [replace(self, epoch=epoch) for epoch in kept_epochs(self.artifacts.encoder)]

    def predicted(self) -> Float[np.ndarray, "n_trials dim"] | None:
        """Return what the image head predicted of each trial; None where there is no such head.

        Raises
        ------
        PerceptError
            If a trial has no prediction.
        """
        ids = self.trials["trial_id"].tolist()
        if self.epoch is not None:
            eeg, _ = read_epochs(self.artifacts.epochs, ids)
            return self._encoder().predict_images(eeg, self.trials["subject"].tolist())
        table = read_table(self.artifacts.image_predictions, IMAGE_PREDICTIONS)
        if not len(table):
            return None
        remedy = f"Run `dvc repro retrieve` in {self.root.resolve()}."
        return vectors_of(table, "trial_id", ids, remedy)

    def image_vectors(self, stimulus_ids: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Return the vectors that predictions of some stimuli are compared with.

        Raises
        ------
        PerceptError
            If one has no vector.
        """
        if self.epoch is not None:
            table = read_table(self.artifacts.image_targets, IMAGE_TARGETS)
            return self._encoder().gallery(table_to_levels(table, stimulus_ids))
        table = read_table(self.artifacts.image_gallery, IMAGE_GALLERY)
        remedy = f"Run `dvc repro retrieve` in {self.root.resolve()}."
        return vectors_of(table, "stimulus_id", stimulus_ids, remedy)

    def _encoder(self) -> Encoder:
        return load_encoder(self.artifacts.encoder, self.epoch)


def open_run(name: str, root: Path) -> Run:
    """Read what a run tested, and on whom it was trained.

    Raises
    ------
    PerceptError
        If the folder holds no run, or nothing was held out.
    """
    artifacts = Artifacts(root)
    if not artifacts.trials.exists():
        raise PerceptError(
            f"A run must hold {Artifacts.trials.path}; {root.resolve()} does not. "
            "Name the folder that holds its params.yaml, or run `dvc repro` in it."
        )
    trials = read_table(artifacts.trials, TRIALS).to_pandas()
    stimuli = read_table(artifacts.stimuli, STIMULI).to_pandas().sort_values("stimulus_id")
    stimuli["image_path"] = [str(root / path) for path in stimuli["image_path"]]
    kept = trials[trials["kept"]].sort_values("trial_id", ignore_index=True)
    split = main_split(kept["split"])
    if split is None:
        raise PerceptError(
            f"A run must hold out trials; {artifacts.trials} holds none that was kept. "
            "Mend the params of preprocess."
        )
    shown = stimuli["stimulus_id"].isin(trials.loc[trials["split"] == split, "stimulus_id"])
    columns = ["stimulus_id", "concept", "image_path"]
    return Run(
        name,
        root,
        kept[kept["split"] == split][
            ["trial_id", "recording_id", "subject", "stimulus_id", "concept"]
        ].reset_index(drop=True),
        stimuli.loc[shown, columns].reset_index(drop=True),
        stimuli.loc[~shown, columns].reset_index(drop=True),
        frozenset(kept.loc[kept["split"] == TRAIN, "subject"]),
    )
