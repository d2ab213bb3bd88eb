"""A network of timm that turns pictures into vectors, without a text tower."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.nn import functional as F

from tasks.clip.blurring import blurred
from tasks.runtime.device import compute_device
from tasks.runtime.errors import PerceptError

TIMM_PREFIX = "timm:"


class TimmModel:
    """A network of timm in evaluation mode.

    Parameters
    ----------
    source : str
        ``timm:NAME`` for weights in the local hub cache, or ``timm:NAME=FILE``.

    Raises
    ------
    PerceptError
        If there is no such network, or its weights are missing or do not fit.
    """

    def __init__(self, source: str) -> None:
        name, _, file = source.removeprefix(TIMM_PREFIX).partition("=")
        if not timm.is_model(name.partition(".")[0]):
            raise PerceptError(
                f"embed.image.model must be a network of timm; {name!r} is none. `timm.list_models()` "
                "names them."
            )
        self.device = compute_device()
        try:
            model = timm.create_model(name, pretrained=not file, num_classes=0)
            if file:
                weights = _weights(Path(file))
                known = {k: v for k, v in weights.items() if k in model.state_dict()}
                model.load_state_dict(known)
        except (
            OSError,
            RuntimeError,
            LocalEntryNotFoundError,
            HfHubHTTPError,
            SafetensorError,
            pickle.UnpicklingError,
        ) as error:
            reason = " ".join(str(error).split())[:300]
            raise PerceptError(
                f"The weights of {name} must load in full; they do not ({reason}). Put them into a file "
                "below data/raw and name it in embed.image.weights, or into the local hub cache."
            ) from error
        self.model: Any = model.eval().requires_grad_(False).to(self.device)
        config = resolve_data_config({}, model=model)  # type: ignore[no-untyped-call]
        self.preprocess = create_transform(**config, is_training=False)
        digest = hashlib.sha256(repr((name, timm.__version__, sorted(config.items()))).encode())
        for key, value in sorted(model.state_dict().items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:24]

    @torch.inference_mode()
    def encode_images(
        self,
        pictures: Sequence[Image.Image],
        layer: int | None = None,
        *,
        blur_px: float = 0.0,
        tokens: Literal["mean", "cls"] = "mean",
    ) -> Float[np.ndarray, "n dim"]:
        """Encode pictures of any size to unit-norm vectors (float32).

        Parameters
        ----------
        layer : int or None
            A block, the first being 1; None for the network's own pooled features.
        blur_px : float
            Standard deviation of a Gaussian blur at the size that the network reads.
        tokens : {"mean", "cls"}
            What stands for a block: the mean over its patches, or its class token.
        """
        batch = torch.stack([self.preprocess(picture) for picture in pictures]).to(self.device)
        batch = blurred(batch, blur_px)
        features = self.model(batch) if layer is None else self._layer(batch, layer, tokens)
        vectors: np.ndarray = F.normalize(features.float(), dim=1).cpu().numpy()
        return vectors

    def _layer(self, batch: Tensor, layer: int, tokens: str) -> Tensor:
        n_blocks = len(self.model.feature_info)
        if layer > n_blocks:
            raise PerceptError(
                f"The network has {n_blocks} blocks; there is no block {layer}. Mend embed.image.layers."
            )
        with_class = {"return_prefix_tokens": True} if tokens == "cls" else {}
        try:
            (found,) = self.model.forward_intermediates(
                batch, indices=[layer - 1], stop_early=True, intermediates_only=True, **with_class
            )
        except TypeError as error:
            raise PerceptError(
                "embed.image.tokens: cls needs a network with a class token; this one has none. Take mean."
            ) from error
        if tokens == "cls":
            chosen: Tensor = found[1][:, 0]
            return chosen
        patches: Tensor = found
        return patches.flatten(2).mean(dim=2)


def _weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise PerceptError(
            f"{path} must hold the weights of the network; there is no such file. Put it there, or mend "
            "embed.image.weights."
        )
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    content: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return content
