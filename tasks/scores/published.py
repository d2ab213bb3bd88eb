"""Likeness of pictures as published tables define it, so that a number here can stand beside theirs.

The definitions are those of the code of Scotti et al. (NeurIPS 2023, "MindEye", appendix A.4), which
reconstruction from EEG took over (Li et al., NeurIPS 2024, "ATM"): pictures are resized, antialiased, as
tensors in 0..1; one that is not square is cut to its central square first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from scipy.stats import hypergeom
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_to_tensor, resize

from tasks.artifacts.pictures import open_rgb
from tasks.scores.ranking import Vectors

SIDE_PX = 425
"""Side at which pixels are compared."""
N_GREY = 512
"""Grey pictures that are kept, 0.7 MB each, since each is compared with several."""
BATCH = 32
"""Pictures held in memory at once."""


def squares(
    files: Sequence[str], side_px: int, mode: InterpolationMode = InterpolationMode.BILINEAR
) -> Iterator[Tensor]:
    """Yield pictures of one size, (n, 3, side, side) in 0..1, a batch at a time."""
    for start in range(0, len(files), BATCH):
        yield torch.stack([_square(Path(f), side_px, mode) for f in files[start : start + BATCH]])


def _square(path: Path, side_px: int, mode: InterpolationMode) -> Tensor:
    return _resized(_cut(path), side_px, mode).clamp_(0, 1)


def _cut(path: Path) -> Tensor:
    picture = pil_to_tensor(open_rgb(path)).float() / 255
    cut: Tensor = center_crop(picture, [min(picture.shape[1:])])
    return cut


def _resized(picture: Tensor, side_px: int, mode: InterpolationMode) -> Tensor:
    resized: Tensor = resize(picture, [side_px, side_px], mode, antialias=True)
    return resized


def standardised(features: Vectors) -> Vectors:
    """Return features whose products are Pearson correlations."""
    centred = features - features.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm > 0, norm, 1))


def pixel_correlations(
    drawn: Sequence[str], shown: Sequence[str]
) -> Float[np.ndarray, "n_drawn n_shown"]:
    """Return PixCorr of every render with every stimulus: Pearson over all red, green and blue values."""
    known = np.concatenate([_pixels(batch) for batch in squares(shown, SIDE_PX)])
    return np.concatenate([_pixels(batch) @ known.T for batch in squares(drawn, SIDE_PX)])


def _pixels(pictures: Tensor) -> Vectors:
    return standardised(pictures.flatten(1).numpy())


def structural_similarities(drawn: Sequence[str], shown: Sequence[str]) -> Float[np.ndarray, " n"]:
    """Return SSIM of each pair: grey, Gaussian window of sigma 1.5, as skimage computes it."""
    return np.array([_similarity(*pair) for pair in zip(drawn, shown, strict=True)])


def _similarity(drawn: str, shown: str) -> float:
    found = structural_similarity(
        *(_grey(file, Path(file).stat().st_mtime_ns) for file in (drawn, shown)),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    return float(found)


@lru_cache(N_GREY)
def _grey(file: str, changed_ns: int) -> Float32[np.ndarray, "side side"]:  # noqa: ARG001
    """Return a picture in grey; resizing is linear, so that one channel is resized in place of three.

    A file that was changed since is read anew.
    """
    grey = torch.from_numpy(rgb2gray(_cut(Path(file)).permute(1, 2, 0).numpy()))
    resized = _resized(grey[None], SIDE_PX, InterpolationMode.BILINEAR)[0]
    return np.asarray(resized.numpy(), np.float32)


def two_way(
    correlations: Float[np.ndarray, "n_drawn n_shown"], own: Int[np.ndarray, " n_drawn"]
) -> Float[np.ndarray, " n_drawn"]:
    """Return for each render the share of other stimuli that it correlates less with than with its own.

    Parameters
    ----------
    correlations : Float[np.ndarray, "n_drawn n_shown"]
        Pearson correlation of features; at least two stimuli.
    own : Int[np.ndarray, "n_drawn"]
        Column of each render's stimulus.
    """
    with_own = np.take_along_axis(correlations, own[:, None], axis=1)
    return np.asarray((correlations < with_own).sum(axis=1) / (correlations.shape[1] - 1))


def n_way(
    drawn: Float[np.ndarray, "n_drawn n_classes"],
    shown: Float[np.ndarray, "n_shown n_classes"],
    n: int,
    k: int,
) -> Float[np.ndarray, "n_drawn n_shown"]:
    """Return n-way top-k accuracy of every render for every stimulus ("GA", Chen et al. 2023).

    The right class is what the classifier sees in the stimulus, and the other n - 1 are drawn at random:
    published tables draw them 50 times, the expectation here is exact.

    Parameters
    ----------
    drawn, shown : Float[np.ndarray, "n n_classes"]
        Probabilities or logits of the classifier.
    """
    right = shown.argmax(axis=1)
    above = [(row > row[right][:, None]).sum(axis=1) for row in drawn]
    return np.asarray(n_way_hits(drawn.shape[1], n, k)[np.array(above)])


def n_way_hits(n_classes: int, n: int, k: int) -> Float[np.ndarray, " n_classes"]:
    """Return the chance of a hit by how many of all classes are likelier than the right one.

    Parameters
    ----------
    n_classes, n, k : int
        Classes that there are, that are asked among, and guesses that count.
    """
    likelier = np.arange(n_classes)
    return np.asarray(hypergeom.cdf(k - 1, n_classes - 1, likelier, n - 1))
