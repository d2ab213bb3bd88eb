"""Pictures as data URIs, so that the page needs no other file."""

import base64
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tasks.artifacts.pictures import open_rgb

QUALITY = 80
"""Of thumbnails, of 100: what is lost cannot be seen, and the page is a quarter of the size."""


def embed(path: Path) -> str:
    """Return a PNG file, byte for byte, as a data URI."""
    return _data_uri(path.read_bytes(), "png")


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture, so that the page keeps its place free."""
    return open_rgb(path).size


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
        picture = open_rgb(path)
        picture.thumbnail((size_px, size_px))
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=QUALITY, method=4)
        return _data_uri(buffer.getvalue(), "webp")

    return thumbnail


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
