"""Embed every caption and every stimulus with a frozen CLIP."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import read_table, table_writer, write_table
from tasks.clip.embedding import Embedder
from tasks.clip.image_targets import ImageTargetParams, embed_targets
from tasks.clip.model import Precision
from tasks.clip.vectors import levels_to_table, vectors_to_table
from tasks.runtime.map import Map
from tasks.runtime.params import Params

CAPTIONS_AT_ONCE = 2**18
"""Whose vectors are held at once: 0.8 GB of 768 numbers each."""


class EmbedParams(Params):
    """Which CLIP embeds, how much at once, and how much is worth a worker.

    Attributes
    ----------
    model : str
        ``shipped``, the name of an open_clip model, or ``local-dir:`` and a folder.
    precision : Precision
        Of vectors.
    batch_size : int
        Texts or pictures at once.
    shard_size : int
        Texts or pictures that are worth starting a worker for.
    image : ImageTargetParams
        What image heads learn; see `tasks.clip.image_targets`.
    """

    model: str
    precision: Precision
    batch_size: PositiveInt
    shard_size: PositiveInt
    image: ImageTargetParams


def embed(
    stimuli: Path,
    raw: Path,
    captions: Path,
    clip_model: Path,
    *,
    text_vectors: Path,
    image_vectors: Path,
    image_targets: Path,
    params: EmbedParams,
    map: Map,
) -> None:
    """Embed every caption and every stimulus; identical texts and pictures once.

    Parameters
    ----------
    stimuli : Path
        Table of the pictures.
    raw : Path
        Folder that the pictures, and files named in `params.image`, lie in.
    captions : Path
        Table of the captions.
    clip_model : Path
        Folder of the shipped model.
    text_vectors : Path
        Table to write: one vector per caption.
    image_vectors : Path
        Table to write: one vector per stimulus, in the space of the texts.
    image_targets : Path
        Table to write: what image heads learn, per stimulus and level.
    params : EmbedParams
        Section `embed` of params.yaml.
    map : Map
        Runs the shards.
    """
    embedder = embedder_of(params, clip_model)

    rows = read_table(captions, CAPTIONS)
    with table_writer(text_vectors, TEXT_VECTORS) as write:
        for start in range(0, len(rows), CAPTIONS_AT_ONCE):
            block = rows.slice(start, CAPTIONS_AT_ONCE)
            vectors = embedder.texts(block["text"].to_pylist(), map)
            write(vectors_to_table({"caption_id": block["caption_id"]}, vectors))

    rows = read_table(stimuli, STIMULI)
    pictures = rows["image_path"].to_pylist(), rows["sha256"].to_pylist()
    vectors = embedder.images(*pictures, map)
    write_table(
        vectors_to_table({"stimulus_id": rows["stimulus_id"]}, vectors),
        image_vectors,
        IMAGE_VECTORS,
    )
    stimulus_ids = rows["stimulus_id"].to_pylist()
    levels = embed_targets(params.image, embedder, vectors, stimulus_ids, *pictures, raw, map)
    write_table(levels_to_table(stimulus_ids, levels), image_targets, IMAGE_TARGETS)


def embedder_of(params: EmbedParams, clip_model: Path) -> Embedder:
    """Return what embeds under some params; ``clip_model`` is the folder of the shipped model."""
    source = f"local-dir:{clip_model}" if params.model == "shipped" else params.model
    return Embedder(source, params.precision, params.batch_size, params.shard_size)
