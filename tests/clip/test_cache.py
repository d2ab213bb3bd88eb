"""The cache of vectors: found again exactly, whatever happens to its files and to those who write them."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.clip import cache as cache_module
from tasks.clip.cache import VectorCache
from tasks.clip.vectors import VectorError, text_key

ROOT = Path(__file__).parents[2]


def unit(n, seed=0, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(n, start=0):
    return [text_key(str(number)) for number in range(start, start + n)]


@pytest.fixture
def cache(tmp_path):
    return VectorCache(tmp_path / "model")


def test_a_vector_that_is_not_of_unit_norm_is_refused(cache):
    vectors = unit(3)
    vectors[1] = np.nan
    with pytest.raises(VectorError, match="1 of 3 are not, row 1 has norm nan"):
        cache.write(names(3), vectors)
    assert not cache.folder.exists()


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


def test_half_precision_takes_half_the_disk_and_gives_unit_vectors(cache):
    half = VectorCache(cache.folder, "float16")
    half.write(names(50), unit(50, dim=512))
    vectors, found = half.read(names(50))
    assert found.all()
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, unit(50, dim=512), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    (path,) = cache.folder.glob("*.npy")
    assert path.stat().st_size < 50 * 512 * 2 + 200


def test_many_small_shards_become_few_without_losing_or_doubling_a_vector(cache):
    for number in range(20):
        cache.write(names(3, 2 * number), unit(41)[2 * number : 2 * number + 3])
    cache.compact()
    assert len(list(cache.folder.iterdir())) == 2
    (path,) = cache.folder.glob("*.npy")
    assert len(np.load(path)) == 41
    vectors, found = cache.read(names(41))
    assert found.all()
    np.testing.assert_array_equal(vectors, unit(41))


def test_few_or_large_shards_are_left_alone(cache, monkeypatch):
    for number in range(15):
        cache.write(names(3, 3 * number), unit(3, number))
    cache.compact()
    assert len(list(cache.folder.glob("*.npy"))) == 15
    monkeypatch.setattr(cache_module, "MAX_ROWS", 5)
    cache.write(names(3, 99), unit(3))
    cache.compact()
    assert len(list(cache.folder.glob("*.npy"))) == 16


def test_merging_drops_what_is_damaged_and_keeps_the_rest(cache):
    for number in range(16):
        cache.write(names(2, 2 * number), unit(2, number))
    path = min(cache.folder.glob("*.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    cache.compact()
    _, found = cache.read(names(32))
    assert found.sum() == 31


def test_a_second_copy_serves_where_the_first_is_damaged(cache):
    cache.write(names(2), unit(2))
    cache.write(names(3), unit(3))
    for path in sorted(cache.folder.glob("*.npy"))[:1]:
        path.write_bytes(path.read_bytes()[:-64] + bytes(64))
    vectors, found = cache.read(names(2))
    assert found.all()
    np.testing.assert_array_equal(vectors, unit(2))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from tasks.clip.cache import VectorCache
from tasks.clip.vectors import text_key
cache, first = VectorCache(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 60):
    rows = [2 * number, 2 * number + 1]
    cache.write([text_key(str(row)) for row in rows], np.eye(200, dtype=np.float32)[rows])
    cache.compact()
"""


@pytest.mark.slow
def test_several_writers_that_merge_lose_nothing(cache):
    command = [sys.executable, "-c", WRITER, str(cache.folder)]
    writers = [subprocess.Popen([*command, first], cwd=ROOT) for first in ("0", "20", "40")]
    while any(writer.poll() is None for writer in writers):
        vectors, found = cache.read(names(200))
        if found.any():
            np.testing.assert_array_equal(vectors[found], np.eye(200, dtype=np.float32)[found])
    assert not any(writer.wait() for writer in writers)
    vectors, found = cache.read(names(200))
    assert found.all()
    np.testing.assert_array_equal(vectors, np.eye(200, dtype=np.float32))


EMBEDDER = """
import sys, time, types
from functools import partial
from pathlib import Path
import numpy as np
model = types.ModuleType("tasks.clip.model")
model.load_clip, model.ClipModel, model.Precision = None, object, str
sys.modules["tasks.clip.model"] = model
timm_model = types.ModuleType("tasks.clip.timm_model")
timm_model.TIMM_PREFIX, timm_model.TimmModel = "timm:", object
sys.modules["tasks.clip.timm_model"] = timm_model
sys.modules["open_clip"] = types.ModuleType("open_clip")
from tasks.runtime.map import serial_map
from tasks.clip.cache import VectorCache
from tasks.clip.embedding import embed_missing
from tasks.clip.vectors import text_key
cache = VectorCache(Path(sys.argv[1]))
def work(pieces):
    for start in range(0, len(pieces), 8):
        batch = pieces[start : start + 8]
        print(len(batch), flush=True)
        time.sleep(0.002)
        vectors = np.eye(400, dtype=np.float32)[[int(text) for _, text in batch]]
        cache.write([key for key, _ in batch], vectors)
pieces = [(text_key(str(number)), str(number)) for number in range(400)]
vectors = embed_missing(pieces, work, cache, 64, serial_map)
assert (vectors == np.eye(400, dtype=np.float32)).all()
print("done")
"""


@pytest.mark.slow
def test_kills_at_random_moments_lose_at_most_the_batch_under_way(cache):
    chance, n_embedded, n_kills, done = random.Random(0), 0, 0, False
    command = [sys.executable, "-c", EMBEDDER, str(cache.folder)]
    while not done:
        embedder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert embedder.stdout
        lines = [embedder.stdout.readline().strip()]
        if n_kills < 6:
            time.sleep(chance.uniform(0, 0.15))
            os.kill(embedder.pid, signal.SIGKILL)
            n_kills += 1
        lines += embedder.communicate()[0].split("\n")
        done = "done" in lines
        assert done or embedder.returncode == -signal.SIGKILL, lines
        n_embedded += sum(int(line) for line in lines if line.strip().isdecimal())
    assert 400 <= n_embedded <= 400 + 8 * n_kills
