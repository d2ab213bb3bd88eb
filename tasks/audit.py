"""Audit the encoder's score: what is left of it when the EEG says nothing of the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt, PositiveInt

from tasks._errors import PerceptError
from tasks._params import Params
from tasks.analysis import controls, drift
from tasks.analysis.answers import ControlParams
from tasks.analysis.figures import draw_controls
from tasks.analysis.heads import Heads
from tasks.analysis.held_out import HeldOut
from tasks.analysis.saliency import choose
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score, write_scores
from tasks.artifacts.tables import read_table
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder, load_encoder

SPLIT = "test"
"""Unseen pictures of trained concepts: what time and priors could give away are trained concepts."""

DRIFT_CONTROLS = ("time_of_recording", "block_structure", "prestimulus")
"""Controls that know when a picture was shown, and nothing of it."""


class AuditParams(Params):
    """Which trials are audited, and how.

    Attributes
    ----------
    max_trials, max_training_trials : int
        Held-out trials, and training trials that noise is made from, drawn at random if there are more.
    batch_size : int
        Trials at once.
    seed : int
        Of these draws.
    controls : ControlParams
        Intervals, shuffles, window.
    """

    max_trials: PositiveInt
    max_training_trials: PositiveInt
    batch_size: PositiveInt
    seed: NonNegativeInt
    controls: ControlParams


def audit(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    encoder: Path,
    predictions: Path,
    *,
    audit_metrics: Path,
    audit_plots: Path,
    params: AuditParams,
) -> None:
    """Run the confound controls on the naming of concepts, and say in words what they show.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, encoder, predictions : Path
        Read.
    audit_metrics, audit_plots : Path
        Written: a score with a verdict per control, and a chart of them.
    params : AuditParams
        Section `audit` of params.yaml.

    Raises
    ------
    PerceptError
        If no trial of the split test was kept.
    """
    shown = read_table(trials, TRIALS)
    held_out = HeldOut.join(
        shown,
        read_table(captions, CAPTIONS),
        read_table(text_vectors, TEXT_VECTORS),
        read_table(predictions, PREDICTIONS),
    )
    held_out = _sample(held_out.of(held_out.trials["split"] == SPLIT), params)
    model = load_encoder(encoder)
    scores = _without_eeg(held_out, shown.to_pandas(), params.controls)
    scores |= _with_other_eeg(held_out, shown.to_pandas(), epochs, model, params)
    known = {name: scores[name] for name in DRIFT_CONTROLS if name in scores}
    scores["explained_by_drift"] = drift.explained_by_drift(scores["encoder"], known)

    draw_controls(audit_plots, scores)
    write_scores(audit_metrics, scores)


def _sample(held_out: HeldOut, params: AuditParams) -> HeldOut:
    if held_out.trials.empty:
        raise PerceptError(
            f"The audit needs kept trials of the split {SPLIT!r}; found none. "
            "Hold out pictures of trained concepts in `preprocess`."
        )
    rows = pd.Series(False, held_out.trials.index)
    rows.iloc[choose(len(rows), params.max_trials, params.seed)] = True
    return held_out.of(rows)


def _without_eeg(
    held_out: HeldOut, trials: pd.DataFrame, params: ControlParams
) -> dict[str, Score]:
    encoder = controls.encoder_score(held_out, params)
    return {
        "encoder": encoder,
        "shuffled_eeg": controls.shuffled_eeg(held_out, params),
        "label_permutation": controls.label_permutation(encoder),
        "time_of_recording": drift.time_of_recording(held_out, trials, params),
        "block_structure": drift.block_structure(held_out, trials, params),
        "subject_prior": drift.subject_prior(held_out, trials, params),
    }


def _with_other_eeg(
    held_out: HeldOut, trials: pd.DataFrame, epochs: Path, model: Encoder, params: AuditParams
) -> dict[str, Score]:
    training = drift.training_trials(trials)
    training = training.iloc[choose(len(training), params.max_training_trials, params.seed)]
    training_eeg, info = read_epochs(epochs, training["trial_id"].tolist())
    model.require_channels(info.channels)
    predict = Heads.of(model, params.batch_size).predict
    eeg, _ = read_epochs(epochs, held_out.trials["trial_id"].tolist())
    times_s = info.tmin_s + np.arange(eeg.shape[-1]) / info.sfreq_hz
    found = {
        "noise_eeg": controls.noise_eeg(
            held_out, predict, training_eeg, training["subject"].tolist(), params.controls
        ),
        "prestimulus": controls.prestimulus(
            held_out, predict, eeg, times_s, training_eeg.mean(axis=0), params.controls
        ),
    }
    return {name: score for name, score in found.items() if score is not None}
