"""Draws pictures in batches and keeps each one: what was drawn once is never drawn again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tasks.diffusion.folder import picture_size_px, pipeline_fingerprint, read_json
from tasks.diffusion.hardware import in_shards, largest_batch, own_share, wait_for_others
from tasks.diffusion.picture_files import require_disk, save_picture, verdict_of
from tasks.diffusion.renderer import Drawn, Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import fingerprint, write_json
from tasks.runtime.map import Map, on_gpu, with_own_bar
from tasks.runtime.progress import counting, files_there

logger = logging.getLogger(__name__)

CACHE = Path("data/cache/render")
"""Every picture ever drawn, by model, conditioning, seed and settings."""
BATCHES_PER_SHARD = 4
TOO_LARGE = (
    "One picture at a time must fit into memory; it does not. Set `render.precision` to bfloat16 or "
    "float16, lower `render.size_px`, or take a smaller model."
)


class Picture(NamedTuple):
    """One picture to draw, and where it is kept."""

    request: Request
    path: Path


class Kept(NamedTuple):
    """A picture in the cache, and whether the safety checker blackened it."""

    path: Path
    flagged: bool


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
        Pictures drawn at once, at most; it does not change a picture.
    """

    folder: Path
    settings: Settings
    batch_size: int

    def draw_all(self, requests: Sequence[Request], map: Map) -> list[Kept]:
        """Draw what the cache does not hold.

        Parameters
        ----------
        requests : Sequence[Request]
            Conditioning and seed of each picture.

        Returns
        -------
        list[Kept]
            The pictures in the cache, in the order of the requests.

        Raises
        ------
        PerceptError
            If the disk is too small for what is missing, or the folder cannot be written.
        """
        common = pipeline_fingerprint(self.folder), *self.settings.key
        pictures = [
            Picture(request, CACHE / f"{fingerprint(*common, *request.key)}.png")
            for request in requests
        ]
        missing = [p.path for p in dict.fromkeys(pictures) if verdict_of(p.path) is None]
        logger.info("%d of %d pictures are to be drawn.", len(missing), len(pictures))
        size_px = self.settings.size_px or picture_size_px(self.folder)
        require_disk(CACHE, len(missing), size_px)
        plan = CACHE / f"plan-{fingerprint([p.path.name for p in pictures])}.json"
        shards = in_shards(self._batches(pictures, plan), BATCHES_PER_SHARD)
        wait_for_others()
        with counting("pictures", len(missing), files_there(missing)):
            map(partial(draw_shard, self.folder, self.settings), own_share(shards))
            wait_for_others()
        plan.unlink(missing_ok=True)
        return [Kept(p.path, bool(verdict_of(p.path))) for p in pictures]

    def _batches(self, pictures: Sequence[Picture], plan: Path) -> list[list[Picture]]:
        """Form batches of one guidance: after an interruption those that were formed before it.

        Arithmetic differs in the last bit with the size of a batch. A batch that was cut short is
        therefore drawn again as a whole, and a resumed run ends with the bytes of an undisturbed one.
        """
        by_name = {p.path.name: p for p in pictures}
        missing = {name for name, p in by_name.items() if verdict_of(p.path) is None}
        names: list[list[str]] = read_json(plan)["batches"] if plan.exists() else []
        unfinished = [batch for batch in names if missing & set(batch)]
        if not missing <= {name for batch in unfinished for name in batch}:
            unfinished = _by_guidance(
                [by_name[n] for n in by_name if n in missing], self.batch_size
            )
            write_json(plan, {"batches": unfinished})
        return [[by_name[name] for name in batch] for batch in unfinished]


def _by_guidance(pictures: Sequence[Picture], batch_size: int) -> list[list[str]]:
    """Return the names of pictures in batches of one guidance, in their order."""
    groups: dict[float, list[str]] = {}
    for picture in pictures:
        guidance = picture.request.conditioning.guidance_scale
        groups.setdefault(guidance, []).append(picture.path.name)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]


@on_gpu
@with_own_bar
def draw_shard(folder: Path, settings: Settings, batches: Sequence[Sequence[Picture]]) -> None:
    """Draw some batches and put each one on disk while the next one is denoised.

    Batches that lie there already, of a worker that was lost with this shard, are not drawn again.
    """
    batches = [batch for batch in batches if any(verdict_of(p.path) is None for p in batch)]
    if not batches:
        return
    renderer = load_renderer(folder, settings)
    with ThreadPoolExecutor(1) as finishing:
        unfinished: Future[None] | None = None
        for batch in batches:
            for part, latents in denoise_all(renderer, batch):
                if unfinished is not None:
                    unfinished.result()
                unfinished = finishing.submit(finish, renderer, part, latents)
        if unfinished is not None:
            unfinished.result()


def denoise_all(
    renderer: Renderer, batch: Sequence[Picture]
) -> Iterator[tuple[list[Picture], Float[Tensor, "n ..."]]]:
    """Denoise a batch, in halves of halves if need be: as many pictures at once as fit into memory.

    Raises
    ------
    PerceptError
        If one picture alone does not fit.
    """
    renderer.max_batch = renderer.max_batch or _probe(renderer, batch[0])
    parts = [[batch[i] for i in part] for part in renderer.parts([p.request for p in batch])]
    while parts:
        part, size = parts.pop(0), renderer.max_batch
        if len(part) > size:
            parts[:0] = [part[start : start + size] for start in range(0, len(part), size)]
            continue
        latents = _denoise(renderer, part)
        if latents is not None:
            yield part, latents
            continue
        if len(part) == 1:
            raise PerceptError(TOO_LARGE)
        renderer.max_batch = len(part) // 2
        logger.warning("Out of memory: %d pictures at once from here on.", renderer.max_batch)
        parts.insert(0, part)


def _denoise(renderer: Renderer, part: Sequence[Picture]) -> Float[Tensor, "n ..."] | None:
    """Return latents, or None where memory does not suffice."""
    try:
        return renderer.denoise([picture.request for picture in part])
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _probe(renderer: Renderer, picture: Picture) -> int:
    """Return how many pictures may be drawn at once."""

    def draw(n_pictures: int) -> object:
        return renderer.render([picture.request] * n_pictures)

    return largest_batch(draw, renderer.device)


def finish(renderer: Renderer, part: Sequence[Picture], latents: Float[Tensor, "n ..."]) -> None:
    """Decode a batch, in halves of halves if memory asks for it, and put its pictures on disk.

    Raises
    ------
    PerceptError
        If one picture alone does not fit.
    """
    found = _decode(renderer, latents)
    if found is None:
        if len(part) == 1:
            raise PerceptError(TOO_LARGE)
        half = len(part) // 2
        finish(renderer, part[:half], latents[:half])
        finish(renderer, part[half:], latents[half:])
        return
    for picture, drawn in zip(part, found, strict=True):
        save_picture(drawn.image, picture.path, flagged=drawn.flagged)
    logger.info("%d pictures drawn.", len(part))


def _decode(renderer: Renderer, latents: Float[Tensor, "n ..."]) -> list[Drawn] | None:
    """Return pictures, or None where memory does not suffice."""
    try:
        return renderer.finish(latents)
    except torch.OutOfMemoryError:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


@lru_cache(maxsize=1)
def load_renderer(folder: Path, settings: Settings) -> Renderer:
    """Load the generator, once per process."""
    return Renderer.load(folder, settings)
