"""Whether files are all there: not fetched yet, or truncated, of which MNE would read what is left."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tasks.eeg.sources.protocol import SourceError

FIF_END = bytes.fromhex("0000006c0000000000000000ffffffff")  # a tag without a successor
BYTES_OF = MappingProxyType({"INT_16": 2, "IEEE_FLOAT_32": 4, "INT_32": 4})
REMEDY = "Copy it from its origin again."
STAND_INS = (
    b"/annex/objects/",
    b"version https://git-lfs.github.com/spec/",
)  # of git-annex and Git LFS
LONGEST_STAND_IN = 1024  # bytes


def is_absent(path: Path) -> bool:
    """Return whether a file is listed but not here: a link to nothing, an empty file, or a stand-in.

    git-annex (and DataLad) keep a link to nowhere or, unlocked, a line of text in the place of a file that was
    not fetched; Git LFS keeps a few lines; an interrupted download leaves nothing.
    """
    try:
        size = path.stat().st_size
        if size > LONGEST_STAND_IN:
            return False
        return not size or path.read_bytes().startswith(STAND_INS)
    except OSError:
        return True


def refuse_truncated(path: Path) -> None:
    """Check that a recording is whole, where its format tells.

    BrainVision, EDF, BDF and FIF are looked at; other formats are left to MNE, which refuses.

    Parameters
    ----------
    path
        The recording, or the header of one.

    Raises
    ------
    SourceError
        If it is not.
    """
    check = CHECKS.get(path.suffix)
    if check is not None and path.is_file():
        check(path)


def refuse_truncated_fif(path: Path, remedy: str = REMEDY) -> None:
    """Check that a FIF file ends as every whole one does.

    Parameters
    ----------
    remedy
        What the reader of an error shall do.

    Raises
    ------
    SourceError
        If it does not.
    """
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - len(FIF_END)))
        tail = handle.read()
    if tail != FIF_END:
        raise SourceError(
            f"{path} must be a whole FIF file; it ends after {path.stat().st_size} bytes "
            f"without the closing tag, so it was truncated. {remedy}"
        )


def _check_edf(path: Path) -> None:
    """Compare the size of an EDF or BDF file with its header; -1 records are an unfinished recording."""
    with path.open("rb") as handle:
        fixed = handle.read(256)
        try:
            n_header, n_records, n_signals = (
                int(fixed[start:stop]) for start, stop in ((184, 192), (236, 244), (252, 256))
            )
            handle.seek(256 + 216 * n_signals)
            n_samples = sum(int(handle.read(8)) for _ in range(n_signals))
        except ValueError as error:
            raise SourceError(
                f"{path} must have a whole EDF or BDF header; its numbers cannot be read ({error}). {REMEDY}"
            ) from error
    bytes_each = 3 if path.suffix == ".bdf" else 2
    _compare(path, path, n_header + n_records * n_samples * bytes_each)


def _check_brainvision(path: Path) -> None:
    """Compare the size of the data file with the header and with the last marker."""
    header = path.read_text(encoding="utf-8", errors="replace")
    if _value(header, "DataFormat") != "BINARY":
        return
    bytes_each = BYTES_OF.get(_value(header, "BinaryFormat"), 0) * int(
        _value(header, "NumberOfChannels") or 0
    )
    data = _beside(path, _value(header, "DataFile"))
    if not bytes_each or not data.is_file():
        return  # MNE says what is wrong
    markers = _beside(path, _value(header, "MarkerFile"))
    listed = markers.read_text(encoding="utf-8", errors="replace") if markers.is_file() else ""
    positions = re.findall(r"^Mk\d+=[^,]*,[^,]*,(\d+),", listed, re.MULTILINE)
    last = max(map(int, positions), default=0)
    n_samples = int(_value(header, "DataPoints") or 0)
    size = data.stat().st_size
    due = max(n_samples, last, -(-size // bytes_each)) * bytes_each
    _compare(path, data, due)


def _value(header: str, key: str) -> str:
    found = re.search(rf"^{key}=(.*)$", header, re.MULTILINE)
    return found[1].strip() if found else ""


def _beside(path: Path, name: str) -> Path:
    """Return the file that a header names; $b stands for the header's own name."""
    return path.with_name(name.replace("$b", path.stem)) if name else path.with_suffix("")


def _compare(path: Path, data: Path, due: int) -> None:
    found = data.stat().st_size
    if found < due:
        raise SourceError(
            f"{data} must have the {due} bytes that {'its header' if data == path else path.name} "
            f"announces; it has {found}, so it was truncated. {REMEDY}"
        )


CHECKS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        ".edf": _check_edf,
        ".bdf": _check_edf,
        ".vhdr": _check_brainvision,
        ".fif": refuse_truncated_fif,
    }
)
"""Suffix to what looks at such a file."""
