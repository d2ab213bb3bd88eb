"""A lab's own features of pictures, from a file: .npz, .npy, .pt or .safetensors, read without running code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.torch import load_file

from tasks.clip.vectors import Vectors
from tasks.runtime.errors import PerceptError

NAMED = 10  # missing pictures that an error names

Features = tuple[list[str], np.ndarray]


class FeatureFileError(PerceptError):
    """A file of features cannot be used."""


def read_features(path: Path, pictures: Mapping[str, str]) -> Vectors:
    """Return the features of pictures, scaled to unit norm.

    Parameters
    ----------
    path : pathlib.Path
        ``.npz`` with the arrays ``names`` and ``features``; ``.npy`` with the names, one a line, in a file of
        the same name that ends in ``.txt``; ``.pt`` with ``{"names": [...], "features": tensor}`` or
        ``{name: tensor}``; or ``.safetensors`` with a tensor for each name.
    pictures : Mapping of str to str
        Identifier to the path of each picture. A file names a picture by its identifier, by its file's name, or
        by that without suffix. Features of other pictures are left alone.

    Returns
    -------
    Vectors
        Shape (n_pictures, dim), in the order of `pictures`.

    Raises
    ------
    FeatureFileError
        If the file cannot be read, lacks a picture, names one twice, or holds what is not finite.
    """
    names, features = _read(path)
    if features.ndim != 2 or len(features) != len(names):
        raise FeatureFileError(
            f"{path} must hold one row of features for each name; it holds {len(names)} names and an "
            f"array of shape {features.shape}. Write it anew."
        )
    twice = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) < len(names)
        else []
    )
    if twice:
        raise FeatureFileError(
            f"{path} must name each picture once; {', '.join(twice[:NAMED])} "
            f"come{'s' if len(twice) == 1 else ''} twice ({len(twice)} in all). Remove the repeats."
        )
    chosen = features[_rows(path, names, pictures)].astype(np.float32)
    wrong = ~np.isfinite(chosen).all(axis=1) | ~chosen.any(axis=1)
    if wrong.any():
        first = list(pictures)[int(np.argmax(wrong))]
        raise FeatureFileError(
            f"The features in {path} must be finite numbers and not all 0; those of {first} are not "
            f"({int(wrong.sum())} pictures in all). Compute them anew."
        )
    unit: Float32[np.ndarray, "n dim"] = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
    return unit


def _rows(path: Path, names: Sequence[str], pictures: Mapping[str, str]) -> list[int]:
    place = {name: row for row, name in enumerate(names)}
    rows, missing = [], []
    for identifier, picture in pictures.items():
        file = PurePosixPath(picture)
        row = next((place[n] for n in (identifier, file.name, file.stem) if n in place), None)
        missing.extend([identifier] if row is None else [])
        rows.append(row or 0)
    if missing:
        raise FeatureFileError(
            f"{path} must hold the features of every picture of the study; it lacks {len(missing)} of "
            f"{len(pictures)}: {', '.join(missing[:NAMED])}{' and others' if len(missing) > NAMED else ''}. "
            f"It names pictures like {names[0] if names else 'none'}: name them by stimulus_id or by file."
        )
    return rows


def _read(path: Path) -> Features:
    if not path.is_file():
        raise FeatureFileError(
            f"{path} must hold the features of the pictures; there is no such file. Put it there, or "
            "mend embed.image.path."
        )
    if path.suffix not in READERS:
        raise FeatureFileError(
            f"A file of features must end in {', '.join(READERS)}; {path} does not. Convert it."
        )
    try:
        return READERS[path.suffix](path)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise FeatureFileError(
            f"{path} must be readable as names and features; it is not ({reason}). "
            "docs/real_recordings.md shows how such a file is written."
        ) from error


def _npz(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as file:
        return [str(name) for name in file["names"]], file["features"]


def _npy(path: Path) -> Features:
    return path.with_suffix(".txt").read_text().split("\n")[:-1], np.load(path, allow_pickle=False)


def _pt(path: Path) -> Features:
    return _of_tensors(torch.load(path, map_location="cpu", weights_only=True))


def _safetensors(path: Path) -> Features:
    return _of_tensors(load_file(path))


def _of_tensors(content: dict[str, Any]) -> Features:
    if set(content) == {"names", "features"}:
        return [str(name) for name in content["names"]], content["features"].float().numpy()
    return list(content), torch.stack([v.float().flatten() for v in content.values()]).numpy()


READERS: Mapping[str, Callable[[Path], Features]] = MappingProxyType(
    {".npz": _npz, ".npy": _npy, ".pt": _pt, ".safetensors": _safetensors}
)
"""Ending of a file to what reads it."""
