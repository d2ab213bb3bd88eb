"""Pictures out of focus, as some image targets want them."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur


def blurred(
    pictures: Float[Tensor, "n 3 height width"], deviation_px: float
) -> Float[Tensor, "n 3 height width"]:
    """Return pictures after a Gaussian blur of this standard deviation; 0 leaves them as they are."""
    if not deviation_px:
        return pictures
    size = 2 * math.ceil(3 * deviation_px) + 1
    soft: Tensor = gaussian_blur(pictures, [size, size], [deviation_px, deviation_px])
    return soft
