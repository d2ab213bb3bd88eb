"""External galleries: any captions, to be searched by what was decoded.

A gallery is a folder of ``data/galleries``: ``captions.parquet`` holds its distinct texts in the order of
their ids, ``manifest.json`` says where they came from. Its vectors are made when it is searched first and
kept beside it, one file per model, so that a search maps them from disk.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.artifacts.contracts._field import contract, field
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.vectors import Vectors
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path, sha256_of, write_json

GALLERIES = Path("data/galleries")
STUDY_GALLERIES = ("train", "test", "all")
"""Names that are taken by the study's own captions."""
TEXT_COLUMNS = ("text", "caption", "TEXT", "captions")
MAX_CHARACTERS = 2000
"""Longer texts are no captions: CLIP reads 77 tokens."""

EXTERNAL_CAPTIONS = contract(
    field("caption_id", pa.string(), "name of the gallery and line of the first appearance"),
    field("text", pa.string(), "the caption"),
    key="caption_id",
)


class CorpusError(PerceptError):
    """A file cannot become a gallery, or there is no such gallery."""


@dataclass(frozen=True)
class Corpus:
    """An external gallery on disk.

    Attributes
    ----------
    folder : Path
        Its folder; the name is the gallery's.
    """

    folder: Path

    @property
    def captions(self) -> Path:
        """Where its captions lie."""
        return self.folder / "captions.parquet"

    @property
    def manifest(self) -> dict[str, object]:
        """Where it came from and how many captions it holds."""
        return dict(json.loads((self.folder / "manifest.json").read_text()))

    def read(self) -> pa.Table:
        """Read caption_id and text, in the order of the ids."""
        return read_table(self.captions, EXTERNAL_CAPTIONS)

    def vectors_path(self, fingerprint: str) -> Path:
        """Return where the vectors of a model lie, of these very captions."""
        content = str(self.manifest["captions_sha256"])
        return self.folder / f"vectors_{fingerprint[:16]}_{content[:16]}.npy"

    def keep_vectors(self, vectors: Vectors, fingerprint: str) -> None:
        """Keep the vectors of a model, row by row those of the captions."""
        with atomic_path(self.vectors_path(fingerprint)) as partial:
            np.save(partial, vectors)


def add_corpus(
    path: Path, name: str, *, column: str | None = None, root: Path = GALLERIES
) -> Corpus:
    """Make a gallery of a file of captions.

    Parameters
    ----------
    path : Path
        Parquet, or text with one caption per line.
    name : str
        Of the gallery: small letters, digits, ``-`` and ``_``.
    column : str or None
        Column of a Parquet file that holds the captions; None: the one named as usual.

    Raises
    ------
    CorpusError
        If the name is taken or the file holds no captions.
    """
    corpus = _new(name, root)
    texts = _read_texts(path, column)
    table = _distinct(texts, name, path)
    write_table(table, corpus.captions, EXTERNAL_CAPTIONS)
    about = {
        "n_captions": len(table),
        "n_lines": len(texts),
        "source": path.name,
        "source_sha256": sha256_of(path),
        "captions_sha256": sha256_of(corpus.captions),
    }
    write_json(corpus.folder / "manifest.json", about)
    return corpus


def list_corpora(root: Path = GALLERIES) -> list[Corpus]:
    """Return the galleries that there are, by name."""
    return [Corpus(path.parent) for path in sorted(root.glob("*/manifest.json"))]


def find_corpus(name: str, root: Path = GALLERIES) -> Corpus:
    """Return a gallery by its name.

    Raises
    ------
    CorpusError
        If there is none.
    """
    corpora = {corpus.folder.name: corpus for corpus in list_corpora(root)}
    if name not in corpora:
        raise CorpusError(
            f"A gallery must be one of {', '.join(corpora) or 'none so far'}; {name!r} is none. "
            "Add it with `percept gallery add FILE`."
        )
    return corpora[name]


def remove_corpus(name: str, root: Path = GALLERIES) -> None:
    """Remove a gallery with its vectors; the file that it was made of stays.

    Raises
    ------
    CorpusError
        If there is none of that name.
    """
    shutil.rmtree(find_corpus(name, root).folder)


def _new(name: str, root: Path) -> Corpus:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name) or name in STUDY_GALLERIES:
        raise CorpusError(
            "A gallery's name must be of small letters, digits, - and _, and none of "
            f"{', '.join(STUDY_GALLERIES)}; found {name!r}. Give another with --name."
        )
    corpus = Corpus(root / name)
    if (corpus.folder / "manifest.json").exists():
        raise CorpusError(
            f"There is a gallery {name} already. Run `percept gallery remove {name}` first, or give "
            "another name with --name."
        )
    return corpus


def _read_texts(path: Path, column: str | None) -> pa.Array:
    """Return the captions of a file, line by line."""
    if not path.is_file():
        raise CorpusError(f"{path} must be a file of captions; there is none. Mend the path.")
    with path.open("rb") as handle:
        is_parquet = handle.read(4) == b"PAR1"
    if is_parquet or path.suffix == ".parquet":
        return _read_parquet(path, column)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} must be UTF-8 text or Parquet; byte {error.start} is neither. Convert it."
        ) from error
    if "\0" in text:
        raise CorpusError(f"{path} must be UTF-8 text or Parquet; it holds zero bytes. Convert it.")
    return pa.array(text.removesuffix("\n").split("\n"), pa.large_string())


def _read_parquet(path: Path, column: str | None) -> pa.Array:
    try:
        names = pq.read_schema(path).names
        chosen = [name for name in ([column] if column else TEXT_COLUMNS) if name in names]
        table = pq.read_table(path, columns=chosen[:1])
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(
            f"{path} must be a whole Parquet file; it cannot be read ({error}). Fetch it anew."
        ) from error
    if not chosen:
        wanted = column or " or ".join(TEXT_COLUMNS)
        raise CorpusError(
            f"{path} must have a column {wanted}; it has {', '.join(names)}. Name it with --column."
        )
    texts = table[chosen[0]]
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise CorpusError(
            f"Column {chosen[0]} of {path} must hold text; it holds {texts.type}. Name another "
            "with --column."
        )
    return texts.cast(pa.large_string()).combine_chunks()


def _distinct(texts: pa.Array, name: str, path: Path) -> pa.Table:
    """Return the distinct captions with their ids; blank lines are none."""
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(texts), "")
    lines = np.flatnonzero(pc.not_equal(trimmed, "").to_numpy(zero_copy_only=False))
    kept = trimmed.take(pa.array(lines))
    if not len(kept):
        raise CorpusError(f"{path} must hold captions; all {len(texts)} lines are blank. Mend it.")
    longest = int(pc.max(pc.utf8_length(kept)).as_py())
    if longest > MAX_CHARACTERS:
        line = int(lines[int(pc.index(pc.utf8_length(kept), longest).as_py())]) + 1
        raise CorpusError(
            f"A caption must have at most {MAX_CHARACTERS} characters; line {line} of {path} has "
            f"{longest}. Is it one caption per line?"
        )
    encoded = kept.dictionary_encode()
    _, first = np.unique(encoded.indices.to_numpy(zero_copy_only=False), return_index=True)
    first = np.sort(first)
    width = len(str(len(texts)))
    ids = [f"{name}_{line + 1:0{width}d}" for line in lines[first].tolist()]
    return pa.table({"caption_id": ids, "text": kept.take(pa.array(first)).cast(pa.string())})
