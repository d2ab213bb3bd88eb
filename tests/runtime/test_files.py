"""A file is whole or the old one."""

import pytest

from tasks.artifacts.metrics import Score, read_scores, write_scores
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path, fingerprint, link_or_copy, sha256_of, write_json


def interrupt_after_half(path):
    path.write_text("half")
    raise KeyboardInterrupt


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        interrupt_after_half(partial)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_link_or_copy_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    link_or_copy(tmp_path / "a", tmp_path / "deep" / "b")
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "deep" / "b")


def test_fingerprint_depends_on_values_not_on_key_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_scores_round_trip(tmp_path):
    scores = {"recall_at_1_of_40": Score(value=0.5, n=10, chance=0.025)}
    write_scores(tmp_path / "m.json", scores)
    assert read_scores(tmp_path / "m.json") == scores


def test_scores_are_the_same_file_on_processors_that_sum_in_other_orders(tmp_path):
    for name, value in (("a", 0.8732307438055674), ("b", 0.8732307652632395)):
        write_scores(tmp_path / name, {"cosine": Score(value=value, n=3, low=value)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_scores_refuse_nan():
    with pytest.raises(ValueError, match="finite"):
        Score(value=float("nan"), n=1)


def test_missing_scores(tmp_path):
    with pytest.raises(PerceptError, match=r"must exist; it does not. Run `dvc repro"):
        read_scores(tmp_path / "m.json")
