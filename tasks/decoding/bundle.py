"""An encoder that can be handed on: its weights, its preprocessing, the captions it answers with, a model card.

The folder has the layout of a model on the Hugging Face hub: safetensors and JSON, with a README whose head the hub
reads. Nothing in it is code, and each file's SHA-256 is told, so that what was altered or lost on the way is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.numpy import load_file, save

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score, read_scores
from tasks.artifacts.splits import TEST, VALIDATION, ZERO_SHOT
from tasks.artifacts.tables import read_table
from tasks.clip.galleries import build_galleries
from tasks.clip.search import top_k
from tasks.clip.vectors import Vectors, table_to_vectors
from tasks.decoding.calibration import Calibration, calibrate, evidence_of
from tasks.decoding.card import model_card
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.epochs import EpochsInfo, read_epochs
from tasks.encoder.checkpoints import DESCRIPTION, WEIGHTS, Encoder, load_encoder
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of, write_bytes, write_json, write_text

FORMAT = 1
CONFIG, GALLERY, CHECKSUMS, CARD = (
    "config.json",
    "gallery.safetensors",
    "checksums.json",
    "README.md",
)
FILES = (CONFIG, WEIGHTS, DESCRIPTION, GALLERY, CARD)
SAYS_THE_SAME = 0.95
"""Captions at least this similar say the same, as for the scores that forgive near duplicates."""


class BundleError(PerceptError):
    """A folder is no encoder that can be used here, or a study has none to hand on."""


class Config(BaseModel):
    """What decoding must know beside the encoder itself.

    Attributes
    ----------
    format : int
        Of the folder; a newer one is refused.
    percept : str
        Version that wrote it.
    preprocess : CleaningParams
        Every step from a raw recording to its epochs.
    sfreq_hz, tmin_s, unit : float, float, str
        Of the epochs.
    captions : dict
        Kind to the distinct captions of training pictures, in the order of their vectors.
    calibration : dict
        Kind to what turns cosines into a confidence; None where there were too few validation trials.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    percept: str
    preprocess: CleaningParams
    sfreq_hz: float
    tmin_s: float
    unit: str
    captions: dict[str, list[str]]
    calibration: dict[str, Calibration | None]


@dataclass(frozen=True)
class Bundle:
    """An encoder with all that decoding takes.

    Attributes
    ----------
    encoder : Encoder
        The trained encoder.
    config : Config
        Preprocessing, captions and calibration.
    vectors : Mapping[str, Vectors]
        Kind to the unit vectors of its captions.
    """

    encoder: Encoder
    config: Config
    vectors: Mapping[str, Vectors]


