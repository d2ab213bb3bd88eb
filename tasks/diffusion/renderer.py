"""Render conditionings with a frozen diffusers pipeline from a local folder."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image, DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from tasks.diffusion.folder import read_json, require_text_to_image, weights_variant
from tasks.diffusion.hardware import dtype_of, lay_out
from tasks.diffusion.prompt_embeddings import Embedding, PromptEncoder
from tasks.diffusion.settings import Adapter, Request, Settings
from tasks.runtime.device import compute_device
from tasks.runtime.errors import PerceptError


class Drawn(NamedTuple):
    """A picture, and whether the safety checker blackened it."""

    image: Image.Image
    flagged: bool


class Renderer:
    """A frozen text-to-image pipeline: a picture depends on its request alone, not on its batch.

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        Stable Diffusion of any kind, Flux, or another pipeline that takes prompt embeddings.
    """

    def __init__(self, pipeline: DiffusionPipeline, settings: Settings) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.device = pipeline.device
        self.prompts = PromptEncoder(pipeline)
        self.taken = inspect.signature(pipeline.__call__).parameters
        self.max_batch: int | None = None
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False)
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, folder: Path, settings: Settings) -> Renderer:
        """Load a pipeline from its folder, never from the network.

        Parameters
        ----------
        folder : pathlib.Path
            What ``save_pretrained`` wrote, or a snapshot of the hub.

        Raises
        ------
        PerceptError
            If the pipeline draws no pictures from text, a part of it is missing or damaged, or the
            adapter does not fit it.
        """
        require_text_to_image(folder)
        disable_progress_bar()
        transformers_logging.disable_progress_bar()
        device = compute_device()
        parts = read_json(folder / "model_index.json")
        without = {n for n, part in parts.items() if isinstance(part, list) and part[0] is None}
        if "safety_checker" in parts and not settings.safety_checker:
            without.add("safety_checker")
        try:
            pipeline = AutoPipelineForText2Image.from_pretrained(
                str(folder),
                local_files_only=True,
                dtype=dtype_of(settings.precision, device),
                variant=weights_variant(folder),
                **dict.fromkeys(without),
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise PerceptError(
                f"The diffusion pipeline in {folder} must be whole; a part cannot be loaded ({error}). "
                "Get it anew."
            ) from error
        if settings.safety_checker and getattr(pipeline, "safety_checker", None) is None:
            raise PerceptError(
                f"`render.safety_checker` needs a pipeline with a safety checker; {folder} has none. "
                "Set it to false, or choose another model."
            )
        if settings.adapter is not None:
            _add_adapter(pipeline, settings.adapter, folder)
        lay_out(pipeline, device, compiled=settings.compiled)
        return cls(pipeline, settings)

    def render(self, requests: Sequence[Request]) -> list[Drawn]:
        """Render one picture per request, in batches of those that may be drawn together.

        Parameters
        ----------
        requests : Sequence[Request]
            In any order.
        """
        drawn: dict[int, Drawn] = {}
        for part in self.parts(requests):
            chosen = [requests[index] for index in part]
            drawn |= dict(zip(part, self.finish(self.denoise(chosen)), strict=True))
        return [drawn[index] for index in range(len(requests))]

    def parts(self, requests: Sequence[Request]) -> list[list[int]]:
        """Group requests that may be drawn together: of one guidance and one length of prompt.

        Parameters
        ----------
        requests : Sequence[Request]
            In any order.
        """
        groups: dict[tuple[float, int], list[int]] = {}
        for index, (conditioning, _) in enumerate(requests):
            key = conditioning.guidance_scale, self.prompts.n_pieces(conditioning.mix)
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    @torch.inference_mode()
    def denoise(self, requests: Sequence[Request]) -> Float[Tensor, "n ..."]:
        """Return the latents of pictures that may be drawn together.

        Parameters
        ----------
        requests : Sequence[Request]
            One part of `parts`.
        """
        mixes = [conditioning.mix for conditioning, _ in requests]
        n_pieces = max(self.prompts.n_pieces(mix) for mix in mixes)
        guidance = requests[0].conditioning.guidance_scale
        embedded = [self.prompts.embed(mix, n_pieces) for mix in mixes]
        inputs: dict[str, Any] = _batched(embedded, "prompt_embeds", "pooled_prompt_embeds")
        if guidance > 1 and "true_cfg_scale" not in self.taken:
            away = self.prompts.negative(self.settings.negative_prompt, n_pieces)
            names = "negative_prompt_embeds", "negative_pooled_prompt_embeds"
            inputs |= _batched([away] * len(requests), *names)
        inputs = {name: value for name, value in inputs.items() if name in self.taken}
        if self.settings.adapter is not None:
            images = torch.tensor([conditioning.image for conditioning, _ in requests])
            inputs["ip_adapter_image_embeds"] = [images[:, None].to(self.device)]
        if self.settings.size_px:
            inputs |= {"height": self.settings.size_px, "width": self.settings.size_px}
        latents: Tensor = self.pipeline(
            **inputs,
            generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in requests],
            num_inference_steps=self.settings.n_steps,
            guidance_scale=guidance,
            output_type="latent",
        ).images
        return latents

    @torch.inference_mode()
    def finish(self, latents: Float[Tensor, "n ..."]) -> list[Drawn]:
        """Decode latents and let the safety checker look at the pictures.

        Parameters
        ----------
        latents : Float[Tensor, "n ..."]
            From `denoise`.

        Raises
        ------
        PerceptError
            If a picture has no content because numbers overflowed.
        """
        pixels = self.decode(latents)
        if not torch.isfinite(pixels).all():
            raise PerceptError(
                f"Pictures must be finite; in {self.pipeline.vae.dtype} some are not: numbers "
                "overflowed. Set `render.precision` to bfloat16 or float32."
            )
        checker = getattr(self.pipeline, "safety_checker", None)
        processor = self.pipeline.image_processor
        images: list[Image.Image] = processor.postprocess(pixels, output_type="pil")
        if checker is None:
            return [Drawn(image, flagged=False) for image in images]
        seen = self.pipeline.feature_extractor(images, return_tensors="pt").pixel_values
        arrays = np.stack([np.asarray(image, np.float32) / 255 for image in images])
        _, flags = checker(images=arrays, clip_input=seen.to(checker.device, checker.dtype))
        black = Image.new("RGB", images[0].size)
        return [Drawn(black if f else i, bool(f)) for i, f in zip(images, flags, strict=True)]

    def decode(self, latents: Float[Tensor, "n ..."]) -> Float[Tensor, "n 3 height width"]:
        """Decode latents as the pipeline itself would."""
        pipeline, config = self.pipeline, self.pipeline.vae.config
        if hasattr(pipeline, "_unpack_latents"):
            size = self.settings.size_px or pipeline.default_sample_size * pipeline.vae_scale_factor
            latents = pipeline._unpack_latents(latents, size, size, pipeline.vae_scale_factor)
        latents = latents.to(pipeline.vae.dtype)
        mean, deviation = (getattr(config, n, None) for n in ("latents_mean", "latents_std"))
        latents = latents / config.scaling_factor
        if mean is not None and deviation is not None:
            scale, shift = (
                torch.tensor(v).to(latents).view(1, -1, 1, 1) for v in (deviation, mean)
            )
            latents = latents * scale + shift
        latents = latents + (getattr(config, "shift_factor", None) or 0.0)
        decoded: Tensor = pipeline.vae.decode(latents, return_dict=False)[0]
        return decoded.float()


def _add_adapter(pipeline: DiffusionPipeline, adapter: Adapter, folder: Path) -> None:
    """Load an IP-Adapter into the denoiser."""
    try:
        pipeline.load_ip_adapter(
            str(adapter.path.parent),
            subfolder="",
            weight_name=adapter.path.name,
            image_encoder_folder=None,
            local_files_only=True,
        )
    except (KeyError, ValueError, RuntimeError) as error:
        raise PerceptError(
            f"An IP-Adapter must have weights for each layer of the generator that attends to words; "
            f"{adapter.path} does not fit {folder} ({error}). Choose the adapter of this model."
        ) from error
    pipeline.set_ip_adapter_scale(adapter.scale)
    pipeline.prepare_ip_adapter_image_embeds = _one_image_each


def _one_image_each(
    image: None,  # noqa: ARG001 - what diffusers calls this with
    embeddings: Sequence[Float[Tensor, "n 1 dim"]],
    device: torch.device,  # noqa: ARG001
    n_pictures: int,  # noqa: ARG001
    guided: bool,
) -> list[Float[Tensor, "rows 1 dim"]]:
    """Give each picture of a batch its own image, with guidance after as many zeros.

    In the place of a method of diffusers that shows all images of a batch to each of its pictures.
    """
    if not guided:
        return list(embeddings)
    return [torch.cat([torch.zeros_like(own), own]) for own in embeddings]


def _batched(embeddings: Sequence[Embedding], states: str, pooled: str) -> dict[str, Tensor]:
    found = {states: torch.stack([e.states for e in embeddings])}
    vectors = [e.pooled for e in embeddings if e.pooled is not None]
    return found | ({pooled: torch.stack(vectors)} if vectors else {})
