"""The review sheet: a random sample of captions for people to judge, as HTML or CSV, and back."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.artifacts.pictures import read_picture
from tasks.language.human import CaptionFileError, read_csv
from tasks.runtime.files import write_text

VERDICTS = ("correct", "wrong", "invented", "unsure")
"""True of the picture; not true of it; names what is not there; cannot be told."""
COLUMNS = ("caption_id", "kind", "text", "image_path", "verdict", "comment")
FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet computes."""
THUMBNAIL_PX = 320


@dataclass(frozen=True)
class Sheet:
    """One caption to judge.

    Attributes
    ----------
    caption_id, kind, text : str
        The caption.
    image_path : Path
        Its picture.
    sha256 : str
        Of the picture's bytes.
    """

    caption_id: str
    kind: str
    text: str
    image_path: Path
    sha256: str


def write_review(path: Path, sheets: Sequence[Sheet]) -> None:
    """Write captions to be judged: HTML with the pictures inside, or CSV, by the suffix.

    Parameters
    ----------
    path : Path
        ``.html`` or ``.csv``.

    Raises
    ------
    CaptionFileError
        If the suffix is another, or the file exists: it may hold somebody's work.
    """
    if path.exists():
        raise CaptionFileError(
            f"{path} must be a new file; it exists and may hold verdicts. Choose another name."
        )
    if path.suffix == ".csv":
        write_text(path, _to_csv(sheets))
    elif path.suffix == ".html":
        write_text(path, _to_html(sheets))
    else:
        raise CaptionFileError(f"A review sheet must end in .html or .csv; {path} does not.")


def read_review(path: Path) -> dict[tuple[str, str], str]:
    """Read the verdicts of a CSV that somebody filled in, or that the HTML sheet saved.

    Parameters
    ----------
    path : Path
        CSV with the columns ``caption_id``, ``text`` and ``verdict`` as a spreadsheet saves it: separated by commas,
        semicolons or tabs, in UTF-8 or Windows-1252. Rows without a verdict are left out.

    Returns
    -------
    dict[tuple[str, str], str]
        Verdict by caption_id and text: a verdict is on the words that somebody read.

    Raises
    ------
    CaptionFileError
        If a column is missing, a verdict is unknown, or no caption has one.
    """
    rows = read_csv(path)
    names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    if not {"caption_id", "text", "verdict"} <= set(names):
        raise CaptionFileError(
            f"{path} must have the columns caption_id, text and verdict; found {rows.fieldnames}. "
            "Write a sheet with `percept captions review`."
        )
    given = {
        (row[names["caption_id"]].strip(), _from_cell(row[names["text"]] or "")): verdict
        for row in rows
        if (verdict := (row[names["verdict"]] or "").strip().lower())
    }
    unknown = sorted({verdict for verdict in given.values() if verdict not in VERDICTS})
    if unknown or not given:
        raise CaptionFileError(
            f"{path} must hold verdicts, each of {', '.join(VERDICTS)}; found "
            f"{unknown or 'none at all'}. Fill it in."
        )
    return given


def _to_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _from_cell(cell: str) -> str:
    text = " ".join(cell.split())
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def _to_csv(sheets: Sequence[Sheet]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((s.caption_id, s.kind, _to_cell(s.text), s.image_path, "", "") for s in sheets)
    return text.getvalue()


def _to_html(sheets: Sequence[Sheet]) -> str:
    environment = Environment(
        loader=PackageLoader("tasks.language"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["picture"] = _picture
    template = environment.get_template("review.html.j2")
    return template.render(sheets=sheets, verdicts=VERDICTS, columns=COLUMNS)


def _picture(sheet: Sheet) -> str:
    """Return a small copy of the picture as a data URI."""
    _, small = read_picture(sheet.image_path, sheet.sha256)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
