"""Tables as tab-separated text, as BIDS has them: a quotation mark is a character like any other."""

from pathlib import Path

from tasks.eeg.sources.protocol import SourceError


def read_header(path: Path, remedy: str) -> list[str]:
    """Return the names of the columns of a tab-separated file, as `read_rows` finds them."""
    lines = _lines(path, remedy)
    return lines[0][1] if lines else []


def read_rows(path: Path, columns: tuple[str, ...], remedy: str) -> list[tuple[str, ...]]:
    """Return the named columns of a tab-separated file, as text.

    Parameters
    ----------
    path
        The file, in UTF-8, with or without a byte order mark. Empty lines are skipped.
    columns
        In the order in which they are wanted.
    remedy
        What the reader of an error shall do.

    Raises
    ------
    SourceError
        If the file or a column is missing, the file is not in UTF-8, a column is there twice, or a line is
        too short.
    """
    lines = _lines(path, remedy)
    found = lines[0][1] if lines else []
    wrong = [column for column in columns if found.count(column) != 1]
    if wrong:
        raise SourceError(
            f"{path} must have each of the columns {list(columns)} once; {wrong} are missing from {found}, or "
            f"there twice. {remedy}"
        )
    places = [found.index(column) for column in columns]
    short = [n for n, cells in lines if len(cells) <= max(places)]
    if short:
        raise SourceError(
            f"{path} must have {len(found)} columns in every line; line {short[0]} has fewer. {remedy}"
        )
    return [tuple(cells[place] for place in places) for _, cells in lines[1:]]


def _lines(path: Path, remedy: str) -> list[tuple[int, list[str]]]:
    """Return the number and the cells of each line that is not empty."""
    if not path.exists():
        raise SourceError(f"{path} must exist; it does not. {remedy}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} must be text in UTF-8; its byte {error.start} is {error.object[error.start]:#04x}, which "
            f"is none there. Save it in UTF-8. {remedy}"
        ) from error
    return [(n, line.split("\t")) for n, line in enumerate(text.split("\n"), start=1) if line]
