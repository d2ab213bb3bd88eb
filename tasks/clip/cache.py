"""The cache that keeps a text or a picture from being embedded twice.

A vector is found by the SHA-256 of what it stands for, in the folder of the model that made it. Each
batch is one shard of two files that are never changed: ``<hash>.npy`` holds the vectors, and
``<hash>.parquet``, written after it, says which row is whose, with a checksum of each row; the hash is
that of the Parquet file itself. A kill loses at most the batch under way, several processes can share a
folder, and what was damaged is found when it is read and counts as missing. Small shards are merged now
and then: the merged one is complete on disk before those it holds are removed.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int64

from tasks.clip.vectors import Vectors, require_unit_norm
from tasks.runtime.files import atomic_path, write_bytes

logger = logging.getLogger(__name__)

VECTOR_CACHE = Path("data/cache/vectors")
MAX_ROWS = 2**16
"""Rows of a merged shard, at most; half of it and more is not merged again."""
MANY_SHARDS = 16
"""Small shards that are worth merging."""

Stored = Float[np.ndarray, "n_rows dim"]


@dataclass(frozen=True)
class VectorCache:
    """Every vector of one sort that one model has made.

    Attributes
    ----------
    folder : Path
        Where the shards lie; made with the first one.
    dtype : str
        As which vectors are stored: float32 or float16. They are read as float32.
    """

    folder: Path
    dtype: str = "float32"

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
        require_unit_norm(vectors)
        self._write(pa.array(keys, pa.string()), np.ascontiguousarray(vectors, self.dtype))

    def _write(self, keys: pa.Array, vectors: Stored) -> str:
        index = {"key": keys, "checksum": _checksums(vectors)}
        kind = {"dim": str(vectors.shape[1]), "dtype": vectors.dtype.name}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(index, metadata=kind), sink)
        content = sink.getvalue().to_pybytes()
        name = hashlib.sha256(content).hexdigest()
        with atomic_path(self.folder / f"{name}.npy") as partial:
            np.save(partial, vectors)
        write_bytes(self.folder / f"{name}.parquet", content)
        return name

    def read(self, keys: Sequence[str]) -> tuple[Vectors, Bool[np.ndarray, " n_vectors"]]:
        """Look vectors up.

        Returns
        -------
        vectors : Vectors
            In the order of the keys; zeros where there is none.
        found : Bool[np.ndarray, " n_vectors"]
            Whether there is an intact one.
        """
        try:
            return self._read(pa.array(keys, pa.string()), list(self._shards()))
        except FileNotFoundError:  # merged by another process since it was listed
            return self.read(keys)

    def _read(
        self, wanted: pa.Array, shards: list[_Shard]
    ) -> tuple[Vectors, Bool[np.ndarray, " n_vectors"]]:
        dim = shards[0].vectors.shape[1] if shards else 0
        vectors, found = np.zeros((len(wanted), dim), np.float32), np.zeros(len(wanted), bool)
        damaged = np.zeros(len(wanted), bool)
        todo = np.arange(len(wanted))
        index = _Index.of(shards)
        while len(todo):
            entries = index.find(wanted.take(pa.array(todo)))
            todo, entries = todo[entries >= 0], entries[entries >= 0]
            intact = np.zeros(len(todo), bool)
            for number in np.unique(index.shard[entries]):
                of_shard = np.flatnonzero(index.shard[entries] == number)
                rows = index.row[entries[of_shard]]
                intact[of_shard] = shards[number].intact(rows)
                good = of_shard[intact[of_shard]]
                vectors[todo[good]] = shards[number].read(index.row[entries[good]])
            found[todo[intact]] = True
            damaged[todo[~intact]] = True
            todo, index = todo[~intact], index.without(entries[~intact])
        if n_lost := int((damaged & ~found).sum()):
            logger.warning(
                "%d vectors in %s are damaged and count as missing.", n_lost, self.folder
            )
        return vectors, found

    def written_since_now(self) -> Callable[[], int]:
        """Return what counts the vectors that have been written since this call."""
        before = set(self.folder.glob("[!.]*.parquet"))
        sizes: dict[Path, int] = {}

        def count() -> int:
            for path in set(self.folder.glob("[!.]*.parquet")) - before - set(sizes):
                try:
                    sizes[path] = pq.read_metadata(path).num_rows
                except FileNotFoundError:  # another process merged it
                    continue
            return sum(sizes.values())

        return count

    def compact(self) -> None:
        """Merge small shards where there are many, dropping what is damaged or there twice."""
        try:
            small = [shard for shard in self._shards() if len(shard.keys) <= MAX_ROWS // 2]
            if len(small) < MANY_SHARDS:
                return
            for group in _groups(small):
                self._merge(group)
        except FileNotFoundError:  # another process is merging them
            logger.info("%s is being merged by another process.", self.folder)

    def _merge(self, shards: list[_Shard]) -> None:
        index = _Index.of(shards)
        first = np.flatnonzero(index.find(index.keys) == np.arange(len(index.keys)))
        vectors = np.concatenate([shard.vectors for shard in shards])
        intact = np.concatenate([shard.intact(np.arange(len(shard.keys))) for shard in shards])
        chosen = first[intact[first]]
        merged = self._write(index.keys.take(pa.array(chosen)), vectors[chosen])
        for shard in shards:
            if shard.path.stem != merged:
                shard.path.unlink(missing_ok=True)
                shard.path.with_suffix(".npy").unlink(missing_ok=True)

    def _shards(self) -> Iterator[_Shard]:
        for path in sorted(self.folder.glob("[!.]*.parquet")):
            if shard := _open(path):
                yield shard


@dataclass(frozen=True)
class _Shard:
    path: Path
    keys: pa.Array
    checksums: Int64[np.ndarray, " n_rows"]
    vectors: Stored

    def intact(self, rows: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Tell which rows are as they were written."""
        return np.asarray(_checksums(self.vectors[rows]) == self.checksums[rows])

    def read(self, rows: Int64[np.ndarray, " n"]) -> Vectors:
        """Return rows in float32, of unit norm also where they were rounded."""
        vectors: Vectors = self.vectors[rows].astype(np.float32)
        if self.vectors.dtype != np.float32:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


