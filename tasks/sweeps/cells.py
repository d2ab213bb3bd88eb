"""One cell of a sweep: train, decode held-out trials, write the answers; done once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import ZERO_SHOT, main_split
from tasks.artifacts.tables import read_table
from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.checkpoints import Encoder, description_of, reading_recorded
from tasks.encoder.dataset import TrainingData, read_training_data
from tasks.encoder.params import TrainParams
from tasks.encoder.resumption import SavedRun
from tasks.runtime.files import write_json
from tasks.runtime.workers import code_fingerprint
from tasks.scores.trained import (
    HeldOutEEG,
    averaged,
    concept_answers,
    oracle_answers,
    picture_answers,
    stimulus_answers,
)
from tasks.sweeps.folds import training_data_of
from tasks.sweeps.plan import Cell

REPETITIONS = (2, 3, 4, 8, 16)


def run_cell(cell: Cell) -> str:
    """Do a cell unless it is done, going on from its last epoch if it was killed.

    Parameters
    ----------
    cell : Cell
        What to train and to score.

    Returns
    -------
    str
        Path of its result.
    """
    if not cell.result.exists():
        params = TrainParams.model_validate(cell.train)
        data = read_data(cell, params)
        saved = SavedRun(cell.result.parent / code_fingerprint())
        began = time.monotonic()
        trained = ARCHITECTURES[params.architecture.name].train(data, params, saved)
        seconds = time.monotonic() - began
        module = reading_recorded(trained.module, data.decoded_channels)
        encoder = Encoder(module, description_of(data, params))
        write_json(
            cell.result,
            {
                "cell": {"study": cell.study, "protocol": cell.protocol, "fold": cell.fold},
                "train": cell.train,
                "code": code_fingerprint(),
                "n_training_trials": len(data.train.eeg),
                "n_parameters": sum(p.numel() for p in trained.module.parameters()),
                "best_epoch": trained.best_epoch,
                "log": trained.log,
                "training_s": round(seconds, 1),
                "answers": _answers(cell, Artifacts(Path(cell.root)), encoder),
            },
        )
        saved.remove()
    return str(cell.result)


def read_result(cell: Cell) -> dict[str, Any] | None:
    """Return the result of a cell, or None if it is not done."""
    if not cell.result.exists():
        return None
    result: dict[str, Any] = json.loads(cell.result.read_text())
    return result


def read_data(cell: Cell, params: TrainParams) -> TrainingData:
    """Return what a cell may be trained on.

    Raises
    ------
    SweepError
        If nothing is left.
    """
    artifacts = Artifacts(Path(cell.root))
    data = read_training_data(
        artifacts.trials,
        artifacts.epochs,
        artifacts.captions,
        artifacts.text_vectors,
        artifacts.image_targets,
        params=params,
    )
    return training_data_of(cell, data)


def _answers(cell: Cell, artifacts: Artifacts, encoder: Encoder) -> dict[str, Any]:
    """Return the answers to every question, trial by trial."""
    everybody = read_table(artifacts.trials, TRIALS, ["trial_id", "subject"])["subject"]
    subjects = sorted(set(everybody.to_pylist())) if cell.fold == "all" else [cell.fold]
    data = HeldOutEEG.read(artifacts, subjects)
    held_out = data.decoded_by(encoder, None)
    main = main_split(held_out.trials["split"])
    answers: dict[str, Any] = {
        "concept": concept_answers(held_out, main),
        "stimulus": stimulus_answers(held_out),
        "zero_shot": concept_answers(held_out, ZERO_SHOT),
        "picture": picture_answers(
            data, encoder, read_table(artifacts.image_targets, IMAGE_TARGETS)
        ),
    }
    if answers["concept"] is not None:
        answers["concept"]["oracle"] = oracle_answers(artifacts, answers["concept"]["trial_id"])
    for n_presentations in REPETITIONS:
        if (mean := averaged(data, n_presentations)) is not None:
            found = concept_answers(mean.decoded_by(encoder, None), main)
            answers[f"concept_of_{n_presentations}"] = found
    return {question: found for question, found in answers.items() if found is not None}
