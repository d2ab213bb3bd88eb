"""The field's text scores by name: published values, intervals, and the files that people have."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.__main__ import main
from tasks.language.human import CaptionFileError, read_records
from tasks.language.likeness import Draw
from tasks.language.text_scores import RECIPES, read_pairs, text_scores

DRAW = Draw(n_resamples=200, confidence=0.95, seed=0)
# The example that comes with CLIPScore's code, and what it prints for it.
REFERENCES = [
    ["two cats are sleeping next to each other.", "a grey cat is cuddling with an orange cat on a blanket.", "the orange cat is happy that the black cat is close to it."],
    ["a dog is wearing ear muffs as it lies on a carpet.", "a black dog and an orange cat are looking at the photographer.", "headphones are placed on a dogs ears."],
]  # fmt: skip
GOOD = [
    "an orange cat and a grey cat are lying together.",
    "a black dog looks at the camera.",
]
"""Its good captions."""


def naive_rouge_l(text: str, references: list[str]) -> float:
    """Return ROUGE-L as Lin (2004) defines it, with beta 1.2."""

    def common(a: list[str], b: list[str]) -> int:
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                table[i + 1, j + 1] = (
                    table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
                )
        return int(table[-1, -1])

    own = text.split()
    lengths = [(common(own, other.split()), len(other.split())) for other in references]
    precision, recall = max(c / len(own) for c, _ in lengths), max(c / n for c, n in lengths)
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def naive_bleu(texts: list[str], references: list[list[str]], order: int) -> float:
    """Return BLEU as Papineni et al. (2002) define it, with the closest reference length."""

    def grams(text: str, n: int) -> list[tuple[str, ...]]:
        words = text.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    logs = []
    for n in range(1, order + 1):
        right = total = 0
        for text, known in zip(texts, references, strict=True):
            own = grams(text, n)
            right += sum(
                min(own.count(g), max(grams(r, n).count(g) for r in known)) for g in set(own)
            )
            total += len(own)
        logs.append(np.log(right / total))
    length = sum(len(text.split()) for text in texts)
    closest = sum(
        min((abs(len(r.split()) - len(t.split())), len(r.split())) for r in known)[1]
        for t, known in zip(texts, references, strict=True)
    )
    return float(np.exp(np.mean(logs)) * np.exp(min(0, 1 - closest / length)))


def test_the_recipes_are_those_of_their_papers() -> None:
    plain = [[r.removesuffix(".") for r in known] for known in REFERENCES]
    texts = [text.removesuffix(".") for text in GOOD]
    found = text_scores(GOOD, REFERENCES, DRAW)
    for order in (1, 2, 3):
        assert found[f"bleu_{order}"].value == pytest.approx(
            naive_bleu(texts, plain, order), abs=1e-6
        )
    mean = np.mean([naive_rouge_l(t, known) for t, known in zip(texts, plain, strict=True)])
    assert found["rouge_l"].value == pytest.approx(mean, abs=1e-6)
    assert list(found) == [name for name in RECIPES if name != "meteor"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("java"), reason="METEOR runs Java, which is not installed")
def test_meteor_knows_copies_and_stems() -> None:
    known = [["two cats are sleeping on a bed"], ["a dog runs over the grass"]]
    found = text_scores([known[0][0], "the man is reading"], known, DRAW, meteor=True)["meteor"]
    assert 0.3 < found.value < 0.6


def test_meteor_without_java_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CaptionFileError, match="METEOR needs `java` on the path"):
        text_scores(GOOD, REFERENCES, DRAW, meteor=True)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "meteor"])
def test_a_copy_scores_best_and_other_words_score_nothing(name: str) -> None:
    rng = np.random.default_rng(0)
    known = [[" ".join(rng.choice([f"w{i}" for i in range(400)], 9))] for _ in range(12)]
    same = text_scores([said[0] for said in known], known, DRAW)[name]
    other = text_scores(["nothing of that is said here"] * 12, known, DRAW)[name]
    assert same.value == pytest.approx(10 if name == "cider" else 1, abs=1e-6)
    assert other.value == pytest.approx(0, abs=1e-6)
    assert same.low <= same.value <= same.high


def test_an_interval_holds_the_score_of_other_pictures_of_the_kind() -> None:
    """Intervals are over pictures: half of the texts are copies, so that the share of the others matters."""
    rng = np.random.default_rng(1)
    vocabulary = [f"w{i}" for i in range(400)]
    known = [[" ".join(rng.choice(vocabulary, 8))] for _ in range(60)]
    texts = [
        said[0] if i % 2 else "nothing of that is said in it at all" for i, said in enumerate(known)
    ]
    found = text_scores(texts, known, DRAW)
    for name in ("bleu_1", "rouge_1", "rouge_l"):
        assert found[name].low < 0.45 < found[name].value + 0.1
        assert 0.1 < found[name].high - found[name].low < 0.4


FORMS = {
    "object.json": json.dumps({"a": ["one cat", "a cat"], "b.png": ["a dog"]}),
    "texts.json": json.dumps({"a": "one cat", "val2017/b.png": "a dog"}),
    "results.json": json.dumps([{"image_id": "a", "caption": "one cat"}, {"image_id": "b", "caption": "a dog"}]),
    "karpathy.json": json.dumps({"images": [{"filename": "a.jpg", "sentences": [{"raw": "one cat"}]}, {"filename": "b.jpg", "sentences": [{"raw": "a dog"}]}]}),
    "coco.json": json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}], "annotations": [{"image_id": 1, "caption": "one cat"}, {"image_id": 2, "caption": "a dog"}]}),
    "comma.csv": "image,caption\na.jpg,one cat\nb.jpg,a dog\n",
    "semicolon.csv": "Image;Caption\r\na.jpg;one cat\r\nb.jpg;a dog\r\n",
    "tab.tsv": "FILE_NAME\tCAPTION\na.jpg\tone cat\nb.jpg\ta dog\n",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_every_form_in_which_people_have_captions_is_read(
    tmp_path: Path, name: str, encoding: str
) -> None:
    path = tmp_path / name
    content = FORMS[name].replace("one cat", "one café") if name.endswith("sv") else FORMS[name]
    path.write_bytes(content.encode(encoding))
    found = {picture.split("/")[-1].split(".")[0]: said for picture, said, _ in read_records(path)}
    assert set(found) == {"a", "b"}
    assert found["b"] == ["a dog"]
    assert found["a"][0] == ("one café" if name.endswith("sv") else "one cat")


def test_the_command_compares_two_files(tmp_path: Path, capsys) -> None:
    predicted, references = tmp_path / "said.csv", tmp_path / "people.json"
    predicted.write_text("image;caption\na.jpg;one cat\nb.jpg;a dog\n")
    references.write_text(FORMS["object.json"])
    assert main(["captions", "compare", str(predicted), str(references), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bleu_1"]["value"] == pytest.approx(1, abs=1e-6)
    assert found["rouge_2"]["recipe"].startswith("rouge-score")
    assert main(["captions", "compare", str(predicted), str(references)]) == 0
    assert "bleu_4" in capsys.readouterr().out


def test_pictures_without_a_reference_or_with_two_predictions_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps({"a": "one cat", "c": "a cup"}))
    other.write_text(FORMS["object.json"])
    with pytest.raises(
        CaptionFileError, match=r"2 predicted pictures; 1 have none: c\. Name pictures"
    ):
        read_pairs(one, other)
    with pytest.raises(
        CaptionFileError, match=r"must hold one caption of each picture; 1 of its 2 .*: a\."
    ):
        read_pairs(other, one)
