"""Captions change hands: export and import, sheets to review, several processes with one cache."""

import csv
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from tasks.__main__ import main
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.tables import write_table
from tasks.language.appraisal import review_scores
from tasks.language.cache import CAPTION_CACHE, CaptionCache
from tasks.language.captioners.ledger import Ledger
from tasks.language.captioners.openai import OpenAICaptioner
from tasks.language.captioners.params import OpenAIParams
from tasks.language.human import CaptionFileError
from tasks.language.likeness import Draw
from tasks.language.review import Sheet, read_review, write_review
from tests.chat_server import KEY, ChatServer
from tests.conftest import REPOSITORY
from tests.language.asking import OPENAI, picture


def percept(*words):
    assert main([str(word) for word in words]) == 0


def refused(capsys, *words):
    """Return what a command says that fails."""
    assert main([str(word) for word in words]) == 1
    return capsys.readouterr().err


@pytest.fixture
def captioner(tmp_path, monkeypatch):
    """A captioner in a folder of its own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return OpenAICaptioner(
        Ledger(OpenAIParams.model_validate(OPENAI), 77, CaptionCache(CAPTION_CACHE))
    )


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path, f"s-{n}", colour=(n, 3, 0)) for n in range(6)]


def ask(captioner, pictures, monkeypatch):
    with ChatServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        return captioner.describe(pictures)


def test_exported_captions_serve_another_lab_without_key_or_server(
    captioner, pictures, tmp_path, monkeypatch, capsys
):
    captions = ask(captioner, pictures, monkeypatch)
    percept("captions", "export", "shared.jsonl.gz")
    first = Path("shared.jsonl.gz").read_bytes()
    percept("captions", "export", "shared.jsonl.gz")
    assert Path("shared.jsonl.gz").read_bytes() == first
    assert KEY.encode() not in gzip.decompress(first)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("OPENAI_API_KEY")
    for _ in range(2):
        percept("captions", "import", tmp_path / "shared.jsonl.gz")
    assert captioner.describe(pictures) == captions
    assert capsys.readouterr().out.splitlines() == [
        "6 answers written to shared.jsonl.gz.",
        "6 answers written to shared.jsonl.gz.",
        "6 of 6 answers were new.",
        "0 of 6 answers were new.",
    ]


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda content: content[:-20], "Compressed file ended before the end-of-stream marker"),
        (lambda _: b"no gzip", "Not a gzipped file"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-9]), "an answer cannot be read"),
        (
            lambda c: gzip.compress(gzip.decompress(c).replace(b"seen in", b"seen on", 1)),
            "the checksums of 1 are others",
        ),
    ],
)
def test_a_harmed_export_adds_nothing(captioner, pictures, monkeypatch, capsys, harm, reason):
    ask(captioner, pictures, monkeypatch)
    percept("captions", "export", "shared.jsonl.gz")
    path = Path("harmed.jsonl.gz")
    path.write_bytes(harm(Path("shared.jsonl.gz").read_bytes()))
    CAPTION_CACHE.rename("before")
    said = refused(capsys, "captions", "import", path)
    assert re.fullmatch(f"percept: {path} must .*{reason}.* Export it again\\.\n", said)
    assert not list(CAPTION_CACHE.rglob("*.json"))


def test_an_empty_cache_cannot_be_exported(captioner, capsys):
    said = refused(capsys, "captions", "export", "shared.jsonl.gz")
    assert said == (
        "percept: data/cache/captions must hold answers to export; it holds none. Run the stage "
        "caption.\n"
    )
    assert not Path("shared.jsonl.gz").exists()


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Captions of three pictures, one with quotes, commas and markup."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    texts = ('a "red", round <b>apple</b>', "a bell & a book", "ein Ä")
    stimuli, captions = [], []
    for number, text in enumerate(texts):
        path = Path("data/raw/study") / f"s-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (80 * number, 90, 90)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        shown = (f"s-{number}", "thing", path.as_posix(), 40, 30, sha256, "")
        stimuli.append(dict(zip(STIMULI.names, shown, strict=True)))
        row = (f"s-{number}_ThemeTag", f"s-{number}", "thematic", "ThemeTag", text)
        captions.append(dict(zip(CAPTIONS.names, (*row, "openai", "m", "0", "ok"), strict=True)))
    artifacts = Artifacts()
    write_table(pa.Table.from_pylist(stimuli, STIMULI), artifacts.stimuli, STIMULI)
    write_table(pa.Table.from_pylist(captions, CAPTIONS), artifacts.captions, CAPTIONS)
    return {row["caption_id"]: row["text"] for row in captions}


def test_a_csv_sheet_is_filled_in_and_read_back(study, capsys):
    percept("captions", "review", "sheet.csv")
    with Path("sheet.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["caption_id"]: row["text"] for row in rows} == study
    for row, verdict in zip(rows, ("Correct", " invented ", ""), strict=True):
        row["verdict"] = verdict
    with Path("filled.csv").open("w", newline="", encoding="utf-8-sig") as handle:  # as Excel does
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    ids = [row["caption_id"] for row in rows]
    assert read_review(Path("filled.csv")) == {
        (ids[0], study[ids[0]]): "correct",
        (ids[1], study[ids[1]]): "invented",
    }
    percept("captions", "grade", "filled.csv")
    assert (
        "correct: 1 of 2, wrong: 0 of 2, invented: 1 of 2, unsure: 0 of 2"
        in capsys.readouterr().out
    )


def test_a_sheet_is_drawn_by_seed_and_never_overwritten(study, capsys):
    def drawn(name, *words):
        percept("captions", "review", name, "--n", "1", *words)
        return Path(name).read_text()

    assert drawn("a.csv") == drawn("b.csv")
    assert len({drawn(f"{seed}.csv", "--seed", seed) for seed in range(8)}) == len(study)
    capsys.readouterr()
    said = refused(capsys, "captions", "review", "a.csv")
    assert said.startswith("percept: a.csv must be a new file; it exists and may hold verdicts.")
    said = refused(capsys, "captions", "review", "a.txt")
    assert said == "percept: A review sheet must end in .html or .csv; a.txt does not.\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("caption_id,text,verdict\na,b,perhaps\n", r"found \['perhaps'\]"),
        ("caption_id,text,verdict\na,b,\n", "found none at all"),
        ("caption_id,verdict\na,correct\n", "must have the columns caption_id, text and verdict"),
    ],
)
def test_a_sheet_that_is_not_filled_in_as_it_must_be_is_named(tmp_path, content, problem):
    path = tmp_path / "sheet.csv"
    path.write_text(content)
    with pytest.raises(CaptionFileError, match=problem):
        read_review(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_sheet_is_read_as_spreadsheets_save_it(tmp_path, separator, encoding):
    lines = ["Caption_ID", "kind", "Text", "VERDICT "], ["a", "k", "a café", "Correct"]
    path = tmp_path / "sheet.csv"
    path.write_text("".join(separator.join(line) + "\r\n" for line in lines), encoding, newline="")
    assert read_review(path) == {("a", "a café"): "correct"}


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1 is cold", "@home"])
def test_no_caption_is_a_formula_in_a_spreadsheet(tmp_path, text):
    path = tmp_path / "sheet.csv"
    write_review(path, [Sheet("a", "ThemeTag", text, tmp_path / "a.png", "")])
    (row,) = csv.DictReader(io.StringIO(path.read_text()))
    assert row["text"] == "'" + text
    path.write_text(path.read_text().replace(",,\n", ",correct,\n"))
    assert read_review(path) == {("a", text): "correct"}


def test_a_verdict_on_other_words_does_not_count(caplog):
    captions = pd.DataFrame(
        {"caption_id": ["a", "b"], "text": ["new", "same"], "stimulus_id": ["a", "b"]}
    )
    verdicts = {("a", "old"): "wrong", ("b", "same"): "correct"}
    scores = review_scores(captions, verdicts, Draw(10, 0.95, 0))
    assert (scores["reviewed_correct"].value, scores["reviewed_correct"].n) == (1.0, 1)
    assert "1 verdicts are on captions that read otherwise now" in caplog.text


@pytest.mark.browser
def test_an_html_sheet_is_judged_in_a_browser_and_read_back(study, tmp_path, browser):
    from playwright.sync_api import expect

    percept("captions", "review", "sheet.html")
    assert KEY not in Path("sheet.html").read_text()
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    for window in (page, other):
        window.goto((tmp_path / "sheet.html").as_uri())
    for text, verdict in (("apple", "Invented"), ("bell", "Correct")):
        page.locator("li", has_text=text).get_by_label(verdict).check()
    page.locator("li", has_text="apple").get_by_label("Comment").fill('no "apple", a pear')
    page.reload()  # what was judged is still there, and in the other window
    for window in (page, other):
        expect(window.locator("#count")).to_have_text("2 of 3 judged", timeout=30_000)
        assert window.locator("li", has_text="apple").get_by_label("Invented").is_checked()
    assert page.locator("img").first.evaluate("image => image.naturalWidth") == 40
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as("saved.csv")
    context.close()
    verdicts = {"s-0_ThemeTag": "invented", "s-1_ThemeTag": "correct"}
    assert read_review(Path("saved.csv")) == {
        (name, study[name]): verdict for name, verdict in verdicts.items()
    }
    with Path("saved.csv").open(newline="") as handle:
        rows = {row["caption_id"]: row for row in csv.DictReader(handle)}
    assert {name: row["text"] for name, row in rows.items()} == study
    assert rows["s-0_ThemeTag"]["comment"] == 'no "apple", a pear'


DESCRIBER = """
import json, pickle, sys
captioner, stimuli = pickle.loads(bytes.fromhex(sys.argv[1]))
print(json.dumps([caption.text for caption in captioner.describe(stimuli)]))
"""


def test_processes_that_share_a_cache_ask_about_each_picture_once(
    captioner, pictures, tmp_path, monkeypatch
):
    shared = OpenAICaptioner(Ledger(captioner.ledger.params, 77, CaptionCache(tmp_path / "cache")))
    with ChatServer() as server:
        environment = os.environ | {"OPENAI_BASE_URL": server.url}
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", DESCRIBER, pickle.dumps((shared, some)).hex()],
                cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE,
            )
            for some in (pictures, pictures[::-1], pictures[2:])
        ]  # fmt: skip
        said = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert server.billed == {p.sha256: 1 for p in pictures}
    assert server.most_at_once <= OPENAI["max_concurrency"]
    assert said[0][20:] == said[2]
    assert sorted(said[0]) == sorted(said[1])
