"""Captions that exist already are taken from captions.json in the study folder."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.tables import read_table, write_table
from tasks.caption import CaptionParams, caption
from tasks.language.human import CaptionFileError
from tasks.language.prompts import KIND_NAMES
from tasks.language.quality import CaptionError
from tasks.runtime.map import serial_map
from tests.conftest import REPOSITORY, preset

RAW = Path("data/raw")
MUSE = REPOSITORY / "presets" / "muse_cats_dogs" / "captions.json"


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A study of two pictures with their captions, in the current folder."""
    monkeypatch.chdir(tmp_path)
    images = RAW / "study" / "images"
    images.mkdir(parents=True)
    rows = [
        {
            "stimulus_id": name,
            "concept": name,
            "image_path": (images / f"{name}.jpg").as_posix(),
            "width_px": 8,
            "height_px": 8,
            "sha256": "",
            "official_split": "",
        }
        for name in ("dog", "cat")
    ]
    write_table(pa.Table.from_pylist(rows, STIMULI), Path("stimuli.parquet"), STIMULI)
    captions = json.loads(MUSE.read_text())
    save(captions)
    return captions


def save(captions: object) -> None:
    (RAW / "study" / "captions.json").write_text(json.dumps(captions))


def run() -> list[dict]:
    section = preset("muse_cats_dogs")
    params = CaptionParams.model_validate(section["caption"])
    out = Path("captions.parquet")
    metrics = Path("caption.json")
    caption(
        Path("stimuli.parquet"), RAW, captions=out, caption_metrics=metrics, params=params,
        map=serial_map,
    )  # fmt: skip
    return read_table(out, CAPTIONS).to_pylist()


def test_captions_are_those_of_the_file(written):
    rows = run()
    assert {(row["stimulus_id"], row["kind"]): row["text"] for row in rows} == {
        (name, kind): written[name][kind] for name in ("dog", "cat") for kind in KIND_NAMES
    }
    assert {(row["source"], row["status"]) for row in rows} == {("file", "ok")}


def test_a_missing_file_is_named(written):
    (RAW / "study" / "captions.json").rename(RAW / "captions.json")
    with pytest.raises(
        CaptionFileError, match=r"data/raw/study/images/dog.jpg must have captions\.json"
    ):
        run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dog": None}, r"must hold the captions of every stimulus; dog has none"),
        (
            {"dog": {"ObjectSnap": 3}},
            r"for dog \['ObjectSnap', .* are missing and none are unknown",
        ),
        ({"dog": dict.fromkeys([*KIND_NAMES, "Smell"], "x")}, r"\['Smell'\] are unknown"),
    ],
)
def test_incomplete_captions_are_refused(written, change, message):
    save(written | change)
    with pytest.raises(CaptionFileError, match=message):
        run()


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_another_content_is_refused(written, text):
    (RAW / "study" / "captions.json").write_text(text)
    with pytest.raises(CaptionFileError, match=r"captions\.json must (be JSON|map each)"):
        run()


def test_empty_and_long_captions_are_not_usable(written):
    save(written | {"dog": written["dog"] | {"ThemeTag": " ", "MoodTone": "word " * 76}})
    with pytest.raises(CaptionError, match="empty: 1, too_long: 1"):
        run()
