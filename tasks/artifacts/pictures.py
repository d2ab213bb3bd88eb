"""Stimuli on disk: the picture that was ingested, or an error that says why not."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.runtime.errors import PerceptError

UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises about files that are no pictures, or only half of one."""


class StalePictureError(PerceptError):
    """A stimulus is another picture than the one that `ingest` saw."""


class UnreadablePictureError(PerceptError):
    """A stimulus is no picture that can be decoded."""


def read_picture(path: Path, sha256: str) -> tuple[bytes, Image.Image]:
    """Read a stimulus, making sure that it is the one that was ingested.

    Parameters
    ----------
    path : Path
        The picture.
    sha256 : str
        Hexadecimal SHA-256 of its bytes.

    Returns
    -------
    content : bytes
        The file as it is.
    picture : PIL.Image.Image
        What it shows, decoded.

    Raises
    ------
    StalePictureError
        If the file is missing or its bytes are others.
    UnreadablePictureError
        If they cannot be decoded.
    """
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StalePictureError(
            f"{path} must be the picture that was ingested; its SHA-256 is another. "
            "Restore it, or run `dvc repro ingest`."
        )
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except UNDECODABLE as error:
        raise UnreadablePictureError(
            f"{path} must be a picture; its {len(content)} bytes cannot be decoded ({error}). "
            "Replace it and run `dvc repro ingest`."
        ) from error
    return content, picture


def as_rgb(picture: Image.Image, path: Path) -> Image.Image:
    """Return a picture with 8 bits of red, green and blue, whatever it has.

    Parameters
    ----------
    picture : PIL.Image.Image
        What `read_picture` gives. Where it is transparent, the colours below are shown.
    path : Path
        Its file, to be named in errors.

    Raises
    ------
    UnreadablePictureError
        If its pixels are numbers without a known white: 32-bit integers or floats.
    """
    if picture.mode in ("I", "F"):
        raise UnreadablePictureError(
            f"{path} must hold 8 or 16 bits per channel; it holds 32 (mode {picture.mode}). "
            "Convert it and run `dvc repro ingest`."
        )
    if picture.mode.startswith("I;16"):  # Pillow itself would clip it at 255
        picture = Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    return picture.convert("RGB")
