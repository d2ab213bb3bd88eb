"""Pictures as data URIs, so that the page needs no other file."""

import base64
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tasks._errors import PerceptError


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
    return _data_uri(path.read_bytes())


def thumbnails(size_px: int) -> Callable[[Path], str]:
    """Return a function from a picture's path to the data URI of its thumbnail.

    Parameters
    ----------
    size_px : int
        Longest side. Larger pictures are scaled down, smaller PNGs keep their bytes.
    """

    @cache
    def thumbnail(path: Path) -> str:
        """Return the data URI of one picture."""
        picture = open_picture(path)
        if max(picture.size) <= size_px and path.suffix == ".png":
            return embed(path)
        picture.thumbnail((size_px, size_px))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        return _data_uri(buffer.getvalue())

    return thumbnail


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
