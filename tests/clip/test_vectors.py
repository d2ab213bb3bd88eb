"""Vectors in tables and in the cache."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.vectors import (
    VectorCache,
    VectorError,
    table_to_vectors,
    text_key,
    vectors_to_table,
)


def unit(n, seed=0, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(n, start=0):
    return [text_key(str(number)) for number in range(start, start + n)]


@pytest.fixture
def cache(tmp_path):
    return VectorCache(tmp_path / "model")


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


def test_a_vector_that_is_not_of_unit_norm_is_refused(cache):
    vectors = unit(3)
    vectors[1] = np.nan
    with pytest.raises(VectorError) as error:
        vectors_to_table({"caption_id": list("abc")}, vectors)
    assert str(error.value) == (
        "Vectors must be of unit norm; 1 of 3 are not, row 1 has norm nan. "
        "Mend the model that made them."
    )
    with pytest.raises(VectorError):
        cache.write(names(3), vectors)
    assert not cache.folder.exists()


def test_vectors_of_several_lengths_are_refused():
    table = pa.table({"vector": pa.array([[1.0], [1.0, 0.0]], pa.list_(pa.float32()))})
    with pytest.raises(VectorError, match=r"must be of one length; found \[1, 2\]"):
        table_to_vectors(table)


def test_vectors_are_found_in_the_order_of_the_keys(cache):
    cache.write(names(3), unit(3, 1))
    cache.write(names(2, 3), unit(2, 2))
    vectors, found = cache.read([*names(5)[::-1], text_key("unknown"), names(1)[0]])
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 1, 0, 1])
    every = np.concatenate([unit(3, 1), unit(2, 2)])
    np.testing.assert_array_equal(vectors[:5], every[::-1])
    np.testing.assert_array_equal(vectors[6], every[0])


def test_an_empty_cache_finds_nothing(cache):
    _, found = cache.read(names(2))
    assert not found.any()


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_no_flipped_byte_passes_for_a_vector(cache, suffix):
    cache.write(names(4), unit(4))
    (path,) = cache.folder.glob(f"*{suffix}")
    content = path.read_bytes()
    n_lost = 0
    for position in range(0, len(content), 3):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]
        )
        vectors, found = cache.read(names(4))
        if found.any():
            np.testing.assert_array_equal(vectors[found], unit(4)[found])
        n_lost += not found.all()
    assert n_lost >= (len(content) if suffix == ".parquet" else unit(4).nbytes) // 3


def test_a_damaged_vector_is_reported_and_can_be_made_anew(cache, caplog):
    cache.write(names(4), unit(4))
    (path,) = cache.folder.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _, found = cache.read(names(4))
    assert caplog.messages == [f"1 vectors in {cache.folder} are damaged and count as missing."]
    np.testing.assert_array_equal(found, [1, 1, 1, 0])
    cache.write(names(1, 3), unit(4)[3:])
    caplog.clear()
    vectors, found = cache.read(names(4))
    assert found.all()
    assert not caplog.messages
    np.testing.assert_array_equal(vectors, unit(4))


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("n_bytes", [0, 50, 140])
def test_a_truncated_shard_counts_as_missing(cache, suffix, n_bytes, caplog):
    cache.write(names(4), unit(4))
    cache.write(names(2, 4), unit(2, 1))
    path = min(cache.folder.glob(f"*{suffix}"))
    path.write_bytes(path.read_bytes()[:n_bytes])
    _, found = cache.read(names(6))
    assert found.sum() in (2, 4)
    assert "missing" in caplog.text


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tasks.clip.vectors import VectorCache, text_key
cache, number = VectorCache(Path(sys.argv[1])), 0
vectors = np.eye(512, dtype=np.float32)
while True:
    cache.write([text_key(f"{number}-{row}") for row in range(512)], vectors)
    print(number, flush=True)
    number += 1
"""


def test_a_kill_loses_at_most_the_shard_under_way(cache):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(cache.folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout
    last = -1
    while last < 10:
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    for number in range(last + 1):
        vectors, found = cache.read([text_key(f"{number}-{row}") for row in range(512)])
        assert found.all()
        np.testing.assert_array_equal(vectors, np.eye(512, dtype=np.float32))
