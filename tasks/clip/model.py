"""The frozen CLIP, loaded through open_clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from tasks.clip.blurring import blurred
from tasks.clip.text_tower import batches_of_one_length, encode_trimmed, ends_alone_count
from tasks.clip.weights import HUB_PREFIX, LOCAL_PREFIX, fingerprint_of, require_weights
from tasks.runtime.device import compute_device
from tasks.runtime.errors import PerceptError

Precision = Literal["float32", "float16"]
"""How exact vectors are: float16 halves the disk and, on a GPU, the arithmetic too."""

_BATCH_SIZE = 256


class ClipModel:
    """A CLIP with its tokenizer and its preprocessing, in evaluation mode.

    Parameters
    ----------
    name : str
        ``local-dir:FOLDER``, ``hf-hub:REPOSITORY`` or a model name of open_clip.
    pretrained : str or None
        For a model name only: tag or file of the weights.
    precision : Precision
        float16: under autocast where there is a GPU.

    Raises
    ------
    PerceptError
        If a file is missing or does not fit, or if a model name comes without weights: open_clip would
        silently take random ones.
    """

    def __init__(
        self, name: str, pretrained: str | None = None, precision: Precision = "float32"
    ) -> None:
        require_weights(name, pretrained)
        self.device = compute_device()
        self.precision = precision
        try:
            model = open_clip.create_model(
                name, pretrained=pretrained, device=self.device, require_pretrained=True
            )
        except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            raise PerceptError(
                f"The weights of the CLIP {name} must load in full; they do not ({reason}). Fetch "
                "them anew, or name the architecture that they belong to."
            ) from error
        self.model = model.eval().requires_grad_(False)
        self.preprocess = image_transform_v2(
            PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
        )
        self.tokenizer = open_clip.get_tokenizer(name)
        self.fingerprint = fingerprint_of(name, model, self.tokenizer, precision)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Encode texts to unit-norm vectors (float32).

        Raises
        ------
        PerceptError
            If the text tower would read the beginning of a text alone.
        """
        tokens = self._tokens(list(texts)) if texts else torch.zeros(0, 1, dtype=torch.int64)
        trim = ends_alone_count(self.model)
        lengths = tokens.argmax(dim=1).numpy() + 1 if trim else np.full(len(texts), tokens.shape[1])
        encode = self.encode_trimmed if trim else self.model.encode_text
        parts, rows = [], [np.zeros(0, np.int64)]
        for batch in batches_of_one_length(lengths):
            trimmed = tokens[torch.from_numpy(batch), : int(lengths[batch].max())]
            parts.append(self._run(encode, trimmed))
            rows.append(batch)
        vectors = self._unit(parts)
        return vectors[np.argsort(np.concatenate(rows))]

    def _tokens(self, texts: list[str]) -> Tensor:
        """Return the tokens of texts that are read whole, padded to what the text tower reads."""
        n_read = self.tokenizer.context_length
        tokens: Tensor = self.tokenizer([*texts, ""], context_length=2 * n_read)
        padding = tokens[-1, -1]
        cut = (tokens[:-1, n_read:] != padding).any(dim=1).nonzero().ravel().tolist()
        if cut:
            raise PerceptError(
                f"The CLIP must read every text whole, {n_read} tokens at most; {len(cut)} of {len(texts)} are "
                f"longer, the first is {texts[cut[0]]!r}. Set caption.max_tokens to {n_read}, or choose another "
                "embed.model."
            )
        return tokens[:-1, :n_read]

    def encode_trimmed(self, tokens: Tensor) -> Tensor:
        """Encode texts without the padding."""
        return encode_trimmed(self.model, tokens)

    @torch.inference_mode()
    def encode_images(
        self,
        pictures: Sequence[Image.Image],
        layer: int | None = None,
        *,
        blur_px: float = 0.0,
        tokens: Literal["mean", "cls"] = "mean",  # noqa: ARG002  (towers differ; all have patches)
    ) -> Float[np.ndarray, "n dim"]:
        """Encode pictures of any size to unit-norm vectors (float32).

        Parameters
        ----------
        layer : int or None
            A block of the image tower, the first being 1: the mean over its patches. None: the vector
            in the space of texts.
        blur_px : float
            Standard deviation of a Gaussian blur at the size that the tower reads.
        """
        encode = self.model.encode_image if layer is None else self._layer(layer)
        parts = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(pictures), _BATCH_SIZE):
                prepared = list(pool.map(self.preprocess, pictures[start : start + _BATCH_SIZE]))
                parts.append(self._run(encode, blurred(torch.stack(prepared), blur_px)))
        return self._unit(parts)

    def _layer(self, layer: int) -> Callable[[Tensor], Tensor]:
        """Return what encodes pictures to the mean patch after a block."""
        n_blocks = _n_blocks(self.model.visual)
        if layer > n_blocks:
            raise PerceptError(
                f"The image tower has {n_blocks} blocks; there is no block {layer}. "
                "Mend embed.image.layers."
            )

        def encode(pictures: Tensor) -> Tensor:
            found = self.model.visual.forward_intermediates(
                pictures, indices=[layer - 1], stop_early=True, intermediates_only=True
            )
            patches: Tensor = found["image_intermediates"][0]
            return patches.flatten(2).mean(dim=2)

        return encode

    def _run(self, encode: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        half = self.precision == "float16" and self.device.type == "cuda"
        with torch.autocast("cuda", torch.float16, enabled=half):
            return encode(batch.to(self.device)).float().cpu()

    def _unit(self, parts: list[Tensor]) -> Float[np.ndarray, "n dim"]:
        features = torch.cat(parts) if parts else torch.zeros(0, self.model.visual.output_dim)
        return F.normalize(features, dim=-1).numpy()


@lru_cache(maxsize=1)
def load_clip(source: str, precision: Precision = "float32") -> ClipModel:
    """Load a CLIP, once per process.

    Parameters
    ----------
    source : str
        ``local-dir:FOLDER``, ``hf-hub:REPOSITORY``, or ``NAME/PRETRAINED`` of open_clip.

    Raises
    ------
    PerceptError
        If a file or the weights are missing.
    """
    if source.startswith((LOCAL_PREFIX, HUB_PREFIX)):
        return ClipModel(source, precision=precision)
    name, _, pretrained = source.partition("/")
    return ClipModel(name, pretrained or None, precision)


def _n_blocks(tower: Any) -> int:
    if isinstance(tower, ModifiedResNet):
        return 5  # the stem and four stages
    if isinstance(tower, TimmModel):
        return len(tower.trunk.feature_info)
    return len(tower.transformer.resblocks)
