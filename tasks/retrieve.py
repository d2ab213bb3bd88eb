"""Decode held-out EEG: predict a vector per caption kind, then find the nearest captions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32
from pydantic import AfterValidator, PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import HELD_OUT, VALIDATION
from tasks.artifacts.tables import read_table, table_writer, write_table
from tasks.clip.galleries import Gallery, build_galleries, known_stimuli
from tasks.clip.vectors import Vectors, table_to_levels, vectors_to_table
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder, load_encoder
from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

logger = logging.getLogger(__name__)

QUERY_SPLITS = (VALIDATION, *HELD_OUT)
TRIALS_AT_ONCE = 2**13
"""Whose vectors are held at once: 0.25 GB of ten heads of 768 numbers."""


def _with_train(names: list[str]) -> list[str]:
    if "train" not in names or len(set(names)) < len(names):
        raise ValueError("train must be among the galleries, and each be named once")
    return names


class RetrieveParams(Params):
    """How many captions are retrieved from where, and how many trials are predicted at once.

    Attributes
    ----------
    k : int
        Captions per trial, gallery and kind.
    galleries : list of {"train", "test", "all"}
        Where they are looked for; ``train`` is what pictures are drawn from, so it must be among them.
    batch_size : int
        Trials predicted at once.
    """

    k: PositiveInt
    galleries: Annotated[list[Literal["train", "test", "all"]], AfterValidator(_with_train)]
    batch_size: PositiveInt


class RetrieveError(PerceptError):
    """The trials cannot be decoded by this encoder."""


def retrieve(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    image_targets: Path,
    encoder: Path,
    *,
    predictions: Path,
    retrievals: Path,
    image_predictions: Path,
    image_gallery: Path,
    params: RetrieveParams,
) -> None:
    """Predict the vectors of held-out trials and retrieve the nearest captions of each kind.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, image_targets, encoder : Path
        What was shown, the EEG, the captions, their vectors, those of the pictures and the trained encoder.
    predictions : Path
        Table to write: one vector per trial and kind.
    retrievals : Path
        Table to write: the `k` nearest captions of the same kind per trial, gallery and kind.
    image_predictions : Path
        Table to write: one vector per trial where the encoder has an image head, else none.
    image_gallery : Path
        Table to write: what these are compared with, one vector per stimulus.
    params : RetrieveParams
        Size of the answer.

    Raises
    ------
    RetrieveError
        If no trial is held out, or the EEG has other channels than the encoder.
    GalleryError
        If a caption has no vector, or a gallery is too small.
    """
    model = load_encoder(encoder)
    trial_rows = read_table(trials, TRIALS)
    if known := known_stimuli(trial_rows):
        text = "%d held-out pictures were also in training: identification among known pictures."
        logger.warning(text, len(known))
    caption_rows, vectors = read_table(captions, CAPTIONS), read_table(text_vectors, TEXT_VECTORS)
    galleries = build_galleries(trial_rows, caption_rows, vectors, model.kinds, params.galleries)
    queries = _held_out(trial_rows)
    images: Vectors | None = None
    with (
        table_writer(predictions, PREDICTIONS) as write_predictions,
        table_writer(retrievals, RETRIEVALS) as write_retrievals,
        table_writer(image_predictions, IMAGE_PREDICTIONS) as write_images,
    ):
        for start in range(0, len(queries), TRIALS_AT_ONCE):
            block = queries.slice(start, TRIALS_AT_ONCE)
            predicted, images = _predict(model, epochs, block, params.batch_size)
            head_of = {kind: predicted[:, head] for head, kind in enumerate(model.kinds)}
            found = [_answers(block["trial_id"], g, head_of[g.kind], params.k) for g in galleries]
            write_predictions(_predictions(block["trial_id"], model.kinds, predicted))
            write_retrievals(pa.concat_tables(found))
            if images is not None:
                write_images(vectors_to_table({"trial_id": block["trial_id"]}, images))
    logger.info("%d trials, %d kinds, k = %d.", len(queries), len(model.kinds), params.k)
    levels = read_table(image_targets, IMAGE_TARGETS)
    stimuli = [] if images is None else pc.unique(levels["stimulus_id"]).to_pylist()
    gallery = np.zeros((0, 1), np.float32)
    if images is not None:
        gallery = model.gallery(table_to_levels(levels, stimuli))
    keys = {"stimulus_id": pa.array(stimuli, pa.string())}
    write_table(vectors_to_table(keys, gallery), image_gallery, IMAGE_GALLERY)


def _held_out(trials: pa.Table) -> pa.Table:
    """Return the kept trials outside training, sorted by trial_id."""
    chosen = pc.and_(trials["kept"], pc.is_in(trials["split"], pa.array(QUERY_SPLITS)))
    queries = trials.filter(chosen).sort_by("trial_id")
    if not len(queries):
        raise RetrieveError(
            f"Some kept trials must be held out ({', '.join(QUERY_SPLITS)}); of {len(trials)} "
            "trials none is. Mend the params of preprocess."
        )
    return queries


def _predict(
    model: Encoder, epochs: Path, queries: pa.Table, batch_size: int
) -> tuple[Float32[np.ndarray, "n_trials n_kinds dim"], Float32[np.ndarray, "n_trials dim"] | None]:
    """Predict the vectors of every query, reading the EEG batch by batch; None without an image head."""
    batches, images = [], []
    for start in range(0, len(queries), batch_size):
        batch = queries.slice(start, batch_size)
        eeg, info = read_epochs(epochs, batch["trial_id"].to_pylist())
        if info.channels != tuple(model.channels):
            raise RetrieveError(
                f"The EEG must have the {len(model.channels)} channels that the encoder was trained "
                f"on, in their order; {epochs} has {len(info.channels)} others. "
                "Run `dvc repro train`."
            )
        subjects = batch["subject"].to_pylist()
        batches.append(model.predict(eeg, subjects))
        images.append(model.predict_images(eeg, subjects))
    predicted = np.concatenate(batches).astype(np.float32, copy=False)
    seen = [part for part in images if part is not None]
    return predicted, np.concatenate(seen) if seen else None


def _predictions(
    trial_ids: pa.ChunkedArray,
    kinds: Sequence[str],
    predicted: Float32[np.ndarray, "n_trials n_kinds dim"],
) -> pa.Table:
    """Return one row per trial and kind."""
    n_trials, n_kinds, dim = predicted.shape
    keys = {
        "trial_id": trial_ids.take(pa.array(np.repeat(np.arange(n_trials), n_kinds))),
        "kind": pa.array(kinds).take(pa.array(np.tile(np.arange(n_kinds), n_trials))),
    }
    return vectors_to_table(keys, predicted.reshape(-1, dim))


def _answers(trial_ids: pa.ChunkedArray, gallery: Gallery, queries: Vectors, k: int) -> pa.Table:
    """Return one row per trial and rank."""
    caption_ids, cosines = gallery.nearest(queries, k)
    n_trials = len(trial_ids)
    return pa.table(
        {
            "trial_id": trial_ids.take(pa.array(np.repeat(np.arange(n_trials), k))),
            "gallery": pa.repeat(gallery.name, n_trials * k),
            "kind": pa.repeat(gallery.kind, n_trials * k),
            "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n_trials),
            "caption_id": caption_ids,
            "cosine": cosines.ravel(),
        }
    )
