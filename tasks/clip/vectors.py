"""Vectors in tables, and the cache that keeps a text or a picture from being embedded twice.

In the cache, a vector is found by the SHA-256 of what it stands for. Each batch is one shard of two
files that are never changed: ``<hash>.npy`` holds the vectors, and ``<hash>.parquet``, written after
it, says which row is whose, with a checksum of each row; the hash is that of the Parquet file itself.
A kill loses at most the batch under way, several processes can share a folder, and what was damaged is
found when it is read and counts as missing.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int64

from tasks._errors import PerceptError
from tasks.artifacts.files import atomic_path, write_bytes

logger = logging.getLogger(__name__)

VECTOR_CACHE = Path("data/cache/vectors")
UNIT_NORM_TOLERANCE = 1e-3

Vectors = Float32[np.ndarray, "n_vectors dim"]


class VectorError(PerceptError):
    """Vectors are not what they must be."""


def vectors_to_table(keys: Mapping[str, Sequence[str] | pa.Array], vectors: Vectors) -> pa.Table:
    """Put vectors into a table.

    Parameters
    ----------
    keys : Mapping[str, Sequence[str] or pyarrow.Array]
        Key columns by name, in the order of the vectors.
    vectors : Vectors
        Shape (n_vectors, dim), unit norm.

    Returns
    -------
    pyarrow.Table
        The key columns and ``vector``.

    Raises
    ------
    VectorError
        If a vector is not of unit norm.
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    _require_unit_norm(vectors)
    n_vectors, dim = vectors.shape
    offsets = pa.array(np.arange(n_vectors + 1, dtype=np.int32) * np.int32(dim))
    column = pa.ListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
    return pa.table({**keys, "vector": column})


def table_to_vectors(table: pa.Table) -> Vectors:
    """Take the vectors out of a table.

    Parameters
    ----------
    table : pyarrow.Table
        With a column ``vector``.

    Returns
    -------
    Vectors
        Shape (n_rows, dim), in the order of the rows, free to be changed.

    Raises
    ------
    VectorError
        If the vectors differ in length or are not of unit norm.
    """
    column = table["vector"].combine_chunks()
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1:
        raise VectorError(
            f"All vectors of a table must be of one length; found {sorted(lengths)}. "
            "Make the table anew."
        )
    values = column.flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = values.reshape(len(column), *lengths or [0]).astype(np.float32)
    _require_unit_norm(vectors)
    return vectors


def text_key(text: str) -> str:
    """Return the key of a text in the cache: the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class VectorCache:
    """Every vector that one model has made.

    Attributes
    ----------
    folder : Path
        Where the shards lie, one folder per model; made with the first shard.
    """

    folder: Path

    def write(self, keys: Sequence[str], vectors: Vectors) -> None:
        """Add a shard.

        Parameters
        ----------
        keys : Sequence[str]
            SHA-256 of what each vector stands for.
        vectors : Vectors
            Shape (n_vectors, dim), unit norm.

        Raises
        ------
        VectorError
            If a vector is not of unit norm.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        _require_unit_norm(vectors)
        index = {"key": pa.array(keys, pa.string()), "checksum": _checksums(vectors)}
        dim = {"dim": str(vectors.shape[1])}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(index, metadata=dim), sink)
        content = sink.getvalue().to_pybytes()
        name = hashlib.sha256(content).hexdigest()
        with atomic_path(self.folder / f"{name}.npy") as partial:
            np.save(partial, vectors)
        write_bytes(self.folder / f"{name}.parquet", content)

    def read(self, keys: Sequence[str]) -> tuple[Vectors, Bool[np.ndarray, " n_vectors"]]:
        """Look vectors up.

        Parameters
        ----------
        keys : Sequence[str]
            Whose vectors are wanted.

        Returns
        -------
        vectors : Vectors
            In the order of the keys; zeros where there is none.
        found : Bool[np.ndarray, " n_vectors"]
            Whether there is an intact one.
        """
        wanted = pa.array(keys, pa.string())
        vectors, found = np.zeros((len(keys), 0), np.float32), np.zeros(len(keys), bool)
        damaged = np.zeros(len(keys), bool)
        for path in sorted(self.folder.glob("[!.]*.parquet")):
            shard = _open(path)
            rows = _rows_of(wanted, shard)
            places = np.flatnonzero((rows >= 0) & ~found)
            if shard is None or not len(places):
                continue
            intact = shard.intact(rows[places])
            damaged[places] = True
            if not vectors.shape[1]:
                vectors = np.zeros((len(keys), shard.vectors.shape[1]), np.float32)
            places = places[intact]
            vectors[places], found[places] = shard.vectors[rows[places]], True
        if n_lost := int((damaged & ~found).sum()):
            logger.warning(
                "%d vectors in %s are damaged and count as missing.", n_lost, self.folder
            )
        return vectors, found


@dataclass(frozen=True)
class _Shard:
    keys: pa.Array
    checksums: Int64[np.ndarray, " n_rows"]
    vectors: Vectors

    def intact(self, rows: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Tell which rows are as they were written."""
        return np.asarray(_checksums(self.vectors[rows]) == self.checksums[rows])


def _rows_of(wanted: pa.Array, shard: _Shard | None) -> Int64[np.ndarray, " n"]:
    """Return where a shard has each key; -1 where it has not."""
    if shard is None:
        return np.full(len(wanted), -1)
    found = pc.index_in(wanted, value_set=shard.keys).fill_null(-1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)


def _open(path: Path) -> _Shard | None:
    """Open a shard without reading its vectors; None, with a warning, if it is damaged."""
    content, vectors_path = path.read_bytes(), path.with_suffix(".npy")
    if hashlib.sha256(content).hexdigest() != path.stem:
        logger.warning("%s is damaged; its vectors count as missing.", path)
        return None
    index = pq.read_table(pa.BufferReader(content))
    shape = len(index), int(index.schema.metadata[b"dim"])
    n_bytes = vectors_path.stat().st_size if vectors_path.exists() else 0
    header_bytes = n_bytes - 4 * shape[0] * shape[1]
    if header_bytes < 0:
        logger.warning("%s is incomplete; its vectors count as missing.", vectors_path)
        return None
    vectors = np.memmap(vectors_path, np.float32, "r", header_bytes, shape)
    return _Shard(index["key"].combine_chunks(), index["checksum"].to_numpy(), vectors)


def _checksums(vectors: Vectors) -> Int64[np.ndarray, " n_vectors"]:
    """Return one checksum per row."""
    return np.array([zlib.crc32(row) for row in vectors], np.int64)


def _require_unit_norm(vectors: Vectors) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < UNIT_NORM_TOLERANCE))
    if len(wrong):
        raise VectorError(
            f"Vectors must be of unit norm; {len(wrong)} of {len(vectors)} are not, row {wrong[0]} "
            f"has norm {norms[wrong[0]]}. Mend the model that made them."
        )
