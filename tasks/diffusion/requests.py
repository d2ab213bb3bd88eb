"""What the generator is asked for: how it draws, and one picture."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tasks.diffusion.composition import Conditioning

Precision = Literal["auto", "float32", "bfloat16", "float16"]


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
    """

    n_steps: int
    negative_prompt: str = ""
    size_px: int | None = None
    precision: Precision = "auto"
    compiled: bool = False
    safety_checker: bool = False


class Request(NamedTuple):
    """One picture to draw."""

    conditioning: Conditioning
    seed: int
