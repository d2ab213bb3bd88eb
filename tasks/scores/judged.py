"""Pictures with what a judge sees in them, beside what is known of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int
from PIL import Image

from tasks.artifacts.contracts.judgements import JUDGEMENTS
from tasks.artifacts.pictures import open_rgb
from tasks.artifacts.tables import empty_table
from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import Vectors
from tasks.simulation.judge import Judge, Judgement

SAME_SPACE_COSINE = 0.99
"""Above this, two vectors of one picture differ by arithmetic alone."""
CONCEPT = "concept"
CHUNK = 256
"""Pictures held in memory at once."""


@dataclass(frozen=True)
class Pictures:
    """Pictures with what a classifier sees in them and where they lie in the CLIP space.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per picture, with stimulus_id and split; of renders also trial_id, condition, sample.
    vectors : Float[np.ndarray, "n dim"]
        Unit-norm CLIP image vectors.
    judgement : Judgement
        Of the judge.
    """

    rows: pd.DataFrame
    vectors: Vectors
    judgement: Judgement

    def where(self, **values: object) -> Pictures:
        """Return the pictures whose rows have these values."""
        chosen = np.ones(len(self.rows), bool)
        for column, value in values.items():
            chosen &= (self.rows[column] == value).to_numpy()
        return self.take(np.flatnonzero(chosen))

    def take(self, indices: Int[np.ndarray, " n"]) -> Pictures:
        """Return the pictures at these places."""
        labels = {
            factor: tuple(values[index] for index in indices)
            for factor, values in self.judgement.labels.items()
        }
        probabilities = {f: p[indices] for f, p in self.judgement.probabilities.items()}
        rows = self.rows.iloc[indices].reset_index(drop=True)
        return Pictures(rows, self.vectors[indices], Judgement(labels, probabilities))


def encode(paths: Sequence[str], encoder: Callable[[Sequence[Image.Image]], Vectors]) -> Vectors:
    """Return the vector of each picture, a chunk at a time."""
    return np.concatenate([encoder(images) for images in _in_chunks(paths)])


def judge_all(paths: Sequence[str], judge: Judge) -> Judgement:
    """Return what a judge sees in each picture, a chunk at a time."""
    seen = [judge.predict(images) for images in _in_chunks(paths)]
    return Judgement(
        {factor: tuple(v for j in seen for v in j.labels[factor]) for factor in judge.vocabulary},
        {
            factor: np.concatenate([j.probabilities[factor] for j in seen])
            for factor in judge.vocabulary
        },
    )


def _in_chunks(paths: Sequence[str]) -> Iterator[list[Image.Image]]:
    for start in range(0, len(paths), CHUNK):
        yield [open_rgb(Path(path)) for path in paths[start : start + CHUNK]]


def require_same_space(embedded: Vectors, encoded: Vectors) -> None:
    """Refuse vectors of stimuli and renders that come from different models.

    Parameters
    ----------
    embedded, encoded : Float[np.ndarray, "dim"]
        Vectors of one picture, as it was embedded and as it is encoded here.

    Raises
    ------
    PerceptError
        If they differ.
    """
    cosine = float(embedded @ encoded) if embedded.shape == encoded.shape else 0.0
    if cosine < SAME_SPACE_COSINE:
        raise PerceptError(
            "`evaluate.model` must be the model that embedded the stimuli; its vector of the first "
            f"stimulus has cosine {cosine:.3f} with the embedded one. Set it to `embed.model`."
        )


def true_factors(
    stimuli: pd.DataFrame, vocabulary: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, str]]:
    """Return what each stimulus shows, for the factors that the judge can name and truth tells.

    The concept is in the table; other factors are known where a JSON file lies beside each picture.

    Parameters
    ----------
    stimuli : pandas.DataFrame
        Columns stimulus_id, concept, image_path.
    vocabulary : Mapping[str, Sequence[str]]
        Factor to the values that the judge knows.

    Returns
    -------
    dict
        Factor to stimulus_id to value.
    """
    ids = stimuli["stimulus_id"].tolist()
    found = {CONCEPT: dict(zip(ids, stimuli["concept"], strict=True))}
    notes = [Path(path).with_suffix(".json") for path in stimuli["image_path"]]
    if all(note.is_file() for note in notes):
        scenes = [json.loads(note.read_text()) for note in notes]
        for factor in set(vocabulary) - {CONCEPT}:
            found[factor] = {i: scene.get(factor) for i, scene in zip(ids, scenes, strict=True)}
    return {
        factor: found[factor]
        for factor in vocabulary
        if factor in found and set(found[factor].values()) <= set(vocabulary[factor])
    }


def judgement_table(renders: Pictures, truth: Mapping[str, Mapping[str, str]]) -> pa.Table:
    """Return what the judge sees in each render, by factor, beside what the stimulus showed."""
    rows = renders.rows[["trial_id", "condition", "sample"]]
    parts = [
        rows.assign(
            factor=factor,
            judged=list(renders.judgement.labels[factor]),
            actual=[shown[stimulus] for stimulus in renders.rows["stimulus_id"]],
            probability=renders.judgement.probabilities[factor].max(axis=1),
        )
        for factor, shown in truth.items()
    ]
    if not parts:
        return empty_table(JUDGEMENTS)
    return pa.Table.from_pandas(pd.concat(parts), preserve_index=False)
