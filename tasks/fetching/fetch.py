"""Fetch a public data set into its study folder."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

import pooch
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tasks.fetching.archives import require_space, unpack
from tasks.fetching.downloads import FetchError, ResumingDownloader, look_up
from tasks.fetching.studies import RemoteFile, RemoteStudy
from tasks.runtime.files import sha256_of, write_json

logger = logging.getLogger(__name__)

RECORD = "fetched.json"


def fetch_study(
    study: RemoteStudy, folder: Path, subjects: Sequence[int] | None, pause_s: float = 1.0
) -> int:
    """Fetch what is missing of a study; what was fetched before is not fetched again.

    Parameters
    ----------
    folder
        Of the study. ``fetched.json`` in it records address, size and checksum of every file.
    subjects
        Numbers; None for all.
    pause_s
        After a dropped connection; longer each time.

    Returns
    -------
    int
        How many files were fetched.

    Raises
    ------
    FetchError
        If a subject is unknown, the disk is too small, or a file cannot be fetched or is not the one
        that was recorded.
    """
    unknown = sorted(set(subjects or ()) - set(study.by_subject))
    if unknown:
        raise FetchError(
            f"Subjects must be among {', '.join(map(str, study.by_subject))}; "
            f"{', '.join(map(str, unknown))} are not. Name others."
        )
    record = Record(folder)
    missing = [file for file in study.files(subjects) if not record.holds(file)]
    if not missing:
        return 0
    sizes = {file.path: look_up(file.url, pause_s=pause_s).n_bytes or 0 for file in missing}
    _require_space(folder, missing, sizes)
    with _progress() as progress:
        for file in missing:
            _fetch(file, folder, record, progress, sizes[file.path], pause_s)
    return len(missing)


@dataclass(frozen=True)
class Record:
    """What was fetched into a folder."""

    folder: Path

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return an entry per file, by path.

        Raises
        ------
        FetchError
            If the record cannot be read.
        """
        path = self.folder / RECORD
        try:
            return dict(loads(path.read_text())) if path.exists() else {}
        except ValueError as error:
            raise FetchError(
                f"{path} must be JSON as it was written; it is not ({error}). Delete it: what lies "
                "beside it is then fetched and recorded anew."
            ) from error

    def holds(self, file: RemoteFile) -> bool:
        """Return whether a file, or all that was unpacked from it, is there in full size."""
        entry = self.entries().get(file.path)
        if entry is None:
            return False
        return all(
            (self.folder / path).is_file() and (self.folder / path).stat().st_size == n_bytes
            for path, n_bytes in entry["files"].items()
        )

    def hash_of(self, file: RemoteFile) -> str | None:
        """Return what the file must hash to: as published, or as first recorded."""
        entry = self.entries().get(file.path)
        return file.known_hash or (f"sha256:{entry['sha256']}" if entry else None)

    def add(self, file: RemoteFile, sha256: str, n_bytes: int, files: dict[str, int]) -> None:
        """Record a file, and what became of it."""
        entry = {
            "url": file.url,
            "sha256": sha256,
            "n_bytes": n_bytes,
            "checked_against": "publisher" if file.known_hash else "first download",
            "files": files,
        }
        write_json(self.folder / RECORD, self.entries() | {file.path: entry})


def _fetch(
    file: RemoteFile,
    folder: Path,
    record: Record,
    progress: Progress,
    n_bytes: int,
    pause_s: float,
) -> None:
    """Fetch one file, check it, unpack it, and record it."""
    path, known = folder / file.path, record.hash_of(file)
    task = progress.add_task(path.name, total=n_bytes or None)
    if not path.exists():
        downloader = ResumingDownloader(
            path.with_name(path.name + ".partial"),
            lambda n: progress.update(task, completed=n),
            pause_s=pause_s,
        )
        try:
            _retrieve(file.url, known, path, downloader)
        except ValueError as error:  # pooch says no more than that
            raise FetchError(
                f"{path} must have the checksum {known}; what {file.url} sends has another. "
                "The publisher has changed it, or it was damaged on its way: fetch it again, and "
                f"delete its entry in {folder / RECORD} if the change is known."
            ) from error
    sha256, size = sha256_of(path), path.stat().st_size
    files = {file.path: size}
    if file.unpack_to is not None:
        unpacking = progress.add_task(f"unpack {path.name}", total=None)
        unpacked = unpack(
            path, folder / file.unpack_to, lambda n: progress.update(unpacking, completed=n)
        )
        files = {f"{file.unpack_to}/{name}": n for name, n in unpacked.items()}
        progress.remove_task(unpacking)
    record.add(file, sha256, size, files)
    if file.unpack_to is not None:
        path.unlink()
    logger.info("%s: fetched, sha256 %s", path, sha256)


def _retrieve(url: str, known: str | None, path: Path, downloader: ResumingDownloader) -> None:
    pooch.get_logger().setLevel(logging.WARNING)  # it prints the hash that is recorded here
    pooch.retrieve(url, known, fname=path.name, path=path.parent, downloader=downloader)


def _require_space(folder: Path, missing: list[RemoteFile], sizes: dict[str, int]) -> None:
    """Check the disk for all downloads, each archive counted twice: it lies beside its content."""
    n_bytes = 0
    for file in missing:
        path = folder / file.path
        partial = path.with_name(path.name + ".partial")
        there = sum(p.stat().st_size for p in (path, partial) if p.exists())
        n_bytes += max(0, sizes[file.path] - there) + sizes[file.path] * bool(file.unpack_to)
    require_space(folder, n_bytes, "fetch and unpack what is missing")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
