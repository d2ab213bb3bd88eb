"""The stage `check_captions` on photographs: captions of a server held against those that people wrote."""

import csv
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import write_table
from tasks.caption import CaptionParams, caption
from tasks.check_captions import CheckCaptionsParams, check_captions
from tasks.eeg.epochs import write_epochs
from tasks.embed import EmbedParams, embed
from tasks.language.human import CaptionFileError
from tasks.language.prompts import KIND_NAMES
from tasks.reporting.plots import suspect_table
from tasks.reporting.score_rows import grouped
from tasks.runtime.map import serial_map
from tasks.train import train
from tasks.wiring.contract import params_for
from tests.chat_server import KEY, ChatServer, completion, failure
from tests.conftest import REPOSITORY
from tests.encoder.small_study import INFO, N_CHANNELS, N_TIMES, _trial, changed
from tests.language.asking import OPENAI

N_PICTURES = 48
INVENTED = "with a zebra beside it"
PHRASES = (
    "in plain colours",
    "with a rough surface",
    "in every detail",
    "near the middle of the picture",
    "rather large in the frame",
    "with more of it on the left",
    "seen from nearby",
    "on an ordinary day",
    "in a quiet mood",
    "and something is about to happen",
)


@pytest.fixture(scope="module")
def photographs(shared_data, tmp_path_factory):
    """Study of photographs, captioned by a server that invents a zebra in two of them."""
    root = tmp_path_factory.mktemp("coco")
    study = json.loads((shared_data / "coco_captions" / "captions.json").read_text())
    folder = root / "data/raw/coco"
    folder.mkdir(parents=True)
    rows, human, said = [], {}, {}
    for name, about in sorted(study.items())[:N_PICTURES]:
        source = shared_data / "coco_captions" / "images" / name
        with Image.open(source) as image:
            image = image.convert("RGB")
            image.thumbnail((200, 200))
            image.save(folder / name)
            width_px, height_px = image.size
        sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        rows.append(
            {
                "stimulus_id": Path(name).stem,
                "concept": (about["categories"] or ["scene"])[0],
                "image_path": f"data/raw/coco/{name}",
                "width_px": width_px,
                "height_px": height_px,
                "sha256": sha256,
                "official_split": "",
            }
        )
        human[name] = {
            "human_captions": about["human_captions"][1:],
            "categories": about["categories"],
        }
        said[sha256] = about["human_captions"][0].strip(" .")
    (folder / "human_captions.json").write_text(json.dumps(human))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        artifacts = Artifacts()
        write_table(pa.Table.from_pylist(rows, STIMULI), artifacts.stimuli, STIMULI)
        patch.setenv("OPENAI_API_KEY", KEY)
        with ChatServer(speaker(said)) as server:
            patch.setenv("OPENAI_BASE_URL", server.url)
            run_caption(artifacts)
        assert server.billed.total() == N_PICTURES
        run_embed(artifacts)
        record(artifacts)
        run_train(artifacts)
        run_check_captions(artifacts, human_file="human_captions.json")
    return root


def record(artifacts):
    """Write trials of one subject, whose EEG holds the picture's vector and noise."""
    rng = np.random.default_rng(0)
    table = pa.parquet.read_table(artifacts.image_vectors)
    vectors = np.stack(table["vector"].to_pylist())
    mixing = rng.normal(size=(vectors.shape[1], N_CHANNELS * N_TIMES))
    trials, epochs = [], []
    for order in range(3 * len(vectors)):
        picture, repetition = order % len(vectors), order // len(vectors)
        split = "test" if picture % 4 == 0 else "validation" if picture % 4 == 1 else "train"
        row = pd.Series(
            {
                "stimulus_id": table["stimulus_id"][picture].as_py(),
                "concept": f"concept-{picture % 3}",
                "split": split,
            }
        )
        trials.append(_trial("sub-01", order, row, repetition))
        evoked = (vectors[picture] @ mixing).reshape(N_CHANNELS, N_TIMES)
        epochs.append(4 * evoked + rng.normal(size=(N_CHANNELS, N_TIMES)))
    frame = pd.DataFrame(trials, columns=TRIALS.names)
    write_table(pa.Table.from_pandas(frame, preserve_index=False), artifacts.trials, TRIALS)
    path = artifacts.epochs / "sub-01_ses-01.arrow"
    write_epochs(path, frame["trial_id"].tolist(), np.array(epochs, np.float32), INFO)


