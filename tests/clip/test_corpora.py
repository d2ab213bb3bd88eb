"""External galleries: files of captions, good and bad, and what is found in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tasks.__main__ import main
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.tables import write_table
from tasks.clip.corpora import CorpusError, add_corpus, find_corpus
from tasks.clip.embedding import Embedder
from tasks.clip.faiss_index import faiss_top_k
from tasks.clip.open_vocabulary import search_corpus
from tasks.clip.vectors import vectors_to_table
from tasks.runtime.map import serial_map


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def text_file(content, name="captions.txt"):
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_lines_become_captions_once_each_in_their_order():
    corpus = add_corpus(text_file("a dog\r\n\n  a cat \na dog\nÄpfel\n"), "pets")
    assert corpus.read().to_pylist() == [
        {"caption_id": "pets_1", "text": "a dog"},
        {"caption_id": "pets_3", "text": "a cat"},
        {"caption_id": "pets_5", "text": "Äpfel"},
    ]
    assert corpus.manifest["n_captions"] == 3


def test_a_parquet_file_becomes_a_gallery():
    pq.write_table(pa.table({"url": ["u", "v"], "caption": ["a dog", None]}), "laion.parquet")
    assert add_corpus(Path("laion.parquet"), "laion").read()["text"].to_pylist() == ["a dog"]
    pq.write_table(pa.table({"words": ["a cat"]}), "words.parquet")
    assert len(add_corpus(Path("words.parquet"), "words", column="words").read()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (" \n\n", "captions.txt must hold captions; all 2 lines are blank. Mend it."),
        (b"a dog\n\xff\xfe", "captions.txt must be UTF-8 text or Parquet; byte 6 is neither."),
        (b"a dog\0", "captions.txt must be UTF-8 text or Parquet; it holds zero bytes."),
        (b"PAR1 half of it", "captions.txt must be a whole Parquet file; it cannot be read"),
        ("a\n" + "x" * 2001, "at most 2000 characters; line 2 of captions.txt has 2001."),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(content, message):
    with pytest.raises(CorpusError) as error:
        add_corpus(text_file(content), "bad")
    assert message in str(error.value)
    assert not Path("data").exists()


def test_columns_names_and_paths_are_checked():
    pq.write_table(pa.table({"url": ["u"], "size": [1]}), "laion.parquet")
    with pytest.raises(
        CorpusError, match=r"must have a column text or caption .*; it has url, size"
    ):
        add_corpus(Path("laion.parquet"), "laion")
    with pytest.raises(
        CorpusError, match=r"Column size of laion\.parquet must hold text; it holds int"
    ):
        add_corpus(Path("laion.parquet"), "laion", column="size")
    with pytest.raises(CorpusError, match=r"there is none\. Mend the path"):
        add_corpus(Path("nothing.txt"), "laion")
    for name in ("test", "../up", "A b", ""):
        with pytest.raises(CorpusError, match="A gallery's name must be of small letters"):
            add_corpus(text_file("a dog"), name)


def test_the_command_adds_lists_and_removes(capsys):
    text_file("a dog\na cat\n", "Pets.txt")
    assert main(["gallery", "list"]) == 0
    assert main(["gallery", "add", "Pets.txt"]) == 0
    assert main(["gallery", "add", "Pets.txt"]) == 1
    assert main(["gallery", "list"]) == 0
    assert main(["gallery", "remove", "pets"]) == 0
    assert main(["gallery", "remove", "pets"]) == 1
    done = capsys.readouterr()
    assert done.out.splitlines() == [
        "There is no gallery yet. Add one with `percept gallery add FILE`.",
        "The gallery pets holds 2 captions (2 lines). Next: percept gallery search pets.",
        "pets  2 captions of Pets.txt",
        "The gallery pets is removed.",
    ]
    assert "There is a gallery pets already. Run `percept gallery remove pets` first" in done.err
    assert "A gallery must be one of none so far; 'pets' is none." in done.err
    assert Path("Pets.txt").exists()


@dataclass
class HashingClip:
    """Embeds any text by its hash, and counts."""

    fingerprint: str = "f" * 64
    n_texts: int = 0

    @property
    def device(self):
        return torch.device("cpu")

    def encode_texts(self, texts):
        self.n_texts += len(texts)
        return np.stack([vector_of(text) for text in texts])


def vector_of(text):
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(16)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_what_was_decoded_is_found_by_head_and_fused(monkeypatch):
    clip = HashingClip()
    for module in ("tasks.clip.open_vocabulary", "tasks.clip.embedding"):
        monkeypatch.setattr(f"{module}.load_clip", lambda *_: clip)
    texts = [f"caption {number}" for number in range(50)]
    corpus = add_corpus(text_file("\n".join(texts)), "many")
    both = vector_of("caption 3") + vector_of("caption 4")
    vectors = np.stack(
        [vector_of("caption 7"), vector_of("caption 8"), both / np.linalg.norm(both)]
    )
    keys = {"trial_id": ["t-0", "t-0", "t-1"], "kind": ["ObjectSnap", "ThemeTag", "ObjectSnap"]}
    write_table(vectors_to_table(keys, vectors), Path("predictions.parquet"), PREDICTIONS)
    embedder = Embedder("any", "float32", 16, 100)
    for _ in range(2):
        found = search_corpus(corpus, Path("predictions.parquet"), embedder, 2, serial_map)
    assert clip.n_texts == 50
    used = []
    monkeypatch.setattr(
        "tasks.clip.open_vocabulary.faiss_top_k",
        lambda *given: used.append(1) or faiss_top_k(*given),
    )
    for size, n_used in (
        (51, 0),
        (50, 3),
    ):  # one search by each of two heads, and one of both fused
        same = search_corpus(
            corpus, Path("predictions.parquet"), embedder, 2, serial_map, faiss_from=size
        )
        assert same == found
        assert len(used) == n_used
    rows = found.to_pandas()
    best = rows[rows["rank"] == 1].set_index(["trial_id", "kind"])["text"]
    assert best["t-0", "ObjectSnap"] == "caption 7"
    assert best["t-0", "ThemeTag"] == "caption 8"
    fused = rows[(rows["trial_id"] == "t-0") & (rows["kind"] == "fused")]
    assert set(fused["text"]) == {"caption 7", "caption 8"}
    assert set(rows[rows["trial_id"] == "t-1"]["text"]) == {"caption 3", "caption 4"}
    assert find_corpus("many").folder == corpus.folder


def test_another_file_under_the_same_name_has_vectors_of_its_own():
    first = add_corpus(text_file("a dog"), "pets").vectors_path("f" * 64)
    main(["gallery", "remove", "pets"])
    assert add_corpus(text_file("a cat"), "pets").vectors_path("f" * 64) != first
