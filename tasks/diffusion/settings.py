"""What the generator is asked for: how it draws, and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from tasks.diffusion.composition import Conditioning
from tasks.runtime.files import sha256_of

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Adapter(NamedTuple):
    """An IP-Adapter, through which the generator looks at an image embedding.

    Attributes
    ----------
    path : Path
        File of its weights.
    scale : float
        Weight of attention to the image, beside 1 for attention to the words.
    """

    path: Path
    scale: float


class Settings(NamedTuple):
    """How the generator draws.

    Attributes
    ----------
    n_steps : int
        Denoising steps.
    negative_prompt : str
        What guidance leads away from.
    size_px : int or None
        Side of the pictures; None is the pipeline's own.
    precision : str
        Numbers to compute with.
    compiled : bool
        Whether the denoiser is compiled.
    safety_checker : bool
        Whether the pipeline's safety checker looks at every picture.
    adapter : Adapter or None
        What the image embedding of every request goes through; None where requests have none.
    """

    n_steps: int
    negative_prompt: str = ""
    size_px: int | None = None
    precision: Precision = "auto"
    compiled: bool = False
    safety_checker: bool = False
    adapter: Adapter | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What pictures depend on: of an adapter its content, and nothing where there is none."""
        *others, adapter = self
        return (*others,) if adapter is None else (*others, sha256_of(adapter.path), adapter.scale)


class Request(NamedTuple):
    """One picture to draw."""

    conditioning: Conditioning
    seed: int

    @property
    def key(self) -> tuple[Any, ...]:
        """What the picture depends on beside the settings; of an image nothing where there is none."""
        words, image = self.conditioning[:2], self.conditioning.image
        return (words, self.seed) if image is None else (words, self.seed, image)
