"""Learn to predict the vector of each caption kind from an epoch."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

import torch

from tasks.encoder import processes
from tasks.encoder.architectures import ARCHITECTURES
from tasks.encoder.checkpoints import description_of, save_encoder
from tasks.encoder.dataset import TrainingData, read_training_data, refuse_strangers
from tasks.encoder.params import TrainParams
from tasks.encoder.resumption import CACHE, SavedRun
from tasks.encoder.training import Trained
from tasks.runtime.device import compute_device
from tasks.runtime.environment import whole_number
from tasks.runtime.files import fingerprint, write_text

logger = logging.getLogger(__name__)


def train(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    image_targets: Path,
    *,
    encoder: Path,
    training_log: Path,
    params: TrainParams,
) -> None:
    """Train the encoder on the train split and choose its epoch on the validation split.

    No other trial and no other stimulus's caption is looked at. A run that is killed goes on from its
    last epoch and ends with the same bits. Several processes that ``torchrun`` started share each batch.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, image_targets : pathlib.Path
        Artefacts of these names.
    encoder : pathlib.Path
        Folder of the weights and their description.
    training_log : pathlib.Path
        CSV, one row per epoch.
    params : TrainParams
        How to train.

    Raises
    ------
    TrainingDataError
        If the data cannot be trained on, or a held-out subject would need filters of its own.
    ProcessLostError
        If one of several processes is gone.
    """
    set_threads()
    if params.per_subject:
        refuse_strangers(trials)
    data = read_training_data(
        trials,
        epochs,
        captions,
        text_vectors,
        image_targets,
        params=params,
    )
    logger.info(
        "%d training and %d validation trials of %d subjects.",
        len(data.train.eeg),
        len(data.validation.eeg),
        len(data.subjects),
    )
    saved = SavedRun(
        CACHE / fingerprint(data.fingerprint, params.model_dump(), compute_device().type)
    )
    with processes.joined():
        trained = ARCHITECTURES[params.architecture.name].train(data, params, saved)
        if processes.number() > 0:
            return
    save_encoder(encoder, trained.module, describe(data, params, trained), saved.kept())
    write_text(training_log, _as_csv(trained.log))
    saved.remove()


def set_threads() -> None:
    """Let torch use ``PERCEPT_THREADS`` threads, if the environment names a number."""
    n_threads = whole_number("PERCEPT_THREADS")
    if n_threads:
        torch.set_num_threads(n_threads)


def describe(data: TrainingData, params: TrainParams, trained: Trained) -> dict[str, object]:
    """Return what the stages after training must know of an encoder.

    Parameters
    ----------
    data : TrainingData
        What it was trained on.
    params : TrainParams
        How.
    trained : Trained
        The outcome.
    """
    best = trained.log[trained.best_epoch]
    return description_of(data, params) | {
        "architecture": params.architecture.name,
        "sizes": trained.sizes,
        "params": params.model_dump(),
        "decoded_channels": data.decoded_channels,
        "sfreq_hz": data.info.sfreq_hz,
        "tmin_s": data.info.tmin_s,
        "unit": data.info.unit,
        "reference": data.info.reference,
        "text_dim": data.targets.shape[2],
        "split_fingerprint": data.split_fingerprint,
        "best_epoch": trained.best_epoch,
        "validation": {k: v for k, v in best.items() if k.startswith("validation")},
    }


def _as_csv(log: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(log[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in log)
    return text.getvalue()