def run_train(artifacts):
    train(
        artifacts.trials,
        artifacts.epochs,
        artifacts.captions,
        artifacts.text_vectors,
        artifacts.image_targets,
        encoder=artifacts.encoder,
        training_log=artifacts.training_log,
        params=changed(architecture="linear", batch_size=16),
    )


def speaker(said):
    """Return a script that says what one person said of a picture; its first two have a zebra, too."""
    zebras = list(said)[:2]

    def speak(server, ask):
        if server.seen(ask.picture) == 1 and ask.picture == list(said)[5]:
            return failure(500, f"the key {KEY} is fine, I am not")
        extra = f" {INVENTED}" if ask.picture in zebras else ""
        texts = {
            kind: f"{said[ask.picture]} {phrase}{extra if kind == 'ObjectSnap' else ''}"
            for kind, phrase in zip(KIND_NAMES, PHRASES, strict=True)
            if kind in ask.kinds
        }
        return completion(json.dumps(texts))

    return speak


def run_caption(artifacts, **changes):
    section = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["caption"]
    chosen = section | {"backend": "openai", "openai": OPENAI | {"max_side_px": 512}} | changes
    caption(
        artifacts.stimuli,
        artifacts.raw,
        captions=artifacts.captions,
        caption_metrics=artifacts.caption_metrics,
        params=CaptionParams.model_validate(chosen),
        map=serial_map,
    )


def run_embed(artifacts):
    embed(
        artifacts.stimuli,
        artifacts.raw,
        artifacts.captions,
        REPOSITORY / artifacts.clip_model,
        text_vectors=artifacts.text_vectors,
        image_vectors=artifacts.image_vectors,
        image_targets=artifacts.image_targets,
        params=EmbedParams(
            model="shipped",
            precision="float32",
            batch_size=64,
            shard_size=4096,
            image={"name": "clip", "layers": [], "blur_px": [0.0]},
        ),
        map=serial_map,
    )


def run_check_captions(artifacts, **changes):
    section = params_for(check_captions, REPOSITORY / "params.yaml").model_dump()
    check_captions(
        artifacts.stimuli,
        artifacts.raw,
        artifacts.captions,
        artifacts.caption_metrics,
        artifacts.text_vectors,
        artifacts.image_vectors,
        artifacts.image_targets,
        REPOSITORY / artifacts.clip_model,
        artifacts.trials,
        artifacts.epochs,
        artifacts.encoder,
        check_captions_metrics=artifacts.check_captions_metrics,
        check_captions_plots=artifacts.check_captions_plots,
        params=CheckCaptionsParams.model_validate(section | {"n_resamples": 50} | changes),
        map=serial_map,
    )


@pytest.fixture
def artifacts(photographs, monkeypatch):
    monkeypatch.chdir(photographs)
    return Artifacts()


def test_human_scores_stand_beside_chance_and_what_people_score(artifacts):
    scores = read_scores(artifacts.check_captions_metrics)
    for name in ("bleu_4", "rouge_l", "cider", "bleu_4_object", "cider_thematic"):
        score = scores[name]
        assert 0 <= score.chance < score.value
        assert score.ceiling > score.chance
    assert scores["bleu_4"].n == 10 * N_PICTURES
    assert "clip_score_of_people" in scores


def test_exactly_the_planted_objects_are_suspected(artifacts):
    scores = read_scores(artifacts.check_captions_metrics)
    path = artifacts.check_captions_plots / "suspected_hallucinations.csv"
    zebras = [
        row for row in csv.DictReader(io.StringIO(path.read_text())) if "zebra" in row["objects"]
    ]
    assert len(zebras) == 2
    assert all(row["caption_id"].endswith("_ObjectSnap") for row in zebras)
    assert all(row["text"].endswith(INVENTED) for row in zebras)
    chair = scores["suspected_hallucinations"]
    assert chair.value < chair.chance / 2
    assert "zebra" in " ".join(
        " ".join(r) for r in suspect_table(artifacts.check_captions_plots).rows
    )


