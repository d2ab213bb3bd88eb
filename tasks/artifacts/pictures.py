"""Pictures on disk, opened in one way by every stage: what CLIP sees is what is captioned, scored and shown.

A picture is turned as its EXIF block says (one that cannot be read says nothing), and brought to 8 bits of
red, green and blue: 16-bit grey is scaled, CMYK and palettes are converted, of an animation the first frame
is taken, and where a picture is transparent the colours below are shown.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from tasks.runtime.errors import PerceptError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is opened. Pillow knows more, among them formats that it hands to other programs."""

MAX_PIXELS = 89_478_485
"""Pillow's own mark of a file that may be made to fill the memory: a quarter of a GiB of RGB."""

TURNS, ON_ITS_SIDE = range(2, 9), range(5, 9)
"""EXIF orientations of pictures that are not stored upright, and of those whose width is their height."""

UNDECODABLE = (
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
"""What Pillow raises about files that are no pictures, or only half of one."""


class StalePictureError(PerceptError):
    """A stimulus is another picture than the one that `ingest` saw."""


class UnreadablePictureError(PerceptError):
    """A file is no picture that can be decoded."""


def open_rgb(path: Path) -> Image.Image:
    """Open a picture: upright, 8 bits of red, green and blue.

    Parameters
    ----------
    path : Path
        One of `FORMATS`.

    Returns
    -------
    PIL.Image.Image
        Decoded, of mode RGB. Its `format` is None where the file holds something else than these pixels:
        turned, of another mode, or deeper.

    Raises
    ------
    UnreadablePictureError
        If the file is missing, no picture of these formats, damaged, has more than `MAX_PIXELS`, or its
        pixels are numbers without a known white: 32-bit integers or floats.
    """
    return _decoded(path, path)


def read_picture(path: Path, sha256: str) -> tuple[bytes, Image.Image]:
    """Read a stimulus, making sure that it is the one that was ingested.

    Parameters
    ----------
    sha256 : str
        Hexadecimal SHA-256 of its bytes.

    Returns
    -------
    content : bytes
        The file as it is.
    picture : PIL.Image.Image
        What it shows, as `open_rgb` gives it.

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
    return content, decode_rgb(content, path)


def decode_rgb(content: bytes, path: Path) -> Image.Image:
    """Decode the bytes of a picture as `open_rgb` does.

    Parameters
    ----------
    path : Path
        Its name, for errors.

    Raises
    ------
    UnreadablePictureError
        As `open_rgb`.
    """
    return _decoded(io.BytesIO(content), path)


def examine(path: Path) -> tuple[int, int]:
    """Check that a picture is whole, and return its width and height as it is seen.

    Raises
    ------
    UnreadablePictureError
        If it cannot be decoded to its end.
    """
    with _opened(path, path) as picture:
        picture.verify()  # what a PNG says of itself
    with _opened(path, path) as picture:
        width, height = picture.size
        picture.draft(picture.mode, (1, 1))  # a JPEG is read whole, but its pixels are few
        picture.load()
        _eight_bit(picture)
        return (height, width) if _orientation(picture) in ON_ITS_SIDE else (width, height)


def size_in_header(path: Path) -> tuple[int, int]:
    """Return the width and the height that a file states, as its pixels are stored.

    Parameters
    ----------
    path : Path
        The picture; its pixels are not read.

    Raises
    ------
    UnreadablePictureError
        If it has no header of a picture.
    """
    with _opened(path, path) as picture:
        return picture.size


def texts_of(path: Path) -> dict[str | tuple[int, int], object]:
    """Return what a PNG file says beside its pixels, making sure that it is whole.

    Raises
    ------
    UnreadablePictureError
        If it is damaged.
    """
    with _opened(path, path) as picture:
        texts = dict(picture.info)
        picture.verify()
        return texts


@contextmanager
def _opened(file: Path | io.BytesIO, path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever Pillow raises of it inside becomes one sentence."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if not 0 < picture.width * picture.height <= MAX_PIXELS:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels")
            yield picture
    except UNDECODABLE as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "its format is none of these" if unknown else str(error).rstrip(".")
        raise UnreadablePictureError(
            f"{path} must be a whole picture ({', '.join(FORMATS)}) of at most {MAX_PIXELS:,} pixels; it "
            f"cannot be decoded ({reason}). Convert it or restore it (delete it if a stage drew it), then run "
            "`dvc repro`."
        ) from error


def _decoded(file: Path | io.BytesIO, path: Path) -> Image.Image:
    with _opened(file, path) as picture:
        picture.load()
        turned = _orientation(picture) in TURNS
        return _eight_bit(ImageOps.exif_transpose(picture) if turned else picture)


def _orientation(picture: Image.Image) -> object:
    """Return the EXIF orientation, 1 being upright; so it is where the EXIF block cannot be read."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except UNDECODABLE:
        return 1


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB; itself where it is so."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        high = np.asarray(picture).astype(np.uint16) >> 8  # Pillow itself would clip it at 255
        picture = Image.fromarray(high.astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"32 bits per channel, mode {picture.mode}, have no known white")
    return picture if picture.mode == "RGB" else picture.convert("RGB")
