"""Embed texts and pictures with a frozen CLIP, each of them once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks._errors import PerceptError
from tasks._map import Map, on_gpu
from tasks.artifacts.pictures import read_picture
from tasks.clip.model import load_clip
from tasks.clip.vectors import VectorCache, Vectors

logger = logging.getLogger(__name__)

Pieces = Sequence[tuple[str, str]]
"""Keys in the cache, each with a text or with the path of a picture."""


class EmbedError(PerceptError):
    """Vectors that were made cannot be read."""


def embed_missing(
    pieces: Pieces, work: Callable[[Pieces], None], folder: Path, shard_size: int, map: Map
) -> tuple[Vectors, int]:
    """Return the vector of every piece, embedding only what the cache lacks.

    Parameters
    ----------
    pieces : Pieces
        What to embed; the same key may come often.
    work : Callable[[Pieces], None]
        Embeds a shard into the cache.
    folder : Path
        The cache.
    shard_size : int
        Pieces per shard.
    map : Map
        Runs the shards.

    Returns
    -------
    vectors : Vectors
        Shape (n_pieces, dim), in the order of the pieces.
    n_embedded : int
        How many distinct ones were not in the cache.

    Raises
    ------
    EmbedError
        If a vector cannot be read after it was written.
    """
    keys = [key for key, _ in pieces]
    vectors, found = VectorCache(folder).read(keys)
    missing = {key: piece for (key, piece), there in zip(pieces, found, strict=True) if not there}
    if missing:
        # Neighbours of one length need little padding.
        ordered = sorted(missing.items(), key=lambda piece: (len(piece[1]), piece))
        map(work, list(_split(ordered, shard_size)))
        vectors, found = VectorCache(folder).read(keys)
    logger.info("%d of %d %s embedded.", len(missing), len(set(keys)), folder.name)
    if not found.all():
        raise EmbedError(
            f"Each vector must be readable once it is written; {int((~found).sum())} in {folder} "
            "are not. Check the disk, then run `dvc repro embed`."
        )
    return vectors, len(missing)


@on_gpu
def embed_texts(pieces: Pieces, *, source: str, folder: Path, batch_size: int) -> None:
    """Embed texts into a cache, batch by batch.

    Parameters
    ----------
    pieces : Pieces
        Keys and texts.
    source : str
        What `tasks.clip.model.load_clip` loads.
    folder : Path
        The cache.
    batch_size : int
        Texts at once; a kill loses no more.
    """
    model = load_clip(source)
    for batch in _split(pieces, batch_size):
        vectors = model.encode_texts([text for _, text in batch])
        VectorCache(folder).write([key for key, _ in batch], vectors)


@on_gpu
def embed_images(pieces: Pieces, *, source: str, folder: Path, batch_size: int) -> None:
    """Embed pictures into a cache, batch by batch.

    Parameters
    ----------
    pieces : Pieces
        SHA-256 of the pictures' bytes, and their paths.
    source : str
        What `tasks.clip.model.load_clip` loads.
    folder : Path
        The cache.
    batch_size : int
        Pictures at once; a kill loses no more.
    """
    model = load_clip(source)
    for batch in _split(pieces, batch_size):
        pictures = [read_picture(Path(path), key)[1].convert("RGB") for key, path in batch]
        VectorCache(folder).write([key for key, _ in batch], model.encode_images(pictures))


def _split(pieces: Pieces, size: int) -> Iterator[Pieces]:
    return (pieces[start : start + size] for start in range(0, len(pieces), size))
