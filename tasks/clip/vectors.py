"""Vectors in tables, and the key of what a vector stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32

from tasks.runtime.errors import PerceptError

UNIT_NORM_TOLERANCE = 1e-3
VECTORS_AT_ONCE = 2**16  # whose squares are held at once

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
    require_unit_norm(vectors)
    n_vectors, dim = vectors.shape
    offsets = pa.array(np.arange(n_vectors + 1, dtype=np.int64) * dim)
    column = pa.LargeListArray.from_arrays(offsets, pa.array(vectors.reshape(-1)))
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
    column = table["vector"]
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(lengths) > 1:
        raise VectorError(
            f"All vectors of a table must be of one length; found {sorted(lengths)}. "
            "Make the table anew."
        )
    vectors: Vectors = np.empty((len(column), *(lengths or [0])), np.float32)
    start = 0
    for chunk in column.chunks:
        own = vectors[start : start + len(chunk)]
        own[:] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(own.shape)
        start += len(chunk)
    require_unit_norm(vectors)
    return vectors


def levels_to_table(
    stimulus_ids: Sequence[str] | pa.Array, levels: Mapping[str, Vectors]
) -> pa.Table:
    """Put the vectors of pictures at some levels into a table, one level after the other.

    Parameters
    ----------
    levels : Mapping[str, Vectors]
        Name of the level to vectors in the order of the stimuli.

    Raises
    ------
    VectorError
        If levels differ in length, or a vector is not of unit norm.
    """
    lengths = {name: vectors.shape[1] for name, vectors in levels.items()}
    if len(set(lengths.values())) > 1:
        raise VectorError(
            "All levels of the image target must be vectors of one length; found "
            f"{', '.join(f'{name}: {length}' for name, length in lengths.items())}. Choose blocks of "
            "one width in embed.image."
        )
    ids = pa.array(stimulus_ids)
    return pa.concat_tables(
        vectors_to_table({"stimulus_id": ids, "level": pa.repeat(name, len(ids))}, vectors)
        for name, vectors in levels.items()
    )


def table_to_levels(
    table: pa.Table, stimulus_ids: Sequence[str]
) -> Float32[np.ndarray, "n_stimuli n_levels dim"]:
    """Take the vectors of some stimuli at every level out of `image_targets`.

    Raises
    ------
    VectorError
        If a stimulus lacks a level.
    """
    ids, levels = (np.array(table[name].to_pylist()) for name in ("stimulus_id", "level"))
    vectors, found = table_to_vectors(table), []
    for level in dict.fromkeys(levels):
        rows = np.flatnonzero(levels == level)
        place = dict(zip(ids[rows], rows, strict=True))
        missing = [stimulus for stimulus in stimulus_ids if stimulus not in place]
        if missing:
            raise VectorError(
                f"image_targets must hold every stimulus at every level; {missing[0]} has none at "
                f"{level} ({len(missing)} in all). Run `dvc repro embed`."
            )
        found.append(vectors[[place[stimulus] for stimulus in stimulus_ids]])
    return np.stack(found, axis=1)


def text_key(text: str) -> str:
    """Return the key of a text in the cache: the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def require_unit_norm(vectors: Vectors) -> None:
    """Raise VectorError where a vector is not of unit norm."""
    blocks = range(0, len(vectors), VECTORS_AT_ONCE)
    parts = [np.linalg.norm(vectors[start : start + VECTORS_AT_ONCE], axis=1) for start in blocks]
    norms = np.concatenate([np.zeros(0, np.float32), *parts])
    wrong = np.flatnonzero(~(np.abs(norms - 1) < UNIT_NORM_TOLERANCE))
    if len(wrong):
        raise VectorError(
            f"Vectors must be of unit norm; {len(wrong)} of {len(vectors)} are not, row {wrong[0]} "
            f"has norm {norms[wrong[0]]}. Mend the model that made them."
        )
