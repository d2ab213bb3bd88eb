"""Tables as tab-separated text."""

import csv
from pathlib import Path

from tasks.eeg.sources.protocol import SourceError


def read_rows(path: Path, columns: tuple[str, ...], remedy: str) -> list[tuple[str, ...]]:
    """Return the named columns of a tab-separated file, as text.

    Parameters
    ----------
    path
        The file, in UTF-8.
    columns
        In the order in which they are wanted.
    remedy
        What the reader of an error shall do.

    Raises
    ------
    SourceError
        If the file or a column is missing, or a line is too short.
    """
    if not path.exists():
        raise SourceError(f"{path} must exist; it does not. {remedy}")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        found = list(reader.fieldnames or ())
        missing = [column for column in columns if column not in found]
        if missing:
            raise SourceError(
                f"{path} must have the columns {list(columns)}; {missing} are missing from {found}. "
                f"{remedy}"
            )
        rows = list(reader)
    short = [n for n, row in enumerate(rows, start=2) if any(row[c] is None for c in columns)]
    if short:
        raise SourceError(
            f"{path} must have {len(found)} columns in every line; line {short[0]} has fewer. {remedy}"
        )
    return [tuple(row[column] for column in columns) for row in rows]
