"""Where the vectors come from that image heads learn: CLIP's image tower, a network of timm, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from tasks.clip.embedding import Embedder
from tasks.clip.feature_files import read_features
from tasks.clip.timm_model import TIMM_PREFIX
from tasks.clip.vectors import Vectors
from tasks.runtime.map import Map
from tasks.runtime.params import Params


class ClipTargetParams(Params):
    """The image tower of `embed.model`.

    Attributes
    ----------
    layers : list of int
        Blocks, the first being 1: the mean over their patches. None: the final image vector.
    blur_px : list of float
        Standard deviations of Gaussian blurs of the picture, at the size that the tower reads; 0 for none.
    """

    name: Literal["clip"]
    layers: list[PositiveInt]
    blur_px: list[NonNegativeFloat] = Field(min_length=1)


class TimmTargetParams(Params):
    """A network of timm, DINOv2 for instance, which has no text tower.

    Attributes
    ----------
    model : str
        Its name there.
    weights : str or None
        A file of its weights, relative to data/raw; None for the local hub cache.
    layers : list of int
        Blocks, the first being 1. None: the network's own pooled features.
    tokens : {"mean", "cls"}
        What stands for a block: the mean over its patches, or its class token.
    blur_px : list of float
        As of the CLIP's.
    """

    name: Literal["timm"]
    model: str
    weights: str | None
    layers: list[PositiveInt]
    tokens: Literal["mean", "cls"]
    blur_px: list[NonNegativeFloat] = Field(min_length=1)


class FileTargetParams(Params):
    """A file of features; see `tasks.clip.feature_files.read_features`.

    Attributes
    ----------
    path : str
        Relative to data/raw.
    """

    name: Literal["file"]
    path: str = Field(description="a file of features, relative to data/raw")


ImageTargetParams = Annotated[
    ClipTargetParams | TimmTargetParams | FileTargetParams, Field(discriminator="name")
]


def embed_targets(
    params: ClipTargetParams | TimmTargetParams | FileTargetParams,
    embedder: Embedder,
    final: Vectors,
    ids: Sequence[str],
    paths: Sequence[str],
    sha256s: Sequence[str],
    raw: Path,
    map: Map,
) -> dict[str, Vectors]:
    """Return the vectors of every picture, by level.

    Parameters
    ----------
    embedder : Embedder
        The CLIP of `embed.model`.
    final : Vectors
        Its final vector of each picture.
    ids, paths, sha256s : Sequence of str
        Identifier, file and hash of each picture.
    raw : pathlib.Path
        What files in the params are relative to.
    """
    if isinstance(params, FileTargetParams):
        return {"file": read_features(raw / params.path, dict(zip(ids, paths, strict=True)))}
    tokens: Literal["mean", "cls"] = "mean"
    known = {"final": final}
    if isinstance(params, TimmTargetParams):
        weights = "" if params.weights is None else f"={raw / params.weights}"
        embedder, known = embedder.of(f"{TIMM_PREFIX}{params.model}{weights}"), {}
        tokens = params.tokens
    layers: list[int | None] = [*params.layers] or [None]
    levels = {_level(layer, blur): (layer, blur) for layer in layers for blur in params.blur_px}
    return {
        name: known[name]
        if name in known
        else embedder.images(paths, sha256s, map, layer, blur_px=blur, tokens=tokens)
        for name, (layer, blur) in levels.items()
    }


def _level(layer: int | None, blur_px: float) -> str:
    where = "final" if layer is None else f"layer {layer}"
    return f"{where}, blur {blur_px:g} px" if blur_px else where
