"""Pictures on disk: written whole or not at all, with the verdict of the safety checker in them."""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.artifacts.pictures import UnreadablePictureError, texts_of
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path

logger = logging.getLogger(__name__)

FLAGGED = "flagged"
"""The text in a PNG that holds the verdict."""
BYTES_PER_PIXEL = 3


def save_picture(image: Image.Image, path: Path, *, flagged: bool) -> None:
    """Write a picture and its verdict.

    Parameters
    ----------
    flagged : bool
        Whether the safety checker blackened it.

    Raises
    ------
    PerceptError
        If the disk is full.
    """
    verdict = PngInfo()
    verdict.add_text(FLAGGED, str(flagged))
    try:
        with atomic_path(path) as unfinished:
            image.save(unfinished, pnginfo=verdict)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise PerceptError(
            f"{path.parent} must have room for the next picture; the disk is full. What was drawn is "
            "kept: free some space and run the stage again."
        ) from error


def verdict_of(path: Path) -> bool | None:
    """Tell whether a kept picture was flagged; None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        flagged = texts_of(path).get(FLAGGED) == str(True)
    except UnreadablePictureError as error:
        logger.warning("%s is damaged and will be drawn anew (%s).", path, error)
        return None
    return flagged


def require_disk(folder: Path, n_pictures: int, size_px: int) -> None:
    """Refuse to start where the pictures might not fit: uncompressed, in the cache and as copies.

    Raises
    ------
    PerceptError
        If the folder cannot be written, or its disk has less space than that.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "probe") as probe:
            probe.touch()
        (folder / "probe").unlink(missing_ok=True)
    except OSError as error:
        raise PerceptError(
            f"{folder} must be a folder that can be written; it is not ({error.strerror}). Mend its "
            "permissions, or put a link to another disk in its place."
        ) from error
    needed_mb = 2 * n_pictures * size_px**2 * BYTES_PER_PIXEL / 1e6
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < needed_mb:
        raise PerceptError(
            f"{n_pictures} pictures of {size_px} px need up to {needed_mb:.1f} MB; {free_mb:.1f} MB "
            "are free. Free some or lower `render.max_trials`."
        )
