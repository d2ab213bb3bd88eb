"""The stage `caption`, with both backends."""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import read_table, write_table
from tasks.caption import CaptionParams, caption
from tasks.language.cache import CaptionCache, CaptionCacheError
from tasks.language.captioners.scene import describe
from tasks.language.captioners.scene_reader import SidecarError
from tasks.language.prompts import KIND_NAMES
from tasks.language.quality import CaptionError
from tasks.runtime.map import serial_map
from tasks.simulation.scene import draw, sample_scene
from tests.chat_server import KEY, ChatServer, completion, failure, good
from tests.language.asking import OPENAI

STIMULUS_IDS = ("b-1", "a-2", "a-10")
RAW, STIMULI_PATH, OUT = Path("data/raw"), Path("stimuli.parquet"), Path("captions.parquet")
METRICS = Path("caption.json")


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A simulated study of three pictures in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    scenes = {stimulus_id: sample_scene(rng) for stimulus_id in STIMULUS_IDS}
    rows = []
    for stimulus_id, scene in scenes.items():
        path = RAW / "simulated" / "stimuli" / f"{stimulus_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(scene).save(path)
        path.with_suffix(".json").write_text(json.dumps(scene.to_json()))
        row = {
            "stimulus_id": stimulus_id,
            "concept": scene.concept,
            "image_path": path.as_posix(),
            "width_px": 64,
            "height_px": 64,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "official_split": "",
        }
        rows.append(row)
    write_table(pa.Table.from_pylist(rows), STIMULI_PATH, STIMULI)
    return scenes


def run(**changes):
    params = {
        "backend": "scene",
        "on_failure": "raise",
        "max_tokens": 77,
        "human_file": "human_captions.json",
        "openai": OPENAI | {"max_retries": 0},
    }
    chosen = CaptionParams.model_validate(params | changes)
    caption(STIMULI_PATH, RAW, captions=OUT, caption_metrics=METRICS, params=chosen, map=serial_map)
    return read_table(OUT, CAPTIONS).to_pylist()


