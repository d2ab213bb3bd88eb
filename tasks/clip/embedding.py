"""Embed texts and pictures with a frozen CLIP, each of them once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import open_clip
from PIL import Image

from tasks.artifacts.pictures import read_picture
from tasks.clip.cache import VECTOR_CACHE, VectorCache
from tasks.clip.model import ClipModel, Precision, load_clip
from tasks.clip.timm_model import TIMM_PREFIX, TimmModel
from tasks.clip.vectors import Vectors, text_key
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_json
from tasks.runtime.map import Map, on_gpu
from tasks.runtime.progress import counting

logger = logging.getLogger(__name__)

Pieces = Sequence[tuple[str, str]]
"""Keys in the cache, each with a text or with the path of a picture."""
Work = Callable[[Pieces], None]


class EmbedError(PerceptError):
    """Vectors that were made cannot be read."""


@dataclass(frozen=True)
class Embedder:
    """A CLIP with its cache, by name: what a worker is sent.

    Attributes
    ----------
    source : str
        What `tasks.clip.model.load_clip` loads.
    precision : Precision
        Of the vectors, on disk and in the model.
    batch_size : int
        Texts or pictures at once; a kill loses no more.
    shard_size : int
        Texts or pictures that are worth starting a worker for.
    """

    source: str
    precision: Precision
    batch_size: int
    shard_size: int

    def texts(self, texts: Sequence[str], map: Map) -> Vectors:
        """Return the vector of every text, in their order; equal texts are embedded once.

        Raises
        ------
        EmbedError
            If a vector cannot be read after it was written.
        """
        pieces = [(text_key(text), text) for text in texts]
        return self._embed(pieces, "texts", embed_texts, map)

    def of(self, source: str) -> Embedder:
        """Return the same with another model."""
        return replace(self, source=source)

    def images(
        self,
        paths: Sequence[str],
        sha256s: Sequence[str],
        map: Map,
        layer: int | None = None,
        *,
        blur_px: float = 0.0,
        tokens: Literal["mean", "cls"] = "mean",
    ) -> Vectors:
        """Return the vector of every picture, in their order; equal pictures are embedded once.

        Parameters
        ----------
        paths, sha256s : Sequence[str]
            The pictures, and the SHA-256 of their bytes.
        layer, blur_px, tokens
            As in `tasks.clip.timm_model.TimmModel.encode_images`.

        Raises
        ------
        EmbedError
            If a vector cannot be read after it was written.
        """
        pieces = list(zip(sha256s, paths, strict=True))
        sort = "images" if layer is None else f"images_layer_{layer:02d}"
        sort += (f"_blur_{blur_px:g}" if blur_px else "") + ("_cls" if tokens == "cls" else "")
        work = partial(embed_images, layer=layer, blur_px=blur_px, tokens=tokens)
        return self._embed(pieces, sort, work, map)

    def _embed(self, pieces: Pieces, sort: str, work: Callable[..., None], map: Map) -> Vectors:
        model = load_model(self.source, self.precision)
        folder = VECTOR_CACHE / model.fingerprint
        about = {
            "source": self.source,
            "precision": self.precision,
            "open_clip": open_clip.__version__,
        }
        write_json(folder / "manifest.json", about | {"fingerprint": model.fingerprint})
        cache = VectorCache(folder / sort, self.precision)
        return embed_missing(pieces, partial(work, self, cache), cache, self.shard_size, map)


def load_model(source: str, precision: Precision) -> ClipModel | TimmModel:
    """Load what turns pictures into vectors, once per process."""
    return _load_timm(source) if source.startswith(TIMM_PREFIX) else load_clip(source, precision)


@lru_cache(maxsize=1)
def _load_timm(source: str) -> TimmModel:
    return TimmModel(source)


def embed_missing(
    pieces: Pieces, work: Work, cache: VectorCache, shard_size: int, map: Map
) -> Vectors:
    """Return the vector of every piece, embedding only what the cache lacks.

    Parameters
    ----------
    pieces : Pieces
        What to embed; the same key may come often.
    work : Callable[[Pieces], None]
        Embeds a shard into the cache.
    shard_size : int
        Pieces per shard.

    Returns
    -------
    Vectors
        Shape (n_pieces, dim), in the order of the pieces.

    Raises
    ------
    EmbedError
        If a vector cannot be read after it was written.
    """
    keys = [key for key, _ in pieces]
    vectors, found = cache.read(keys)
    missing = {key: piece for (key, piece), there in zip(pieces, found, strict=True) if not there}
    if missing:
        # Neighbours of one length need little padding.
        ordered = sorted(missing.items(), key=lambda piece: (len(piece[1]), piece))
        with counting(cache.folder.name, len(missing), cache.written_since_now()):
            map(work, list(_split(ordered, shard_size)))
        cache.compact()
        vectors, found = cache.read(keys)
    logger.info("%d of %d %s embedded.", len(missing), len(set(keys)), cache.folder.name)
    if not found.all():
        raise EmbedError(
            f"Each vector must be readable once it is written; {int((~found).sum())} in "
            f"{cache.folder} are not. Check the disk, then run `dvc repro embed`."
        )
    return vectors


@on_gpu
def embed_texts(embedder: Embedder, cache: VectorCache, pieces: Pieces) -> None:
    """Embed texts into the cache, batch by batch."""
    model = load_clip(embedder.source, embedder.precision)
    for batch in _split(pieces, embedder.batch_size):
        vectors = model.encode_texts([text for _, text in batch])
        cache.write([key for key, _ in batch], vectors)


@on_gpu
def embed_images(
    embedder: Embedder,
    cache: VectorCache,
    pieces: Pieces,
    *,
    layer: int | None,
    blur_px: float,
    tokens: Literal["mean", "cls"],
) -> None:
    """Embed pictures into the cache, batch by batch, the next one being decoded meanwhile."""
    model = load_model(embedder.source, embedder.precision)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = list(_split(pieces, embedder.batch_size))
        coming = [_decode(pool, batches[0])]
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            pictures = [future.result() for future in coming.pop()]
            coming.append(_decode(pool, following))
            vectors = model.encode_images(pictures, layer, blur_px=blur_px, tokens=tokens)
            cache.write([key for key, _ in batch], vectors)


def _decode(pool: ThreadPoolExecutor, batch: Pieces) -> list[Future[Image.Image]]:
    return [pool.submit(_read, key, path) for key, path in batch]


def _read(key: str, path: str) -> Image.Image:
    return read_picture(Path(path), key)[1]


def _split(pieces: Pieces, size: int) -> Iterator[Pieces]:
    return (pieces[start : start + size] for start in range(0, len(pieces), size))
