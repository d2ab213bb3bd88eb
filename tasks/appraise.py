"""Hold the captions against their pictures, each other, people's captions and people's verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from tasks._map import Map
from tasks._params import Params
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.files import write_text
from tasks.artifacts.metrics import Score, read_scores, write_scores
from tasks.artifacts.tables import read_table
from tasks.clip.embedding import Embedder
from tasks.clip.model import Precision
from tasks.clip.vectors import Vectors, table_to_vectors
from tasks.language.appraisal import (
    distinct_score,
    hallucinations,
    human_scores,
    likeness_scores,
    review_scores,
)
from tasks.language.captioners.base import Stimulus
from tasks.language.human import HumanCaptions, read_human_captions, study_file
from tasks.language.likeness import Draw, clip_scores
from tasks.language.review import read_review

SUSPECTS = "suspected_hallucinations.csv"


class AppraiseParams(Params):
    """What captions are held against, and how scores are drawn.

    Attributes
    ----------
    model : str
        CLIP that embeds human captions: the same as embed.model.
    precision : {"float32", "float16"}
        Of the vectors: the same as embed.precision.
    batch_size, shard_size : int
        Human captions embedded at once, and worth a worker.
    human_file, review_file : str or None
        Human captions and a filled-in review sheet in the study's folder; None: there are none.
    max_pictures : int
        Pictures that are looked at, drawn at random if there are more.
    n_resamples : int
        Bootstrap samples of pictures behind each interval.
    confidence : float
        Share of the distribution inside an interval.
    seed : int
        Of these draws.
    """

    model: str
    precision: Precision
    batch_size: PositiveInt
    shard_size: PositiveInt
    human_file: str | None
    review_file: str | None
    max_pictures: PositiveInt
    n_resamples: PositiveInt
    confidence: PositiveFloat
    seed: NonNegativeInt


def appraise(
    stimuli: Path,
    raw: Path,
    captions: Path,
    caption_metrics: Path,
    text_vectors: Path,
    image_vectors: Path,
    clip_model: Path,
    *,
    appraise_metrics: Path,
    appraise_plots: Path,
    params: AppraiseParams,
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
    text_vectors, image_vectors : Path
        CLIP vectors of captions and pictures.
    clip_model : Path
        Folder of the shipped model.
    appraise_metrics : Path
        Scores to write.
    appraise_plots : Path
        Folder to write: the captions that name objects nothing else speaks for, as CSV.
    params : AppraiseParams
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
        scores |= _human_clip_scores(human, frame, images, draw, params, clip_model, map)
    if params.review_file and len(shown):
        path = study_file(params.review_file, _stimuli(shown)[0].image_path, raw)
        scores |= review_scores(frame, read_review(path), draw)
    write_scores(appraise_metrics, scores)
    appraise_plots.mkdir(parents=True, exist_ok=True)
    write_text(appraise_plots / SUSPECTS, suspects.to_csv(index=False, lineterminator="\n"))


def _sample(
    pictures: pd.DataFrame,
    captions: Path,
    text_vectors: Path,
    image_vectors: Path,
    params: AppraiseParams,
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
    params: AppraiseParams,
    clip_model: Path,
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
    source = f"local-dir:{clip_model}" if params.model == "shipped" else params.model
    embedder = Embedder(source, params.precision, params.batch_size, params.shard_size)
    vectors = embedder.texts([text for _, text in said], map)
    return clip_scores(vectors, images[rows], rows, "of_people", draw)


def _stimuli(pictures: pd.DataFrame) -> list[Stimulus]:
    columns = pictures[["stimulus_id", "image_path", "sha256"]].itertuples(index=False)
    return [Stimulus(name, Path(path), sha256) for name, path, sha256 in columns]