@pytest.fixture
def serve(monkeypatch):
    """Point the environment to a server."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def serve(server):
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)

    return serve


def test_simulated_stimuli_get_their_exact_captions_sorted_by_id(scenes):
    rows = run()
    assert [row["caption_id"] for row in rows] == sorted(
        f"{stimulus_id}_{kind}" for stimulus_id in STIMULUS_IDS for kind in KIND_NAMES
    )
    for row in rows:
        assert row["text"] == describe(scenes[row["stimulus_id"]])[row["kind"]]
        assert row["caption_id"] == f"{row['stimulus_id']}_{row['kind']}"
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["tier"] for row in rows} == {"object", "spatial", "thematic"}


def test_a_second_run_writes_the_same_bytes(scenes):
    run()
    first = OUT.read_bytes()
    OUT.unlink()
    run()
    assert OUT.read_bytes() == first


def test_a_picture_without_a_scene_asks_for_the_other_backend(scenes):
    path = RAW / "simulated" / "stimuli" / "a-2.json"
    path.unlink()
    with pytest.raises(SidecarError) as error:
        run()
    assert str(error.value) == (
        f"caption.backend scene needs {path} beside the picture; it does not exist. "
        "Set caption.backend: openai for pictures that were not simulated."
    )


@pytest.mark.parametrize("content", ["", "{}", "[1]", "7"])
def test_what_is_no_scene_is_named(scenes, content):
    path = RAW / "simulated" / "stimuli" / "a-2.json"
    path.write_text(content)
    with pytest.raises(SidecarError, match=f"{path} must hold a scene; it does not"):
        run()


def test_pictures_are_described_by_the_server_of_the_environment(scenes, serve):
    with ChatServer() as server:
        serve(server)
        rows = run(backend="openai")
        first = OUT.read_bytes()
        run(backend="openai")
    assert OUT.read_bytes() == first
    assert server.billed.total() == len(STIMULUS_IDS)
    assert {(row["source"], row["model"], row["status"]) for row in rows} == {
        ("openai", "test-model", "ok")
    }
    assert len({row["prompt_sha256"] for row in rows}) == len(KIND_NAMES)


def refuse_one(_, ask):
    refused = (RAW / "simulated" / "stimuli" / "a-2.png").read_bytes()
    if ask.picture == hashlib.sha256(refused).hexdigest():
        return completion(None, refusal="No.")
    return good(ask)


def test_a_refusal_stops_the_stage_and_costs_nothing_again(scenes, serve):
    with ChatServer(refuse_one) as server:
        serve(server)
        for _ in range(2):
            with pytest.raises(CaptionError) as error:
                run(backend="openai")
    assert server.billed.total() == len(STIMULUS_IDS)
    assert not OUT.exists()
    assert str(error.value) == (
        "All 30 captions must be usable; 10 are not (refused: 10; the first is a-2 ObjectSnap). "
        "Raise caption.openai.max_answers to ask again, or set caption.on_failure: drop or placeholder."
    )


def test_dropped_captions_are_counted(scenes, serve, caplog):
    with ChatServer(refuse_one) as server, caplog.at_level(logging.INFO):
        serve(server)
        rows = run(backend="openai", on_failure="drop")
    assert {row["stimulus_id"] for row in rows} == {"b-1", "a-10"}
    assert "Dropped 10 of 30 captions (refused: 10)." in caplog.messages
    assert "20 captions of 3 stimuli." in caplog.messages
    assert "3 answers arrived, 300 tokens, 0.00 USD." in caplog.messages


def test_placeholders_stand_for_captions_that_cannot_be_used_and_say_why(scenes, serve):
    with ChatServer(refuse_one) as server:
        serve(server)
        rows = run(backend="openai", on_failure="placeholder")
    assert len(rows) == 30
    put = [row for row in rows if row["stimulus_id"] == "a-2"]
    assert {(row["text"], row["status"]) for row in put} == {("a picture", "refused")}
    assert {row["status"] for row in rows if row["stimulus_id"] != "a-2"} == {"ok"}
    assert read_scores(METRICS)["captions_refused"].value == pytest.approx(1 / 3, rel=1e-5)


def test_nothing_usable_is_an_error_even_when_dropping(scenes, serve):
    with ChatServer(lambda *_: completion(None, refusal="No.")) as server:
        serve(server)
        with pytest.raises(CaptionError, match="30 are not"):
            run(backend="openai", on_failure="drop")


def test_an_interruption_loses_no_answer(scenes, serve, monkeypatch):
    keep = CaptionCache.write

    def interrupted(self, *entry):
        keep(self, *entry)
        if len(list(self.folder.rglob("*.json"))) >= 2:
            raise OSError("the disk is full")

    with ChatServer() as server:
        serve(server)
        monkeypatch.setattr(CaptionCache, "write", interrupted)
        with pytest.raises(OSError, match="disk is full"):
            run(backend="openai")
        n_kept = len(list(Path("data/cache/captions").rglob("*.json")))
        monkeypatch.setattr(CaptionCache, "write", keep)
        asked = len(server.asks)
        run(backend="openai")
    assert n_kept >= 2
    assert len(server.asks) == asked + len(STIMULUS_IDS) - n_kept


def test_a_corrupt_answer_is_named_and_never_used(scenes, serve):
    with ChatServer() as server:
        serve(server)
        run(backend="openai")
        entry = min(Path("data/cache/captions").rglob("*.json"))
        entry.write_text(entry.read_text().replace("seen in", "seen on"))
        with pytest.raises(CaptionCacheError, match=f"{entry} must be an answer as it was written"):
            run(backend="openai")
        entry.unlink()
        run(backend="openai")
    assert server.billed.total() == len(STIMULUS_IDS) + 1


def test_the_key_is_in_no_file(scenes, serve):
    with ChatServer(lambda *_: failure(500, KEY)) as server:
        serve(server)
        with pytest.raises(Exception, match="must get an answer") as error:
            run(backend="openai")
        server.script = lambda _, ask: good(ask)
        run(backend="openai")
    assert KEY not in str(error.value)
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert OUT in files
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_the_name_of_the_concept_is_a_caption_that_asks_nobody(scenes):
    rows = run(backend="concept")
    assert {row["stimulus_id"]: row["text"] for row in rows} == {
        name: f"a photo of a {scene.concept}" for name, scene in scenes.items()
    }
    assert {(row["kind"], row["status"], row["source"]) for row in rows} == {
        ("ObjectSnap", "ok", "concept")
    }
