"""Audit the encoder's score: what is left of it when the EEG says nothing of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt, PositiveInt, model_validator

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import write_scores
from tasks.artifacts.splits import TRAIN
from tasks.artifacts.tables import read_table
from tasks.clip.vectors import table_to_vectors
from tasks.controls.answers import ControlParams
from tasks.controls.evidence import Evidence
from tasks.controls.plots import draw_controls
from tasks.controls.registry import CONTROLS, run_controls
from tasks.controls.time_course import decoding_over_time
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import load_encoder
from tasks.explanation.heads import Heads
from tasks.runtime.params import Params
from tasks.scores.figures import write_csv
from tasks.scores.held_out import HeldOut
from tasks.statistics.draws import choose


class AuditParams(Params):
    """Which trials are audited, and how.

    Attributes
    ----------
    max_trials, max_training_trials : int
        Held-out trials, and training trials that noise is made from and stand-in decoders are trained on,
        drawn at random if there are more.
    batch_size : int
        Trials at once.
    seed : int
        Of these draws.
    run : "all" or tuple[str, ...]
        Names of the controls.
    controls : ControlParams
        Intervals, shuffles, windows.
    """

    max_trials: PositiveInt
    max_training_trials: PositiveInt
    batch_size: PositiveInt
    seed: NonNegativeInt
    run: Literal["all"] | tuple[str, ...]
    controls: ControlParams

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [] if self.run == "all" else [name for name in self.run if name not in CONTROLS]
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is no control; known are {', '.join(CONTROLS)}")
        return self


def audit(
    recordings: Path,
    stimuli: Path,
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    image_vectors: Path,
    encoder: Path,
    predictions: Path,
    retrievals: Path,
    *,
    audit_metrics: Path,
    audit_plots: Path,
    params: AuditParams,
) -> None:
    """Run the confound controls on the naming of concepts, and say in words what they show.

    Parameters
    ----------
    recordings, stimuli, trials, epochs, captions, text_vectors, image_vectors, encoder, predictions, retrievals : Path
        Read.
    audit_metrics, audit_plots : Path
        Written: a score with a verdict per control, charts of them, and the numbers behind the charts.
    params : AuditParams
        Section `audit` of params.yaml.

    Raises
    ------
    PerceptError
        If no held-out trial was kept.
    """
    shown = read_table(trials, TRIALS)
    held_out = HeldOut.join(
        shown,
        read_table(captions, CAPTIONS),
        read_table(text_vectors, TEXT_VECTORS),
        read_table(predictions, PREDICTIONS),
    )
    held_out = _sample(held_out.main(), params)
    table = read_table(image_vectors, IMAGE_VECTORS)
    pictures = dict(zip(table["stimulus_id"].to_pylist(), table_to_vectors(table), strict=True))
    training = _training(shown.to_pandas(), params)
    training_eeg, info = read_epochs(epochs, training["trial_id"].tolist())
    model = load_encoder(encoder)
    model.require_channels(info.channels)
    eeg, _ = read_epochs(epochs, held_out.trials["trial_id"].tolist())
    evidence = Evidence(
        held_out=held_out,
        trials=shown.to_pandas(),
        timed=all(read_table(recordings, RECORDINGS, ["timed"])["timed"].to_pylist()),
        stimuli=read_table(stimuli, STIMULI).to_pandas(),
        retrievals=read_table(retrievals, RETRIEVALS).to_pandas(),
        image_vectors=pictures,
        eeg=eeg,
        channels=info.channels,
        times_s=info.tmin_s + np.arange(eeg.shape[-1]) / info.sfreq_hz,
        training=training,
        training_eeg=training_eeg,
        read=lambda trial_ids: read_epochs(epochs, trial_ids)[0],
        predict=Heads.of(model, params.batch_size).predict,
        params=params.controls,
    )
    found = run_controls(evidence, list(CONTROLS) if params.run == "all" else params.run)
    draw_controls(audit_plots, found)
    course = decoding_over_time(evidence)
    if course is not None:
        write_csv(course, audit_plots / "decoding_over_time.csv")
    write_scores(audit_metrics, {name: finding.score for name, finding in found.items()})


def _sample(held_out: HeldOut, params: AuditParams) -> HeldOut:
    rows = pd.Series(False, held_out.trials.index)
    rows.iloc[choose(len(rows), params.max_trials, params.seed)] = True
    return held_out.of(rows)


def _training(trials: pd.DataFrame, params: AuditParams) -> pd.DataFrame:
    training = trials[(trials["split"] == TRAIN) & trials["kept"]]
    chosen = choose(len(training), params.max_training_trials, params.seed)
    return training.iloc[chosen].reset_index(drop=True)
