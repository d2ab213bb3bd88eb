"""Captions that people wrote, from COCO-style JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.language.captioners.base import Stimulus
from tasks.runtime.errors import PerceptError

PICTURE_COLUMNS = ("stimulus_id", "file_name", "image", "filename")
CAPTION_COLUMNS = ("caption", "text")


class CaptionFileError(PerceptError):
    """The captions of a study are missing or incomplete."""


@dataclass(frozen=True)
class HumanCaptions:
    """What people say of pictures.

    Attributes
    ----------
    texts : Mapping[str, Sequence[str]]
        Captions of each stimulus that has any.
    objects : Mapping[str, frozenset[str]]
        Names of the objects that were annotated or detected in it.
    """

    texts: Mapping[str, Sequence[str]]
    objects: Mapping[str, frozenset[str]]


def study_file(name: str, image_path: Path, raw: Path) -> Path:
    """Return a file of the study that a picture belongs to.

    Returns
    -------
    Path
        It lies in the folder of the picture or in the nearest one above, ``raw`` excluded.

    Raises
    ------
    CaptionFileError
        If there is none.
    """
    for folder in image_path.parents:
        if folder == raw:
            break
        if (folder / name).is_file():
            return folder / name
    raise CaptionFileError(
        f"The study of {image_path} must have {name}; it has none. Put it into the folder of the "
        "study, or choose another caption.backend."
    )


def read_human_captions(path: Path, stimuli: Sequence[Stimulus]) -> HumanCaptions:
    """Read the captions that people wrote of some stimuli.

    A picture is named by its stimulus_id, by the name of its file, or by that name without suffix.

    Parameters
    ----------
    path : Path
        As `read_records` takes it.
    stimuli : Sequence[Stimulus]
        Pictures; captions of others are left out.

    Raises
    ------
    CaptionFileError
        If the file cannot be read so, or speaks of none of the stimuli.
    """
    texts: dict[str, list[str]] = {}
    objects: dict[str, set[str]] = {}
    names = _names(stimuli)
    for picture, captions, things in read_records(path):
        for stimulus_id in names.get(picture, ()):
            said = (" ".join(caption.split()) for caption in captions)
            texts.setdefault(stimulus_id, []).extend(caption for caption in said if caption)
            objects.setdefault(stimulus_id, set()).update(thing.lower() for thing in things)
    if not any(texts.values()):
        raise CaptionFileError(
            f"{path} must hold captions of the study's pictures; none of them is named as one of "
            f"its {len(stimuli)} stimuli or their files. Name pictures by stimulus_id or file name."
        )
    return HumanCaptions(
        {stimulus_id: tuple(said) for stimulus_id, said in texts.items() if said},
        {stimulus_id: frozenset(things) for stimulus_id, things in objects.items()},
    )


Record = tuple[str, list[str], list[str]]
"""Name of a picture, captions of it, and objects in it."""


def _names(stimuli: Iterable[Stimulus]) -> dict[str, set[str]]:
    """Return every name that a picture may be called by, to its stimuli."""
    names: dict[str, set[str]] = {}
    for stimulus in stimuli:
        path = stimulus.image_path
        for name in (stimulus.stimulus_id, path.name, path.stem):
            names.setdefault(name, set()).add(stimulus.stimulus_id)
    return names


def read_records(path: Path) -> list[Record]:
    """Read captions of pictures in whichever form they are.

    Parameters
    ----------
    path : Path
        COCO's JSON (``images`` and ``annotations``) or its results (a list with ``image_id`` and ``caption``);
        Karpathy's JSON (``images`` with ``sentences``); a JSON object of picture to a caption, a list of captions,
        or ``human_captions`` (or ``captions``) and ``categories``; or a table (``.csv``, ``.tsv``) with the columns
        ``stimulus_id`` (or ``file_name``, ``image``) and ``caption``, one row per caption, and ``objects`` at
        will, joined by semicolons or commas. A table may be separated by commas, semicolons or tabs, in UTF-8 or
        Windows-1252, and write its columns in any case, as spreadsheets do.

    Raises
    ------
    CaptionFileError
        If it is none of these.
    """
    if not path.is_file():
        raise CaptionFileError(f"{path} must exist; it does not. Mend its name.")
    try:
        return list(_csv(path) if path.suffix.lower() in (".csv", ".tsv", ".txt") else _json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptionFileError(
            f"{path} must be COCO-style JSON or a CSV of captions; it cannot be read so "
            f"({type(error).__name__}: {error}). Mend it."
        ) from error


def _json(path: Path) -> Iterator[Record]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, list):
        for row in content:
            yield str(row["image_id"]), [_text(row["caption"])], []
        return
    if "annotations" in content and "images" in content:
        yield from _coco(content)
        return
    if isinstance(content.get("images"), list):
        for image in content["images"]:
            yield _text(image["filename"]), [_text(one["raw"]) for one in image["sentences"]], []
        return
    for picture, said in content.items():
        if isinstance(said, str):
            yield picture, [said], []
        elif isinstance(said, list):
            yield picture, [_text(caption) for caption in said], []
        else:
            captions = said["human_captions"] if "human_captions" in said else said["captions"]
            yield picture, [_text(caption) for caption in captions], said.get("categories", [])


def _coco(content: Mapping[str, list[dict[str, object]]]) -> Iterator[Record]:
    """Yield one record per annotation: a caption, or an object where instances are in the file, too."""
    names = {image["id"]: _text(image["file_name"]) for image in content["images"]}
    categories = {category["id"]: category["name"] for category in content.get("categories", [])}
    for annotation in content["annotations"]:
        captions = [_text(annotation["caption"])] if "caption" in annotation else []
        category = categories.get(annotation.get("category_id"))
        yield names[annotation["image_id"]], captions, [_text(category)] if category else []


def read_csv(path: Path) -> csv.DictReader[str]:
    """Return the rows of a table as spreadsheets save it: commas, semicolons or tabs, UTF-8 or Windows-1252."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    header = text.split("\n", 1)[0]
    return csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))


def _csv(path: Path) -> Iterator[Record]:
    rows = read_csv(path)
    names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    find: Callable[[tuple[str, ...]], str] = lambda known: next(  # noqa: E731
        (names[name] for name in known if name in names), ""
    )
    picture, caption, things = find(PICTURE_COLUMNS), find(CAPTION_COLUMNS), find(("objects",))
    if not picture or not caption:
        raise ValueError(f"the columns are {rows.fieldnames}")
    for row in rows:
        said = re.split("[;,]", row.get(things) or "")
        yield (
            row[picture].strip(),
            [row[caption] or ""],
            [one.strip() for one in said if one.strip()],
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
