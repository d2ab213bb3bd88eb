"""Render prompts with a frozen diffusers pipeline from a local folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers.utils import logging as transformers_logging

from tasks._errors import PerceptError

INDEX_NAME = "model_index.json"
_BATCH_SIZE = 64


class Renderer:
    """A frozen text-to-image pipeline.

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        A pipeline in the layout of Stable Diffusion, without a safety checker: a checker replaces
        pictures by black ones, which would falsify every score.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, folder: Path) -> Renderer:
        """Load a pipeline from its folder, never from the network.

        Parameters
        ----------
        folder : pathlib.Path
            What ``save_pretrained`` wrote.

        Raises
        ------
        PerceptError
            If the folder or one of the pipeline's parts is missing.
        """
        _require(folder)
        disable_progress_bar()
        transformers_logging.disable_progress_bar()
        device = _device()
        dtype = torch.float32 if device.type == "cpu" else torch.float16
        pipeline = AutoPipelineForText2Image.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, safety_checker=None
        )
        return cls(pipeline.to(device))

    @torch.inference_mode()
    def render(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        n_steps: int,
        guidance_scale: float,
    ) -> list[Image.Image]:
        """Render one picture per prompt, at the pipeline's own size.

        A picture depends on its own prompt and seed alone, not on its batch.

        Parameters
        ----------
        prompts : Sequence[str]
            What to show; each different prompt is encoded once.
        seeds : Sequence[int]
            One seed per picture.
        n_steps : int
            Denoising steps.
        guidance_scale : float
            Classifier-free guidance scale; 1 switches it off.

        Raises
        ------
        PerceptError
            If there are not as many seeds as prompts.
        """
        if len(prompts) != len(seeds):
            raise PerceptError(
                f"Each picture needs a prompt and a seed; found {len(prompts)} prompts and "
                f"{len(seeds)} seeds. Give one seed per prompt."
            )
        vectors, empty = self._encode(sorted(set(prompts)))
        pictures: list[Image.Image] = []
        for start in range(0, len(prompts), _BATCH_SIZE):
            chosen = [vectors[prompt] for prompt in prompts[start : start + _BATCH_SIZE]]
            pictures += self.pipeline(
                prompt_embeds=torch.stack(chosen),
                negative_prompt_embeds=empty.expand(len(chosen), -1, -1),
                generator=[
                    torch.Generator("cpu").manual_seed(seed)
                    for seed in seeds[start : start + _BATCH_SIZE]
                ],
                num_inference_steps=n_steps,
                guidance_scale=guidance_scale,
            ).images
        return pictures

    def _encode(
        self, prompts: Sequence[str]
    ) -> tuple[dict[str, Float[Tensor, "length width"]], Float[Tensor, "1 length width"]]:
        vectors: dict[str, Tensor] = {}
        for start in range(0, len(prompts), _BATCH_SIZE):
            batch = list(prompts[start : start + _BATCH_SIZE])
            encoded, _ = self.pipeline.encode_prompt(
                batch, self.pipeline.device, 1, do_classifier_free_guidance=False
            )
            vectors |= dict(zip(batch, encoded, strict=True))
        empty, _ = self.pipeline.encode_prompt(
            [""], self.pipeline.device, 1, do_classifier_free_guidance=False
        )
        return vectors, empty


def _device() -> torch.device:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(os.environ.get("PERCEPT_DEVICE", found))


def _require(folder: Path) -> None:
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    needed = [folder / INDEX_NAME, *(folder / part for part in parts)]
    for path in needed:
        if not path.exists():
            raise PerceptError(
                f"The generator in {folder} needs {path.name}; it is missing. "
                "Run `percept pretrain` or point the param at a diffusers folder."
            )