@dataclass(frozen=True)
class _Index:
    """Which shard and row each key is in; a key may be there more than once."""

    keys: pa.Array
    shard: Int64[np.ndarray, " n"]
    row: Int64[np.ndarray, " n"]

    @classmethod
    def of(cls, shards: list[_Shard]) -> _Index:
        sizes = [len(shard.keys) for shard in shards]
        return cls(
            pa.concat_arrays([pa.array([], pa.string()), *(shard.keys for shard in shards)]),
            np.repeat(np.arange(len(shards)), sizes),
            np.concatenate([np.zeros(0, np.int64), *(np.arange(size) for size in sizes)]),
        )

    def find(self, wanted: pa.Array) -> Int64[np.ndarray, " n"]:
        """Return the first entry of each key; -1 where there is none."""
        entries = pc.index_in(wanted, value_set=self.keys).fill_null(-1)
        return np.asarray(entries.to_numpy(zero_copy_only=False), np.int64)

    def without(self, entries: Int64[np.ndarray, " n"]) -> _Index:
        kept = np.delete(np.arange(len(self.keys)), entries)
        return _Index(self.keys.take(pa.array(kept)), self.shard[kept], self.row[kept])


def _groups(shards: list[_Shard]) -> Iterator[list[_Shard]]:
    group: list[_Shard] = []
    for shard in shards:
        if group and sum(len(one.keys) for one in [*group, shard]) > MAX_ROWS:
            yield group
            group = []
        group.append(shard)
    if len(group) > 1:
        yield group


def _open(path: Path) -> _Shard | None:
    """Open a shard without reading its vectors; None, with a warning, if it is damaged."""
    content, vectors_path = path.read_bytes(), path.with_suffix(".npy")
    if hashlib.sha256(content).hexdigest() != path.stem:
        logger.warning("%s is damaged; its vectors count as missing.", path)
        return None
    index = pq.read_table(pa.BufferReader(content))
    kind = index.schema.metadata
    dtype, shape = np.dtype(kind[b"dtype"].decode()), (len(index), int(kind[b"dim"]))
    n_bytes = vectors_path.stat().st_size if vectors_path.exists() else 0
    header_bytes = n_bytes - dtype.itemsize * shape[0] * shape[1]
    if header_bytes < 0:
        path.stat()  # merged meanwhile: the index goes first
        logger.warning("%s is incomplete; its vectors count as missing.", vectors_path)
        return None
    vectors = np.memmap(vectors_path, dtype, "r", header_bytes, shape)
    return _Shard(path, index["key"].combine_chunks(), index["checksum"].to_numpy(), vectors)


def _checksums(vectors: Stored) -> Int64[np.ndarray, " n_vectors"]:
    """Return one checksum per row."""
    return np.array([zlib.crc32(row) for row in vectors], np.int64)
