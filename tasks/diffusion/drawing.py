"""Draws pictures in batches and keeps each one: what was drawn once is never drawn again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tasks._errors import PerceptError
from tasks._map import Map, on_gpu
from tasks.artifacts.files import atomic_path, fingerprint
from tasks.diffusion.folder import picture_size_px, pipeline_fingerprint
from tasks.diffusion.renderer import Renderer

logger = logging.getLogger(__name__)

CACHE = Path("data/cache/render")
"""Every picture ever drawn, by model, prompt, seed and settings."""
BYTES_PER_PIXEL = 3


class Settings(NamedTuple):
    """How the generator draws."""

    n_steps: int
    guidance_scale: float


class Picture(NamedTuple):
    """One picture to draw, and where it is kept."""

    prompt: str
    seed: int
    path: Path


@dataclass(frozen=True)
class Drawing:
    """A frozen generator with its settings.

    Attributes
    ----------
    folder : Path
        The diffusion pipeline.
    settings : Settings
        How it draws.
    batch_size : int
        Pictures drawn at once; one shard. It does not change a picture.
    """

    folder: Path
    settings: Settings
    batch_size: int

    def draw_all(self, requests: Sequence[tuple[str, int]], map: Map) -> list[Path]:
        """Draw what the cache does not hold.

        Parameters
        ----------
        requests : Sequence[tuple[str, int]]
            Prompt and seed of each picture.
        map : Map
            Runs the batches.

        Returns
        -------
        list[Path]
            The pictures in the cache, in the order of the requests.

        Raises
        ------
        PerceptError
            If the disk is too small for what is missing.
        """
        model = pipeline_fingerprint(self.folder)
        pictures = [
            Picture(prompt, seed, CACHE / f"{fingerprint(model, *self.settings, prompt, seed)}.png")
            for prompt, seed in requests
        ]
        missing = [p for p in dict.fromkeys(pictures) if not is_whole(p.path)]
        logger.info("%d of %d pictures are to be drawn.", len(missing), len(pictures))
        if missing:
            require_disk(len(missing), picture_size_px(self.folder))
        starts = range(0, len(missing), self.batch_size)
        batches = [missing[start : start + self.batch_size] for start in starts]
        map(partial(draw_batch, self.folder, self.settings), batches)
        return [picture.path for picture in pictures]


@on_gpu
def draw_batch(folder: Path, settings: Settings, batch: Sequence[Picture]) -> None:
    """Draw one batch and put each of its pictures on disk at once."""
    images = load_renderer(folder).render(
        [picture.prompt for picture in batch],
        [picture.seed for picture in batch],
        n_steps=settings.n_steps,
        guidance_scale=settings.guidance_scale,
    )
    for picture, image in zip(batch, images, strict=True):
        with atomic_path(picture.path) as unfinished:
            image.save(unfinished)
    logger.info("%d pictures drawn.", len(batch))


@lru_cache(maxsize=1)
def load_renderer(folder: Path) -> Renderer:
    """Load the generator, once per process."""
    return Renderer.load(folder)


def is_whole(path: Path) -> bool:
    """Tell whether a picture is in the cache; a damaged one counts as missing."""
    if not path.exists():
        return False
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        logger.warning("%s is damaged and will be drawn anew (%s).", path, error)
        return False
    return True


def require_disk(n_pictures: int, size_px: int) -> None:
    """Refuse to start where the pictures might not fit: uncompressed, in the cache and as copies.

    Parameters
    ----------
    n_pictures : int
        Pictures to draw.
    size_px : int
        Their side.

    Raises
    ------
    PerceptError
        If the disk has less space than that.
    """
    needed_mb = 2 * n_pictures * size_px**2 * BYTES_PER_PIXEL / 1e6
    CACHE.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(CACHE).free / 1e6
    if free_mb < needed_mb:
        raise PerceptError(
            f"{n_pictures} pictures of {size_px} px need up to {needed_mb:.1f} MB; {free_mb:.1f} MB "
            "are free. Free some or lower `render.max_trials`."
        )
