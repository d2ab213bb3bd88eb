"""Pictures as data URIs, so that the page needs no other file."""

import base64
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tasks.runtime.errors import PerceptError

QUALITY = 80
"""Of thumbnails, of 100: what is lost cannot be seen, and the page is a quarter of the size."""


def open_picture(path: Path) -> Image.Image:
    """Open a picture in RGB.

    Parameters
    ----------
    path : Path
        A picture file.

    Raises
    ------
    PerceptError
        If the file is missing or no picture.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (FileNotFoundError, UnidentifiedImageError) as error:
        raise PerceptError(
            f"{path} must be a picture that a table names; it is missing or cannot be read. "
            "Run `dvc repro` to make it anew."
        ) from error


def embed(path: Path) -> str:
    """Return a PNG file, byte for byte, as a data URI.

    Parameters
    ----------
    path : Path
        A picture file.
    """
    return _data_uri(path.read_bytes(), "png")


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture, so that the page keeps its place free.

    Parameters
    ----------
    path : Path
        A picture file.
    """
    return open_picture(path).size


def thumbnails(size_px: int) -> Callable[[Path], str]:
    """Return a function from a picture's path to the data URI of its thumbnail, in WebP.

    Parameters
    ----------
    size_px : int
        Longest side. Larger pictures are scaled down.
    """

    @cache
    def thumbnail(path: Path) -> str:
        """Return the data URI of one picture."""
        picture = open_picture(path)
        picture.thumbnail((size_px, size_px))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=QUALITY, method=4)
        return _data_uri(buffer.getvalue(), "webp")

    return thumbnail


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