def test_statuses_and_costs_are_handed_on(artifacts):
    scores = read_scores(artifacts.check_captions_metrics)
    assert scores["captions_ok"].value == 1
    assert scores["caption_tokens"].value == 100 * N_PICTURES
    assert scores["caption_cost_usd"].value == pytest.approx(N_PICTURES * 190e-6)


def test_people_can_write_the_captions_in_the_place_of_a_model(artifacts, tmp_path, monkeypatch):
    human = json.loads(Path("data/raw/coco/human_captions.json").read_text())
    copies = Artifacts(tmp_path)
    (tmp_path / "data/interim").mkdir(parents=True)
    copies.stimuli.write_bytes(artifacts.stimuli.read_bytes())
    run_caption(copies, backend="human")
    rows = pa.parquet.read_table(copies.captions).to_pylist()
    assert len(rows) == 10 * N_PICTURES
    assert {row["source"] for row in rows} == {"human"}
    for row in rows:
        said = human[f"{row['stimulus_id']}.jpg"]["human_captions"]
        assert row["text"] in {" ".join(text.split()) for text in said}


def test_an_encoder_trained_on_human_captions_stands_beside_that_of_the_study(artifacts):
    scores = read_scores(artifacts.check_captions_metrics)
    own, human, gain = (
        scores[f"{name}_captions"]
        for name in ("trained_on_study", "trained_on_human", "human_instead_of_study")
    )
    n_test = N_PICTURES // 4
    assert own.n == human.n == gain.n == 3 * n_test
    assert own.chance == human.chance == pytest.approx(1 / n_test, rel=1e-5)
    assert gain.value == pytest.approx(human.value - own.value, abs=1e-5)
    assert gain.verdict
    (group,) = (g for g in grouped(scores) if "people train a better encoder" in g.heading)
    assert [row.name for row in group.rows] == sorted(
        f"{name}_captions"
        for name in ("trained_on_study", "trained_on_human", "human_instead_of_study")
    )


def test_no_encoder_is_trained_where_a_stimulus_has_no_human_caption(artifacts, caplog):
    folder = Path("data/raw/coco")
    human = json.loads((folder / "human_captions.json").read_text())
    first = min(human)
    (folder / "some.json").write_text(
        json.dumps({name: said for name, said in human.items() if name != first})
    )
    run_check_captions(artifacts, human_file="some.json")
    assert "trained_on_human_captions" not in read_scores(artifacts.check_captions_metrics)
    assert f"1 of {N_PICTURES} stimuli have none in {folder / 'some.json'}" in caplog.text
    run_check_captions(artifacts, human_file="human_captions.json")


def test_reviews_are_scored(artifacts, tmp_path):
    frame = pa.parquet.read_table(artifacts.captions).to_pandas().iloc[:8]
    frame = frame[["caption_id", "text"]].assign(verdict=["correct"] * 6 + ["invented"] * 2)
    frame.to_csv("data/raw/coco/reviews.csv", index=False)
    run_check_captions(artifacts, review_file="reviews.csv")
    scores = read_scores(artifacts.check_captions_metrics)
    assert scores["reviewed_correct"].value == 0.75
    assert scores["reviewed_invented"].n == 8
    assert "bleu_4" not in scores
    run_check_captions(artifacts, human_file="human_captions.json")


def test_a_missing_file_of_human_captions_is_named(artifacts):
    with pytest.raises(CaptionFileError) as error:
        run_check_captions(artifacts, human_file="nobody.csv")
    assert str(error.value).endswith(
        "must have nobody.csv; it has none. Put it into the folder of the study, or choose another "
        "caption.backend."
    )


def test_the_key_is_in_no_file_of_the_study(photographs):
    files = [Path(d) / name for d, _, names in os.walk(photographs) for name in names]
    assert len(files) > 2 * N_PICTURES
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
