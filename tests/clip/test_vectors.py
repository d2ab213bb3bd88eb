"""Vectors in tables."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.vectors import (
    VectorError,
    table_to_vectors,
    vectors_to_table,
)


def unit(n, seed=0, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_survive_a_table(tmp_path):
    path = tmp_path / "text_vectors.parquet"
    table = vectors_to_table({"caption_id": ["b", "a"]}, unit(2))
    write_table(table, path, TEXT_VECTORS)
    back = read_table(path, TEXT_VECTORS)
    assert back["caption_id"].to_pylist() == ["b", "a"]
    np.testing.assert_array_equal(table_to_vectors(back), unit(2))


def test_a_filtered_or_chunked_table_gives_its_own_rows():
    table = pa.concat_tables(
        [vectors_to_table({"caption_id": list("ab")}, unit(2, seed)) for seed in (1, 2)]
    )
    np.testing.assert_array_equal(
        table_to_vectors(table.slice(1, 2)), [unit(2, 1)[1], unit(2, 2)[0]]
    )


def test_tables_may_have_several_key_columns(tmp_path):
    table = vectors_to_table({"trial_id": ["t", "t"], "kind": ["x", "y"]}, unit(2))
    write_table(table, tmp_path / "predictions.parquet", PREDICTIONS)


def test_a_vector_that_is_not_of_unit_norm_is_refused():
    vectors = unit(3)
    vectors[1] = np.nan
    with pytest.raises(VectorError) as error:
        vectors_to_table({"caption_id": list("abc")}, vectors)
    assert str(error.value) == (
        "Vectors must be of unit norm; 1 of 3 are not, row 1 has norm nan. "
        "Mend the model that made them."
    )


def test_vectors_of_several_lengths_are_refused():
    table = pa.table({"vector": pa.array([[1.0], [1.0, 0.0]], pa.list_(pa.float32()))})
    with pytest.raises(VectorError, match=r"must be of one length; found \[1, 2\]"):
        table_to_vectors(table)
