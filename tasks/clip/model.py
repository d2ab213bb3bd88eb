"""The frozen CLIP, loaded through open_clip."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from tasks._errors import PerceptError

LOCAL_PREFIX = "local-dir:"
CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
_BATCH_SIZE = 256
Item = TypeVar("Item")


class ClipModel:
    """A CLIP with its tokenizer and its preprocessing, in evaluation mode.

    Parameters
    ----------
    name : str
        ``local-dir:FOLDER`` or a model name of open_clip.
    pretrained : str or None
        For a model name only: tag or file of the weights.

    Raises
    ------
    PerceptError
        If the local folder lacks its configuration or its weights, or if a model name comes without
        weights: open_clip would silently take random ones.
    """

    def __init__(self, name: str, pretrained: str | None = None) -> None:
        if name.startswith(LOCAL_PREFIX):
            self.fingerprint = _fingerprint_of_folder(Path(name.removeprefix(LOCAL_PREFIX)))
        elif pretrained is None:
            raise PerceptError(
                f"The CLIP {name!r} needs pretrained weights; none were named and open_clip would "
                f"take random ones. Name a tag or file, or use {LOCAL_PREFIX}FOLDER."
            )
        self.device = _device()
        model = open_clip.create_model(
            name, pretrained=pretrained, device=self.device, require_pretrained=True
        )
        self.model = model.eval().requires_grad_(False)
        self.preprocess = image_transform_v2(
            PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
        )
        self.tokenizer = open_clip.get_tokenizer(name)
        if not name.startswith(LOCAL_PREFIX):
            self.fingerprint = _fingerprint_of_weights(name, model)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n dim"]:
        """Encode texts to unit-norm vectors (float32)."""
        parts = [
            self.model.encode_text(self.tokenizer(list(batch)).to(self.device))
            for batch in _batches(texts)
        ]
        return self._unit(parts)

    @torch.inference_mode()
    def encode_images(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "n dim"]:
        """Encode pictures of any size to unit-norm vectors (float32)."""
        parts = [
            self.model.encode_image(
                torch.stack([self.preprocess(picture) for picture in batch]).to(self.device)
            )
            for batch in _batches(pictures)
        ]
        return self._unit(parts)

    def _unit(self, parts: list[torch.Tensor]) -> Float[np.ndarray, "n dim"]:
        dim = self.model.visual.output_dim
        features = torch.cat([torch.zeros(0, dim), *(part.float().cpu() for part in parts)])
        return F.normalize(features, dim=-1).numpy()


@lru_cache(maxsize=1)
def load_clip(source: str) -> ClipModel:
    """Load a CLIP, once per process.

    Parameters
    ----------
    source : str
        ``local-dir:FOLDER``, or ``NAME`` or ``NAME/PRETRAINED`` of open_clip.

    Raises
    ------
    PerceptError
        If a file or the weights are missing.
    """
    if source.startswith(LOCAL_PREFIX):
        return ClipModel(source)
    name, _, pretrained = source.partition("/")
    return ClipModel(name, pretrained or None)


def _batches(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _BATCH_SIZE] for start in range(0, len(items), _BATCH_SIZE)]


def _device() -> torch.device:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(os.environ.get("PERCEPT_DEVICE", found))


def _fingerprint_of_folder(folder: Path) -> str:
    """Hash configuration and weights: equal fingerprints give equal vectors."""
    digest = hashlib.sha256()
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        path = folder / name
        if not path.is_file():
            raise PerceptError(
                f"The CLIP needs {path}; it is missing. Run `percept pretrain` or point the param "
                "at a folder that open_clip wrote."
            )
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _fingerprint_of_weights(name: str, model: torch.nn.Module) -> str:
    digest = hashlib.sha256(json.dumps([name, open_clip.__version__]).encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
