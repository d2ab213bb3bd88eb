"""Share the answers of a caption cache, without the key that paid for them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tasks.language.cache import CaptionCache, CaptionCacheError, Entry
from tasks.runtime.files import atomic_path


def export_answers(cache: CaptionCache, path: Path) -> int:
    """Write every answer of a cache into one file; return how many.

    Parameters
    ----------
    path : Path
        Gzipped JSON, one answer per line.

    Raises
    ------
    CaptionCacheError
        If there is no answer, or one was altered.
    """
    n_answers = 0
    with atomic_path(path) as partial:
        # Neither name nor time in the header: the same answers give the same bytes.
        with partial.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as handle:
            for entry in cache.entries():
                handle.write(json.dumps(entry.content).encode() + b"\n")
                n_answers += 1
        if not n_answers:
            raise CaptionCacheError(
                f"{cache.folder} must hold answers to export; it holds none. Run the stage caption."
            )
    return n_answers


def import_answers(cache: CaptionCache, path: Path) -> tuple[int, int]:
    """Add the answers of a file to a cache, once it is known that all are intact.

    Parameters
    ----------
    path : Path
        What `export_answers` wrote.

    Returns
    -------
    n_new : int
        How many were not there yet.
    n_all : int
        How many the file holds.

    Raises
    ------
    CaptionCacheError
        If the file cannot be read or an answer was altered; nothing is added then.
    """
    try:
        entries = list(_read(path))
    except (OSError, EOFError, ValidationError, zlib.error) as error:
        reason = "an answer cannot be read" if isinstance(error, ValidationError) else str(error)
        raise CaptionCacheError(
            f"{path} must be a whole export of captions; {reason}. Export it again."
        ) from error
    altered = [entry.image_sha256 for entry in entries if not entry.is_intact]
    if altered:
        raise CaptionCacheError(
            f"{path} must hold answers as they were written; the checksums of {len(altered)} are "
            f"others, the first about picture {altered[0][:12]}. Export it again."
        )
    return cache.add(entries), len(entries)


def _read(path: Path) -> Iterator[Entry]:
    with gzip.open(path, "rb") as handle:
        for line in handle:
            yield Entry.model_validate_json(line)
