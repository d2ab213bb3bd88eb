"""Hold the captions against their pictures, each other, people's captions and people's verdicts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.metrics import Score, read_scores, write_scores
from tasks.artifacts.tables import read_table
from tasks.clip.embedding import Embedder
from tasks.clip.model import Precision
from tasks.clip.vectors import Vectors, table_to_vectors, vectors_to_table
from tasks.encoder.checkpoints import load_encoder
from tasks.language.appraisal import (
    distinct_score,
    hallucinations,
    human_scores,
    likeness_scores,
    review_scores,
)
from tasks.language.captioners.base import Stimulus
from tasks.language.captioners.human import HumanCaptioner
from tasks.language.checks import N_MARKS
from tasks.language.human import HumanCaptions, read_human_captions, study_file
from tasks.language.likeness import Draw, clip_scores
from tasks.language.review import read_review
from tasks.language.rows import captions_to_table
from tasks.runtime.files import write_text
from tasks.runtime.map import Map
from tasks.runtime.params import Params, Shared
from tasks.scores.retrained import Recorded, Wording, human_training_scores

logger = logging.getLogger(__name__)

SUSPECTS = "suspected_hallucinations.csv"


class CheckCaptionsParams(Params):
    """What captions are held against, and how scores are drawn.

    Attributes
    ----------
    model : str
        CLIP that embeds human captions.
    precision : {"float32", "float16"}
        Of the vectors.
    batch_size, shard_size : int
        Human captions embedded at once, and worth a worker.
    human_file, review_file : str or None
        Human captions and a filled-in review sheet in the study's folder; None: there are none.
    retrain : bool
        Whether the encoder is trained a second time, on human captions, where every stimulus has some.
    max_tokens : int
        Longest human caption of that training, in CLIP's tokens.
    max_pictures : int
        Pictures that are looked at, drawn at random if there are more.
    n_resamples : int
        Bootstrap samples of pictures behind each interval.
    confidence : float
        Share of the distribution inside an interval.
    seed : int
        Of these draws.
    """

    model: Annotated[str, Shared("embed.model")]
    precision: Annotated[Precision, Shared("embed.precision")]
    batch_size: PositiveInt
    shard_size: PositiveInt
    human_file: str | None
    review_file: str | None
    retrain: bool
    max_tokens: Annotated[int, Field(gt=N_MARKS), Shared("caption.max_tokens")]
    max_pictures: PositiveInt
    n_resamples: PositiveInt
    confidence: PositiveFloat
    seed: NonNegativeInt


def check_captions(
    stimuli: Path,
    raw: Path,
    captions: Path,
    caption_metrics: Path,
    text_vectors: Path,
    image_vectors: Path,
    image_targets: Path,
    clip_model: Path,
    trials: Path,
    epochs: Path,
    encoder: Path,
    *,
    check_captions_metrics: Path,
    check_captions_plots: Path,
    params: CheckCaptionsParams,
    map: Map,
) -> None:
    """Score the captions; what can be compared with chance is.

    Parameters
    ----------
    stimuli : Path
        Table of the pictures.
    raw : Path
        Folder that holds the pictures, human captions and reviews.
    captions : Path
        Table of the captions.
    caption_metrics : Path
        Status counts of the stage `caption`; they are handed on.
    text_vectors, image_vectors, image_targets : Path
        CLIP vectors of captions and pictures.
    clip_model : Path
        Folder of the shipped model.
    trials, epochs, encoder : Path
        What the study's encoder was trained on, and its folder.
    check_captions_metrics : Path
        Scores to write.
    check_captions_plots : Path
        Folder to write: the captions that name objects nothing else speaks for, as CSV.
    params : CheckCaptionsParams
        What captions are held against.
    map : Map
        Embeds human captions.

    Raises
    ------
    CaptionFileError
        If human captions or reviews that the params name are missing or cannot be read.
    """
    draw = Draw(params.n_resamples, params.confidence, params.seed)
    pictures = read_table(stimuli, STIMULI).to_pandas()
    frame, texts, images = _sample(pictures, captions, text_vectors, image_vectors, params)
    scores = read_scores(caption_metrics) | distinct_score(frame)
    suspects = pd.DataFrame(columns=["caption_id", "text", "objects"])
    if len(set(frame["stimulus_id"])) > 1:
        scores |= likeness_scores(frame, texts, images, draw)
    shown = pictures[pictures["stimulus_id"].isin(set(frame["stimulus_id"]))]
    if params.human_file and len(shown):
        listed = _stimuli(shown)
        path = study_file(params.human_file, listed[0].image_path, raw)
        human = read_human_captions(path, listed)
        concepts = dict(zip(shown["stimulus_id"], shown["concept"], strict=True))
        chair, suspects = hallucinations(frame, human, concepts, draw)
        scores |= human_scores(frame, human, draw) | chair
        embedder = _embedder(params, clip_model)
        scores |= _human_clip_scores(human, frame, images, draw, embedder, map)
        if params.retrain:
            recorded = Recorded(trials, epochs, image_targets)
            said = Wording(read_table(captions, CAPTIONS), read_table(text_vectors, TEXT_VECTORS))
            listed = _stimuli(pictures[pictures["stimulus_id"].isin(recorded.stimuli())])
            people = _human_wording(listed, path, raw, embedder, params, map)
            if people is not None:
                own = load_encoder(encoder)
                scores |= human_training_scores(recorded, own, said, people, draw)
    if params.review_file and len(shown):
        path = study_file(params.review_file, _stimuli(shown)[0].image_path, raw)
        scores |= review_scores(frame, read_review(path), draw)
    write_scores(check_captions_metrics, scores)
    check_captions_plots.mkdir(parents=True, exist_ok=True)
    write_text(check_captions_plots / SUSPECTS, suspects.to_csv(index=False, lineterminator="\n"))


def _sample(
    pictures: pd.DataFrame,
    captions: Path,
    text_vectors: Path,
    image_vectors: Path,
    params: CheckCaptionsParams,
) -> tuple[pd.DataFrame, Vectors, Vectors]:
    """Return captions of some pictures, with the vectors of each and of its picture."""
    frame = read_table(captions, CAPTIONS).to_pandas()
    ids = np.sort(pictures["stimulus_id"].to_numpy(str))
    rng = np.random.default_rng(params.seed)
    kept = set(rng.permutation(ids)[: params.max_pictures])
    frame = frame[frame["stimulus_id"].isin(kept)].reset_index(drop=True)
    texts, images = read_table(text_vectors, TEXT_VECTORS), read_table(image_vectors, IMAGE_VECTORS)
    of_caption = {key: row for row, key in enumerate(texts["caption_id"].to_pylist())}
    of_picture = {key: row for row, key in enumerate(images["stimulus_id"].to_pylist())}
    return (
        frame,
        table_to_vectors(texts)[[of_caption[key] for key in frame["caption_id"]]],
        table_to_vectors(images)[[of_picture[key] for key in frame["stimulus_id"]]],
    )


def _human_clip_scores(
    human: HumanCaptions,
    frame: pd.DataFrame,
    images: Vectors,
    draw: Draw,
    embedder: Embedder,
    map: Map,
) -> dict[str, Score]:
    """Return CLIPScore of the human captions themselves."""
    row_of = dict(zip(frame["stimulus_id"], range(len(frame)), strict=True))
    said = [
        (row_of[key], text) for key in row_of if key in human.texts for text in human.texts[key]
    ]
    rows = np.array([row for row, _ in said])
    if len(set(rows)) < 2:
        return {}
    vectors = embedder.texts([text for _, text in said], map)
    return clip_scores(vectors, images[rows], rows, "of_people", draw)


def _human_wording(
    shown: Sequence[Stimulus],
    path: Path,
    raw: Path,
    embedder: Embedder,
    params: CheckCaptionsParams,
    map: Map,
) -> Wording | None:
    """Return what people say of every stimulus in every kind; None where they say nothing of some."""
    texts = read_human_captions(path, shown).texts
    if without := [s.stimulus_id for s in shown if s.stimulus_id not in texts]:
        logger.warning(
            "No encoder is trained on human captions: %d of %d stimuli have none in %s, the first is "
            "%s. Add them, or set check_captions.retrain: false.",
            len(without), len(shown), path, without[0],
        )  # fmt: skip
        return None
    captioner = HumanCaptioner(raw, path.name, params.max_tokens)
    table = captions_to_table(captioner.describe(shown))
    vectors = embedder.texts(table["text"].to_pylist(), map)
    return Wording(table, vectors_to_table({"caption_id": table["caption_id"]}, vectors))


def _embedder(params: CheckCaptionsParams, clip_model: Path) -> Embedder:
    source = f"local-dir:{clip_model}" if params.model == "shipped" else params.model
    return Embedder(source, params.precision, params.batch_size, params.shard_size)


def _stimuli(pictures: pd.DataFrame) -> list[Stimulus]:
    columns = pictures[["stimulus_id", "image_path", "sha256"]].itertuples(index=False)
    return [Stimulus(name, Path(path), sha256) for name, path, sha256 in columns]