def export_bundle(artifacts: Artifacts, preprocess: Mapping[str, Any], folder: Path) -> Config:
    """Write the encoder of a finished study into a new folder.

    Parameters
    ----------
    artifacts : Artifacts
        Of the study, up to `retrieve`.
    preprocess : Mapping[str, Any]
        Section `preprocess` of params.yaml.
    folder : Path
        Where the files go; must not exist, or be empty.

    Raises
    ------
    BundleError
        If the folder is not empty, or the encoder reads what a new recording does not have.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BundleError(f"{folder} must be new or empty; it holds files. Name another folder.")
    cleaning = _cleaning(preprocess)
    encoder = load_encoder(artifacts.encoder)
    trials = read_table(artifacts.trials, TRIALS)
    captions, texts = _tables(artifacts)
    candidates = _candidates(trials, captions, texts, encoder.kinds)
    info = _info(artifacts, trials)
    config = Config(
        format=FORMAT,
        percept=version("percept"),
        preprocess=cleaning,
        sfreq_hz=info.sfreq_hz,
        tmin_s=info.tmin_s,
        unit=info.unit,
        captions={kind: said for kind, (said, _) in candidates.items()},
        calibration=_calibrations(artifacts, trials, captions, texts, candidates),
    )
    for name in (WEIGHTS, DESCRIPTION):
        write_bytes(folder / name, (artifacts.encoder / name).read_bytes())
    write_bytes(folder / GALLERY, save({kind: found for kind, (_, found) in candidates.items()}))
    write_text(folder / CONFIG, config.model_dump_json(indent=1) + "\n")
    scores: dict[str, Score] = {}
    if artifacts.evaluate_metrics.exists():
        scores = read_scores(artifacts.evaluate_metrics)
    write_text(folder / CARD, model_card(config.model_dump(), encoder.description, scores))
    write_json(folder / CHECKSUMS, {name: sha256_of(folder / name) for name in FILES})
    return config


def load_bundle(folder: Path) -> Bundle:
    """Load what `export_bundle` wrote.

    Raises
    ------
    BundleError
        If a file is missing or altered, or a newer version wrote them.
    """
    missing = [name for name in (*FILES, CHECKSUMS) if not (folder / name).is_file()]
    if missing:
        raise BundleError(
            f"{folder} must hold an encoder that was exported; {', '.join(missing)} is missing. "
            "Write one with `percept export FOLDER` in a finished study, or copy the folder again."
        )
    try:
        told = json.loads((folder / CHECKSUMS).read_bytes())
        written = (folder / CONFIG).read_bytes()
        content = json.loads(written)
    except ValueError as error:
        raise BundleError(f"{folder} must hold whole files; {error}. Copy it again.") from error
    if isinstance(content, dict) and content.get("format", 0) > FORMAT:
        raise BundleError(
            f"{folder} must be of format {FORMAT} at most; it is of format {content['format']}, written by version "
            f"{content.get('percept')}. Update Percept."
        )
    altered = [name for name in FILES if told.get(name) != sha256_of(folder / name)]
    if altered:
        raise BundleError(
            f"{folder} must be as it was exported; {', '.join(altered)} was altered or damaged. Copy it again."
        )
    try:
        config = Config.model_validate_json(written)
    except ValidationError as error:
        raise BundleError(
            f"{folder / CONFIG} must describe an encoder; {error.error_count()} of its parts do not. Export it again."
        ) from error
    return Bundle(load_encoder(folder), config, load_file(folder / GALLERY))


def _cleaning(preprocess: Mapping[str, Any]) -> CleaningParams:
    """Return the steps that a new recording goes through, too."""
    if preprocess.get("whitening") is not None:
        raise BundleError(
            "preprocess.whitening must be null for an encoder that is handed on: it is fitted on the training trials of each "
            "session, and a new recording has none. Train with whitening: null."
        )
    steps = CleaningParams.model_fields
    return CleaningParams.model_validate({k: v for k, v in preprocess.items() if k in steps})


def _tables(artifacts: Artifacts) -> tuple[pa.Table, pa.Table]:
    captions = read_table(artifacts.captions, CAPTIONS)
    return captions, read_table(artifacts.text_vectors, TEXT_VECTORS)


def _info(artifacts: Artifacts, trials: pa.Table) -> EpochsInfo:
    kept = trials.filter(trials["kept"])
    return read_epochs(artifacts.epochs, kept["trial_id"].slice(0, 1).to_pylist())[1]


def _candidates(
    trials: pa.Table, captions: pa.Table, texts: pa.Table, kinds: tuple[str, ...]
) -> dict[str, tuple[list[str], Vectors]]:
    """Return the distinct captions of training pictures and their vectors, by kind, in the order of `retrieve`."""
    said = dict(zip(captions["caption_id"].to_pylist(), captions["text"].to_pylist(), strict=True))
    found = {}
    for gallery in build_galleries(trials, captions, texts, kinds, ("train",)):
        rows: dict[str, int] = {}
        for row, caption_id in enumerate(gallery.caption_ids.to_pylist()):
            rows.setdefault(said[caption_id], row)
        found[gallery.kind] = list(rows), gallery.vectors[list(rows.values())]
    return found


def _calibrations(
    artifacts: Artifacts,
    trials: pa.Table,
    captions: pa.Table,
    texts: pa.Table,
    candidates: Mapping[str, tuple[list[str], Vectors]],
) -> dict[str, Calibration | None]:
    predictions = read_table(artifacts.predictions, PREDICTIONS)
    split = dict(zip(trials["trial_id"].to_pylist(), trials["split"].to_pylist(), strict=True))
    stimulus = dict(
        zip(trials["trial_id"].to_pylist(), trials["stimulus_id"].to_pylist(), strict=True)
    )
    vectors = table_to_vectors(texts)
    row_of = {name: row for row, name in enumerate(texts["caption_id"].to_pylist())}
    own_row = {
        (row["stimulus_id"], row["kind"]): row_of[row["caption_id"]]
        for row in captions.select(["stimulus_id", "kind", "caption_id"]).to_pylist()
    }
    found: dict[str, Calibration | None] = {}
    for kind, (_, gallery) in candidates.items():
        own = predictions.filter(pc.equal(predictions["kind"], kind))
        ids = own["trial_id"].to_pylist()
        predicted = table_to_vectors(own)
        known = np.array([(stimulus[name], kind) in own_row for name in ids], bool)
        parts = []
        for part in (VALIDATION, TEST, ZERO_SHOT):
            rows = np.flatnonzero(known & [split[name] == part for name in ids])
            true = vectors[[own_row[stimulus[ids[row]], kind] for row in rows]]
            nearest, _ = top_k(predicted[rows], gallery, 1)
            right = (true * gallery[nearest[:, 0]]).sum(axis=1) >= SAYS_THE_SAME
            parts.append((evidence_of(predicted[rows], gallery), np.asarray(right, bool)))
        found[kind] = calibrate(*parts) if len(gallery) > 1 else None
    return found
