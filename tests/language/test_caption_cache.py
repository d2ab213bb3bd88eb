"""The caption cache keeps what was paid for and trusts nothing that was altered."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.language.cache import (
    Answer,
    CaptionCache,
    CaptionCacheError,
    Question,
    Reply,
    Usage,
)

PICTURE = "ab" * 32
USAGE = Usage(90, 10, batched=False)
SNAP, THEME = Question("ObjectSnap", "1" * 64), Question("ThemeTag", "2" * 64)


@pytest.fixture
def cache(tmp_path):
    return CaptionCache(tmp_path / "captions")


def entries(cache):
    return sorted(cache.folder.rglob("*.json"))


def test_replies_are_found_by_picture_model_kind_and_prompt(cache):
    cache.write(
        PICTURE, "m", Answer({SNAP: Reply("a dog", "ok"), THEME: Reply("", "refused")}, USAGE)
    )
    (found,) = cache.read(PICTURE, "m")
    assert found.replies == {SNAP: Reply("a dog", "ok"), THEME: Reply("", "refused")}
    assert found.usage == USAGE
    assert cache.read(PICTURE, "another") == []
    assert cache.read("cd" * 32, "m") == []
    assert Question("ObjectSnap", "3" * 64) not in found.replies


def test_answers_are_added_never_replaced(cache):
    for text in ("first", "first", "second"):
        cache.write(PICTURE, "m", Answer({SNAP: Reply(text, "ok")}, USAGE))
    texts = [answer.replies[SNAP].text for answer in cache.read(PICTURE, "m")]
    assert texts == ["first", "first", "second"]


def test_reading_an_empty_cache_makes_nothing(cache):
    assert cache.read(PICTURE, "m") == []
    assert not cache.folder.exists()


def test_every_flipped_byte_is_found(cache):
    cache.write(PICTURE, "m", Answer({SNAP: Reply("a dog", "ok")}, USAGE))
    (path,) = entries(cache)
    content = path.read_bytes()
    for position, byte in enumerate(content):
        if chr(byte).isspace():  # layout between the values, or a word of the text
            continue
        path.write_bytes(content[:position] + bytes([byte ^ 2]) + content[position + 1 :])
        with pytest.raises(CaptionCacheError, match=path.name):
            cache.read(PICTURE, "m")


@pytest.mark.parametrize("n_bytes", [0, 1, 100])
def test_a_truncated_entry_is_named_with_its_remedy(cache, n_bytes):
    cache.write(PICTURE, "m", Answer({SNAP: Reply("a dog", "ok")}, USAGE))
    (path,) = entries(cache)
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CaptionCacheError) as error:
        cache.read(PICTURE, "m")
    assert str(error.value) == (
        f"{path} must be an answer as it was written; 1 of its parts cannot be read. "
        "Delete the file: its captions are then asked for again."
    )
    path.unlink()
    assert cache.read(PICTURE, "m") == []


def test_an_answer_about_another_picture_is_found_out(cache):
    cache.write(PICTURE, "m", Answer({SNAP: Reply("a dog", "ok")}, USAGE))
    cache.write("cd" * 32, "m", Answer({SNAP: Reply("a cat", "ok")}, USAGE))
    one, other = entries(cache)
    one.write_bytes(other.read_bytes())
    with pytest.raises(CaptionCacheError, match="belongs to another picture or model"):
        cache.read(PICTURE, "m")


WRITER = """
import sys
from pathlib import Path
from tasks.language.cache import Answer, CaptionCache, Question, Reply, Usage
cache, number = CaptionCache(Path(sys.argv[1])), 0
while True:
    cache.write(f"{number:064x}", "m", Answer({Question("ObjectSnap", "1"): Reply(f"{number} " * 200, "ok")}, Usage(1, 1, False)))
    print(number, flush=True)
    number += 1
"""


def test_a_kill_loses_nothing_that_was_written(cache):
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(cache.folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout
        last = -1
        while last < 20:
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        for number in range(last + 1):
            answer, *_ = cache.read(f"{number:064x}", "m")
            (reply,) = answer.replies.values()
            assert reply.text == f"{number} " * 200
