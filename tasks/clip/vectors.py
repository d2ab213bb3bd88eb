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
    require_unit_norm(vectors)
    return vectors


def layers_to_column(layers: Mapping[int, Vectors], n_rows: int) -> pa.Array:
    """Put the vectors of some layers into the column ``layers`` of `image_vectors`.

    Parameters
    ----------
    layers : Mapping[int, Vectors]
        Layer to shape (n_rows, dim of the layer), unit norm.
    """
    for vectors in layers.values():
        require_unit_norm(vectors)
    rows = [[(layer, own[row]) for layer, own in layers.items()] for row in range(n_rows)]
    return pa.array(rows, pa.map_(pa.int32(), pa.list_(pa.float32())))


def column_to_layer(table: pa.Table, layer: int) -> Vectors:
    """Take the vectors of one layer out of rows of `image_vectors`.

    Parameters
    ----------
    table : pyarrow.Table
        With a column ``layers``.

    Raises
    ------
    VectorError
        If a row lacks the layer.
    """
    rows = [dict(row) for row in table["layers"].to_pylist()]
    held = set(rows[0]).intersection(*rows) if rows else set()
    if layer not in held:
        raise VectorError(
            f"image_vectors must hold layer {layer} of every picture; it holds {sorted(held) or 'none'}. "
            f"Put {layer} into embed.image_layers, then run `dvc repro embed`."
        )
    return np.array([row[layer] for row in rows], np.float32)


def text_key(text: str) -> str:
    """Return the key of a text in the cache: the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def require_unit_norm(vectors: Vectors) -> None:
    """Raise VectorError where a vector is not of unit norm."""
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < UNIT_NORM_TOLERANCE))
    if len(wrong):
        raise VectorError(
            f"Vectors must be of unit norm; {len(wrong)} of {len(vectors)} are not, row {wrong[0]} "
            f"has norm {norms[wrong[0]]}. Mend the model that made them."
        )
