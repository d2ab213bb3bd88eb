"""Archives, unpacked file by file, so that an interruption costs one file."""

import lzma
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tasks.fetching.downloads import FetchError
from tasks.runtime.files import atomic_path

BROKEN = (
    zipfile.BadZipFile,
    ArithmeticError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)
"""What `zipfile` and its decompressors raise about archives that are damaged, encrypted or of an unknown kind."""

LAST_RECORD, FARTHEST_RECORD = b"PK\5\6", 22 + 2**16
"""How the last record of a ZIP archive begins, and at most how far before its end (APPNOTE 6.3.10, 4.3.16)."""
MANY = 2**16 - 1
"""What the last record says of as many members or more."""


def unpack(archive: Path, folder: Path, advance: Callable[[int], None]) -> dict[str, int]:
    """Unpack a ZIP archive; files that are there in full size already are left.

    Parameters
    ----------
    advance
        Is told how many bytes are unpacked by now.

    Returns
    -------
    dict
        Size of each file, by its path relative to ``folder``.

    Raises
    ------
    FetchError
        If it is broken, leads out of the folder, or the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            _refuse_shortened(archive, len(content.infolist()))
            _refuse_outside(archive, content.namelist())
            members = [member for member in content.infolist() if not member.is_dir()]
            todo = [m for m in members if not _is_there(folder / m.filename, m.file_size)]
            require_space(
                folder, sum(member.file_size for member in todo), f"unpack {archive.name}"
            )
            done = 0
            for member in todo:
                with (
                    atomic_path(folder / member.filename) as partial,
                    content.open(member) as source,
                    partial.open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, 1 << 20)
                done += member.file_size
                advance(done)
    except BROKEN as error:
        raise _broken(archive, error) from error
    except OSError as error:
        if error.errno is None:  # of bz2, about its data
            raise _broken(archive, error) from error
        raise FetchError(
            f"{folder} must take every file of {archive.name}; one cannot be written ({error}). "
            "Free the disk, or remove what is in the way, and run the same command again."
        ) from error
    return {member.filename: member.file_size for member in members}


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Check that so many bytes fit on the disk of a folder.

    Raises
    ------
    FetchError
        If they do not.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if n_bytes > free:
        raise FetchError(
            f"{folder} must have {n_bytes / 1e9:.1f} GB free to {what}; it has {free / 1e9:.1f} GB. "
            "Free the disk, or name fewer subjects."
        )


def _is_there(path: Path, n_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == n_bytes


def _broken(archive: Path, error: BaseException) -> FetchError:
    return FetchError(
        f"{archive} must be a whole ZIP archive; it cannot be unpacked ({error}). "
        "Delete it and run the same command again."
    )


def _refuse_shortened(archive: Path, n_listed: int) -> None:
    """Refuse an archive whose list of members is shorter than its last record says, which `zipfile` does not mind."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - FARTHEST_RECORD))
        end = file.read()
    (n_said,) = struct.unpack_from("<H", end, end.rindex(LAST_RECORD) + 10)
    if n_said not in (n_listed, MANY):
        raise zipfile.BadZipFile(f"it lists {n_listed} of {n_said} members")


def _refuse_outside(archive: Path, names: list[str]) -> None:
    """Refuse an archive with a member that does not lie below its folder."""
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise FetchError(
                f"{archive} must unpack into its folder; {name!r} leads out of it. "
                "Do not use this archive."
            )
