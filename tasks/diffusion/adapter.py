"""Where an IP-Adapter and its image encoder lie, and whether they fit each other and the generator.

An IP-Adapter lets a frozen generator look at an image embedding beside its words (Ye et al. 2023,
arXiv 2308.06721). Its published files are those of h94/IP-Adapter on the Hugging Face hub.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from pydantic import NonNegativeFloat
from safetensors import SafetensorError, safe_open

from tasks.diffusion.folder import denoiser_of, read_json, require_text_to_image
from tasks.diffusion.settings import Adapter
from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

SUFFIX = ".safetensors"
N_TOKENS = 4
"""Tokens that an adapter of the plain kind makes of one embedding."""
PROJECTION = "image_proj.proj.weight"
"""What adapters of the plain kind hold and the others do not."""


class ImagePromptParams(Params):
    """Whether an image embedding conditions the generator beside the words.

    Attributes
    ----------
    adapter : Path or None
        File of an IP-Adapter; None: words alone.
    scale : float
        Weight of attention to the image, beside 1 for attention to the words.
    image_encoder : Path or None
        Folder of the adapter's CLIP; None: ``image_encoder`` beside the adapter.
    """

    adapter: Path | None
    scale: NonNegativeFloat
    image_encoder: Path | None

    @property
    def loaded(self) -> Adapter | None:
        """What the generator loads."""
        return None if self.adapter is None else Adapter(self.adapter, self.scale)


def find_image_encoder(params: ImagePromptParams, pipeline: Path) -> Path | None:
    """Return the folder of the image encoder after a look at all parts; None without an adapter.

    Raises
    ------
    PerceptError
        If a part is missing, or is of another kind or width than the others.
    """
    adapter = params.adapter
    if adapter is None:
        return None
    encoder = params.image_encoder or adapter.parent / "image_encoder"
    _require_files(adapter, encoder)
    _require_pipeline(pipeline)
    n_outputs, n_inputs = _projection(adapter)
    width = _embedding_width(encoder)
    if n_inputs != width:
        raise PerceptError(
            f"An IP-Adapter needs the image encoder that it was trained with; {adapter} takes embeddings "
            f"of {n_inputs} numbers, and {encoder} makes {width}. Correct "
            "`render.image_prompt.image_encoder`."
        )
    attended = read_json(denoiser_of(pipeline) / "config.json")["cross_attention_dim"]
    if n_outputs != N_TOKENS * attended:
        raise PerceptError(
            f"An IP-Adapter must be of the generator's kind; {adapter} makes tokens of "
            f"{n_outputs // N_TOKENS} numbers, and {pipeline} attends to tokens of {attended}. Choose "
            "the adapter of this model."
        )
    return encoder


def _require_files(adapter: Path, encoder: Path) -> None:
    if adapter.suffix != SUFFIX:
        raise PerceptError(
            f"`render.image_prompt.adapter` must be a {SUFFIX} file, which can carry no code; found "
            f"{adapter}. Get it in that format."
        )
    if not adapter.is_file():
        raise PerceptError(
            f"`render.image_prompt.adapter` must exist; {adapter} does not. Get it or set the param to "
            "null."
        )
    if not (encoder / "config.json").is_file() or not any(encoder.glob(f"*{SUFFIX}")):
        raise PerceptError(
            f"An IP-Adapter needs the folder of its image encoder, with config.json and {SUFFIX} "
            f"weights; {encoder} is none. Get it, or name it in `render.image_prompt.image_encoder`."
        )


def _require_pipeline(pipeline: Path) -> None:
    import diffusers
    from diffusers.loaders import IPAdapterMixin

    require_text_to_image(pipeline)
    name = read_json(pipeline / "model_index.json")["_class_name"]
    kind = getattr(diffusers, name)
    taken = inspect.signature(kind.__call__).parameters
    if not issubclass(kind, IPAdapterMixin) or "ip_adapter_image_embeds" not in taken:
        raise PerceptError(
            f"`render.image_prompt` needs a pipeline with a UNet that takes IP-Adapters, as "
            f"StableDiffusionPipeline does; {pipeline} is a {name}. Set `render.image_prompt.adapter` "
            "to null, or choose another model."
        )


def _projection(adapter: Path) -> tuple[int, int]:
    """Return how many numbers an adapter makes of an embedding, and how many it takes."""
    try:
        with safe_open(adapter, framework="pt") as file:
            if PROJECTION not in file.keys():  # noqa: SIM118 - it is no mapping
                raise PerceptError(
                    "An IP-Adapter must be of the plain kind, which takes one embedding of the whole "
                    f"image; {adapter} holds no {PROJECTION}, so it is a plus or FaceID adapter or "
                    "another file. Choose a plain one."
                )
            n_outputs, n_inputs = file.get_slice(PROJECTION).get_shape()
    except SafetensorError as error:
        raise PerceptError(
            f"{adapter} must be a whole {SUFFIX} file; it is not ({error}). Get it anew."
        ) from error
    return n_outputs, n_inputs


def _embedding_width(encoder: Path) -> int:
    """Return the length of the embeddings of a CLIP image encoder."""
    from transformers import CLIPVisionConfig

    return int(CLIPVisionConfig.from_pretrained(encoder, local_files_only=True).projection_dim)
