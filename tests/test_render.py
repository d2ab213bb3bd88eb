import errno
import hashlib
import json
import re
import shutil
from collections import Counter
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from tasks import render as stage
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table, write_table
from tasks.controls import heard_noise
from tasks.diffusion import drawing, picture_files
from tasks.diffusion.conditions import Condition, readable
from tasks.diffusion.hardware import in_shards
from tasks.diffusion.renderer import Drawn
from tasks.eeg.epochs import EpochsInfo, write_epochs
from tasks.runtime.errors import PerceptError
from tasks.runtime.map import serial_map
from tests.diffusion.architectures import make_stable_diffusion, seeded
from tests.synthetic_study import DIM, KINDS, make_study

CONDITIONS = get_args(Condition)
N_STIMULI = 8 * 3 + 2 * 3
N_TRIALS = 20
COMPOSITION = {
    "kinds": KINDS,
    "captions_per_kind": 1,
    "embedding_average_share": 0.0,
    "min_weight": 0.0,
    "temperature": 0.05,
    "negative_prompt": "",
    "guidance_scale": 2.0,
    "guidance_by_confidence": 0.0,
}
CHANNELS = ("Fz", "Cz", "Pz", "Oz")
SIZE_PX = 16


class StandIn:
    """Draws noise that depends on prompt and seed alone, counts what it draws, and can be disturbed."""

    device = torch.device("cpu")

    def __init__(self, fail_at=None, fits=1000, flags=lambda prompt: False, decodes=1000):
        self.drawn = Counter()
        self.fail_at = fail_at
        self.fits, self.decodes = fits, decodes
        self.flags = flags
        self.sizes = []
        self.max_batch = None

    def parts(self, requests):
        return [list(range(len(requests)))]

    def denoise(self, requests):
        self.sizes.append(len(requests))
        if self.fail_at == len(self.sizes):
            raise RuntimeError("out of order")
        if len(requests) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        return requests

    def finish(self, latents):
        if len(latents) > self.decodes:
            raise torch.OutOfMemoryError("out of memory")
        asked = [(conditioning.prompt, seed) for conditioning, seed in latents]
        self.drawn.update(asked)
        return [Drawn(self.draw(f"{p}|{s}"), self.flags(p)) for p, s in asked]

    @staticmethod
    def draw(text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        pixels = np.random.default_rng(seed).integers(0, 255, (SIZE_PX, SIZE_PX, 3), np.uint8)
        return Image.fromarray(pixels)


def params(**changes):
    values = {
        "model": "shipped",
        "conditions": CONDITIONS[:3],
        "composition": COMPOSITION,
        "image_prompt": {"adapter": None, "scale": 0.5, "image_encoder": None},
        "max_trials": 20,
        "n_samples": 1,
        "n_steps": 2,
        "size_px": None,
        "precision": "auto",
        "compile": False,
        "safety_checker": False,
        "batch_size": 7,
        "seed": 0,
    }
    return stage.RenderParams.model_validate(values | changes)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = make_study(noise=0.2)
    for name, contract in (("trials", TRIALS), ("captions", CAPTIONS), ("retrievals", RETRIEVALS)):
        write_table(getattr(study, name), tmp_path / f"{name}.parquet", contract)
    write_table(study.text_vectors, tmp_path / "text_vectors.parquet", TEXT_VECTORS)
    write_eeg(study.trials, tmp_path / "epochs")
    make_pipeline(tmp_path / "diffusion")
    return tmp_path


def write_eeg(trials, folder):
    info = EpochsInfo(CHANNELS, 100.0, 0.0, "uV", "average", "none")
    rows = trials.to_pylist()
    rng = np.random.default_rng(0)
    for recording_id in sorted({row["recording_id"] for row in rows}):
        ids = [row["trial_id"] for row in rows if row["recording_id"] == recording_id]
        eeg = rng.standard_normal((len(ids), len(CHANNELS), 10)).astype(np.float32)
        write_epochs(folder / f"{recording_id}.arrow", ids, eeg, info)


class Projector:
    """An encoder whose prediction is a fixed projection of what it hears, which it keeps."""

    kinds = KINDS

    def __init__(self):
        self.heard = []

    def require_channels(self, channels):
        assert channels == CHANNELS

    def predict(self, eeg, subjects):
        assert len(eeg) == len(subjects)
        self.heard.append(eeg)
        weights = np.random.default_rng(0).standard_normal((eeg[0].size, len(KINDS) * DIM))
        vectors = (eeg.reshape(len(eeg), -1) @ weights).reshape(len(eeg), len(KINDS), DIM)
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def encoder(monkeypatch):
    encoder = Projector()
    monkeypatch.setattr(heard_noise, "load_encoder", lambda folder: encoder)
    return encoder


def make_pipeline(folder):
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "U"],
        "vae": ["diffusers", "V"],
    }
    configs = {"unet": {"sample_size": SIZE_PX}, "vae": {"block_out_channels": [8]}}
    for part, config in configs.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        (folder / part / "model.safetensors").write_bytes(part.encode())
    (folder / "model_index.json").write_text(json.dumps(index))


@pytest.fixture
def stand_in(monkeypatch):
    def use(renderer):
        monkeypatch.setattr(drawing, "load_renderer", lambda folder, settings: renderer)
        return renderer

    return use


def run(folder, mapper=serial_map, **changes):
    stage.render(
        folder / "stimuli.parquet",
        folder / "trials.parquet",
        folder / "epochs",
        folder / "captions.parquet",
        folder / "text_vectors.parquet",
        folder / "encoder",
        folder / "predictions.parquet",
        folder / "retrievals.parquet",
        folder / "diffusion",
        renders=folder / "renders.parquet",
        render_images=folder / "images",
        params=params(**changes),
        map=mapper,
    )
    return read_table(folder / "renders.parquet", RENDERS).to_pandas()


def hashes(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_each_trial_is_drawn_in_each_condition(workplace, stand_in):
    renderer = stand_in(StandIn())
    rows = run(workplace, n_samples=2)
    assert len(rows) == 20 * 3 * 2 == renderer.drawn.total()
    assert rows.groupby("condition")["trial_id"].nunique().tolist() == [20, 20, 20]
    for row in rows.itertuples():
        assert row.image_path.endswith(f"images/{row.condition}/{row.trial_id}_{row.sample}.png")
        drawn = np.asarray(Image.open(row.image_path))
        assert (drawn == np.asarray(StandIn.draw(f"{row.prompt}|{row.seed}"))).all()
    assert rows["seed"].nunique() == len(rows)


def test_prompts_come_from_the_captions_of_their_condition(workplace, stand_in):
    stand_in(StandIn())
    rows = run(workplace)
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas().set_index("trial_id")
    captions = read_table(workplace / "captions.parquet", CAPTIONS).to_pandas()
    retrievals = read_table(workplace / "retrievals.parquet", RETRIEVALS).to_pandas()
    text = captions.set_index("caption_id")["text"]
    own = captions.set_index(["stimulus_id", "kind"])["text"]
    first = retrievals[retrievals["rank"] == 1].set_index(["trial_id", "kind"])["caption_id"]
    prompt = rows.set_index(["condition", "trial_id"])["prompt"]
    for trial_id in rows["trial_id"].unique():
        stimulus_id = trials.loc[trial_id, "stimulus_id"]
        expected = ", ".join(text[first[trial_id, kind]] for kind in KINDS)
        assert prompt["decoded", trial_id] == expected
        expected = ", ".join(own[stimulus_id, kind] for kind in KINDS)
        assert prompt["true_captions", trial_id] == expected
    assert sorted(prompt["shuffled_eeg"]) == sorted(prompt["decoded"])


def test_controls_know_nothing_of_the_picture_but_its_name(workplace, stand_in, encoder):
    renderer = stand_in(StandIn())
    rows = run(workplace, conditions=CONDITIONS)
    assert len(rows) == N_TRIALS * len(CONDITIONS) == renderer.drawn.total()
    assert not rows["flagged"].any()
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas()
    captions = read_table(workplace / "captions.parquet", CAPTIONS).to_pandas()
    known = set(trials.loc[trials["split"] == "train", "stimulus_id"])
    prompts = {
        stimulus_id: ", ".join(own.set_index("kind")["text"][list(KINDS)])
        for stimulus_id, own in captions.groupby("stimulus_id")
    }
    shown = rows.merge(trials, on="trial_id")
    by_name = shown[shown["condition"] == "class_name"]
    assert (by_name["prompt"] == by_name["concept"]).all()
    by_lot = rows.loc[rows["condition"] == "random_caption", "prompt"]
    assert set(by_lot) <= {prompts[stimulus_id] for stimulus_id in known}
    assert by_lot.nunique() > 5
    (mean,) = rows.loc[rows["condition"] == "mean_embedding", "prompt"].unique()
    assert all(prompts[stimulus_id] in mean for stimulus_id in known)
    retrievals = read_table(workplace / "retrievals.parquet", RETRIEVALS).to_pandas()
    decoded = retrievals[(retrievals["rank"] == 1) & (retrievals["kind"] == "ObjectSnap")]
    decoded = decoded.merge(captions, on="caption_id").merge(
        trials[["stimulus_id", "concept"]].drop_duplicates(), on="stimulus_id"
    )
    nearest = dict(zip(decoded["trial_id"], decoded["concept"], strict=True))
    predicted = shown[shown["condition"] == "predicted_class"]
    assert (predicted["prompt"] == predicted["trial_id"].map(nearest)).all()
    assert set(trials["stimulus_id"]) - known
    texts = {kind: set(own["text"]) for kind, own in captions.groupby("kind")}
    for prompt in rows.loc[rows["condition"] == "noise_eeg", "prompt"]:
        parts = prompt.split(", ")
        assert all(part in texts[kind] for part, kind in zip(parts, KINDS, strict=True))


def test_noise_looks_like_training_eeg_and_leads_to_captions_of_training_pictures(
    workplace, stand_in, encoder
):
    stand_in(StandIn())
    rows = run(workplace, conditions=("noise_eeg",))
    (heard,) = encoder.heard
    assert heard.shape == (N_TRIALS, len(CHANNELS), 10)
    assert heard.std() == pytest.approx(1, abs=0.1)
    again = run(workplace, conditions=("noise_eeg", "decoded"))
    assert again[again["condition"] == "noise_eeg"].reset_index(drop=True).equals(rows)
    captions = read_table(workplace / "captions.parquet", CAPTIONS).to_pandas()
    vectors = dict(
        zip(
            captions["caption_id"],
            np.stack(
                read_table(workplace / "text_vectors.parquet", TEXT_VECTORS)["vector"].to_pylist()
            ),
            strict=True,
        )
    )
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas()
    train = set(trials.loc[trials["split"] == "train", "stimulus_id"])
    gallery = captions[captions["stimulus_id"].isin(train)].sort_values("caption_id")
    predicted = encoder.predict(heard, [""] * N_TRIALS)
    for trial, prompt in zip(predicted, rows["prompt"], strict=True):
        nearest = []
        for head, kind in enumerate(KINDS):
            own = gallery[gallery["kind"] == kind]
            cosines = [vectors[c] @ trial[head] for c in own["caption_id"]]
            nearest.append(own["text"].iloc[int(np.argmax(cosines))])
        assert prompt == ", ".join(nearest)


def test_noise_of_a_subject_without_training_epochs_is_made_of_everybodys(
    workplace, stand_in, encoder
):
    stand_in(StandIn())
    path = workplace / "trials.parquet"
    rows = read_table(path, TRIALS).to_pandas()
    rows["kept"] &= (rows["split"] != "train") | (rows["subject"] != "sub-01")
    write_table(pa.Table.from_pandas(rows, TRIALS, preserve_index=False), path, TRIALS)
    assert len(run(workplace, conditions=("noise_eeg",))) == N_TRIALS
    assert np.isfinite(encoder.heard[0]).all()
    rows["kept"] &= rows["split"] != "train"
    write_table(pa.Table.from_pandas(rows, TRIALS, preserve_index=False), path, TRIALS)
    message = (
        "Noise is made of the epochs of kept training trials; found none. "
        "Mend the params of preprocess."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace, conditions=("noise_eeg",))


@pytest.mark.parametrize(
    ("concept", "name"),
    [("electric_guitar", "electric guitar"), ("bat2", "bat"), ("dog", "dog"), ("F_16", "F 16")],
)
def test_concepts_are_named_in_words(concept, name):
    assert readable(concept) == name


def test_concepts_take_turns_and_each_stimulus_is_drawn_once(workplace, stand_in):
    stand_in(StandIn())
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas().set_index("trial_id")
    chosen = trials.loc[run(workplace, max_trials=14)["trial_id"].unique()]
    assert chosen["stimulus_id"].is_unique
    assert set(chosen["split"]) == {"test", "zero_shot"}
    assert set(chosen["concept"].value_counts()) == {1, 2}
    assert chosen["concept"].nunique() == 10
    everything = run(workplace, max_trials=1000)["trial_id"].unique()
    assert len(everything) == N_STIMULI


def test_batch_size_and_order_of_rows_change_nothing(workplace, stand_in):
    stand_in(StandIn())
    expected = run(workplace), hashes(workplace / "images")
    rng = np.random.default_rng(0)
    for name, contract in (("trials", TRIALS), ("captions", CAPTIONS), ("retrievals", RETRIEVALS)):
        path = workplace / f"{name}.parquet"
        table = read_table(path, contract)
        write_table(table.take(rng.permutation(len(table))), path, contract)
    for batch_size in (1, 60):
        shutil.rmtree(workplace / "data/cache")
        shutil.rmtree(workplace / "images")
        rows = run(workplace, batch_size=batch_size)
        assert rows.equals(expected[0])
        assert hashes(workplace / "images") == expected[1]


def test_an_interrupted_run_draws_only_what_is_missing(workplace, stand_in):
    first = stand_in(StandIn(fail_at=4))
    with pytest.raises(RuntimeError, match="out of order"):
        run(workplace)
    assert first.drawn.total() == 3 * 7
    assert not (workplace / "renders.parquet").exists()
    second = stand_in(StandIn())
    rows = run(workplace)
    assert second.drawn.total() == len(rows) - 3 * 7
    assert not first.drawn & second.drawn
    third = stand_in(StandIn())
    assert run(workplace).equals(rows)
    assert third.drawn.total() == 0


def test_a_damaged_picture_is_drawn_again(workplace, stand_in, caplog):
    stand_in(StandIn())
    run(workplace)
    expected = hashes(workplace / "images")
    damaged = sorted((workplace / "data/cache/render").glob("*.png"))[5]
    content = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(content[: len(content) // 2])
    again = stand_in(StandIn())
    run(workplace)
    assert again.drawn.total() == 1
    assert f"{damaged.name} is damaged and will be drawn anew" in caplog.text
    assert hashes(workplace / "images") == expected


def test_other_settings_or_weights_draw_other_pictures(workplace, stand_in):
    renderer = stand_in(StandIn())
    run(workplace)
    n = renderer.drawn.total()
    run(workplace, composition=COMPOSITION | {"guidance_scale": 3.0})
    assert renderer.drawn.total() == 2 * n
    (workplace / "diffusion/README.md").write_text("A card changes no picture.")
    run(workplace)
    assert renderer.drawn.total() == 2 * n
    (workplace / "diffusion/unet/model.safetensors").write_bytes(b"other weights")
    run(workplace)
    assert renderer.drawn.total() == 3 * n


@pytest.fixture
def real_generator(workplace):
    """Put a tiny pipeline of diffusers, with random weights, in the place of the stand-in."""
    shutil.rmtree(workplace / "diffusion")
    seeded(make_stable_diffusion).save_pretrained(workplace / "diffusion")
    drawing.load_renderer.cache_clear()
    yield drawing.load_renderer(workplace / "diffusion", params().settings).pipeline
    drawing.load_renderer.cache_clear()


def weights(pipeline):
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    tensors = [value.numpy().tobytes() for part in parts for value in part.state_dict().values()]
    return hashlib.sha256(b"".join(tensors)).hexdigest()


def test_the_generator_is_frozen_and_batches_do_not_change_pictures(workplace, real_generator):
    before = weights(real_generator), hashes(workplace / "diffusion")
    settings = {"max_trials": 3, "conditions": ("decoded",)}
    rows = run(workplace, **settings, batch_size=3)
    together = [np.asarray(Image.open(p), np.int64) for p in rows["image_path"]]
    assert together[0].shape == (SIZE_PX, SIZE_PX, 3)
    assert (together[0] != together[1]).any()
    shutil.rmtree(workplace / "data/cache")
    alone = run(workplace, **settings, batch_size=1)
    for picture, row_path in zip(together, alone["image_path"], strict=True):
        assert np.abs(picture - np.asarray(Image.open(row_path), np.int64)).max() <= 1
    assert (weights(real_generator), hashes(workplace / "diffusion")) == before


def test_shards_in_any_number_and_order_draw_the_same_bytes(workplace, real_generator, monkeypatch):
    settings = {"max_trials": 4, "conditions": ("decoded", "true_captions"), "batch_size": 3}
    rows = run(workplace, **settings)
    expected = hashes(workplace / "images")
    assert len(expected) == len(rows) == 8
    dealt = []

    def backwards(work, shards):
        dealt.append(len(shards))
        return [work(shard) for shard in reversed(shards)]

    for per_shard in (1, 2):
        shutil.rmtree(workplace / "data/cache")
        shutil.rmtree(workplace / "images")
        monkeypatch.setattr(drawing, "BATCHES_PER_SHARD", per_shard)
        assert run(workplace, backwards, **settings).equals(rows)
        assert hashes(workplace / "images") == expected
    assert dealt == [3, 2]


def test_processes_share_the_batches_and_draw_the_same_bytes(
    workplace, real_generator, monkeypatch
):
    """As `accelerate launch` starts them; here one after the other."""
    settings = {"max_trials": 4, "conditions": ("decoded",), "batch_size": 1}
    rows = run(workplace, **settings)
    expected = hashes(workplace / "images")
    shutil.rmtree(workplace / "data/cache")
    shutil.rmtree(workplace / "images")
    monkeypatch.setattr(drawing, "BATCHES_PER_SHARD", 1)
    drawn = []
    for rank in (0, 1):
        with monkeypatch.context() as patch:
            patch.setattr(drawing, "own_share", lambda shards, rank=rank: list(shards)[rank::2])
            patch.setattr(stage, "link_or_copy", lambda *paths: None)
            run(workplace, lambda work, shards: drawn.append([work(s) for s in shards]), **settings)
    assert [len(share) for share in drawn] == [2, 1]
    assert run(workplace, **settings).equals(rows)
    assert hashes(workplace / "images") == expected


def test_out_of_memory_in_the_decoder_halves_the_batch_and_goes_on(workplace, stand_in):
    stand_in(StandIn())
    expected = run(workplace), hashes(workplace / "images")
    shutil.rmtree(workplace / "data/cache")
    shutil.rmtree(workplace / "images")
    renderer = stand_in(StandIn(decodes=2))
    assert run(workplace).equals(expected[0])
    assert hashes(workplace / "images") == expected[1]
    assert set(renderer.drawn.values()) == {1}


def test_a_picture_that_is_too_large_for_the_decoder_is_said(workplace, stand_in):
    stand_in(StandIn(decodes=0))
    with pytest.raises(PerceptError, match="One picture at a time must fit into memory"):
        run(workplace)


def test_a_shard_that_is_done_again_goes_on_where_its_worker_was_lost(workplace, stand_in):
    lost = stand_in(StandIn(fail_at=3))

    def twice(work, shards):
        with pytest.raises(RuntimeError, match="out of order"):
            work(shards[0])
        lost.fail_at = None
        return [work(shard) for shard in shards]

    run(workplace, twice)
    assert max(lost.drawn.values()) == 1


@pytest.mark.parametrize(
    ("n_batches", "n_gpus", "n_shards"), [(9, 0, 3), (9, 2, 3), (9, 8, 8), (2, 8, 2)]
)
def test_shards_are_sized_by_work_and_leave_no_gpu_of_this_machine_idle(
    n_batches, n_gpus, n_shards, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    shards = in_shards(range(n_batches), 4)
    assert len(shards) == n_shards
    assert sorted(batch for shard in shards for batch in shard) == list(range(n_batches))
    assert max(map(len, shards)) <= 4


def test_out_of_memory_halves_the_batch_and_goes_on(workplace, stand_in, caplog):
    stand_in(StandIn())
    expected = run(workplace, batch_size=16), hashes(workplace / "images")
    shutil.rmtree(workplace / "data/cache")
    shutil.rmtree(workplace / "images")
    renderer = stand_in(StandIn(fits=5))
    assert run(workplace, batch_size=16).equals(expected[0])
    assert hashes(workplace / "images") == expected[1]
    assert renderer.sizes[:6] == [16, 8, 4, 4, 4, 4]
    assert set(renderer.sizes[2:]) == {4}
    assert set(renderer.drawn.values()) == {1}
    assert "Out of memory: 4 pictures at once from here on." in caplog.text


def test_one_picture_that_does_not_fit_is_an_error(workplace, stand_in):
    stand_in(StandIn(fits=0))
    message = (
        "One picture at a time must fit into memory; it does not. Set `render.precision` to bfloat16 "
        "or float16, lower `render.size_px`, or take a smaller model."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace)


def test_a_batch_that_was_cut_short_is_drawn_again_as_it_was(workplace, stand_in, monkeypatch):
    stand_in(StandIn())
    expected = run(workplace), hashes(workplace / "images")
    shutil.rmtree(workplace / "data/cache")
    n_saved = 0

    def save(*args, **options):
        nonlocal n_saved
        n_saved += 1
        if n_saved == 10:
            raise KeyboardInterrupt
        picture_files.save_picture(*args, **options)

    first = stand_in(StandIn())
    monkeypatch.setattr(drawing, "save_picture", save)
    with pytest.raises(KeyboardInterrupt):
        run(workplace)
    monkeypatch.undo()
    monkeypatch.chdir(workplace)
    second = stand_in(StandIn())
    assert run(workplace).equals(expected[0])
    assert hashes(workplace / "images") == expected[1]
    assert second.drawn.total() == len(expected[0]) - 7
    assert set(second.sizes) == {7, 60 - 8 * 7}
    assert first.drawn
    assert not list((workplace / "data/cache/render").glob("plan-*"))


def test_a_full_disk_stops_cleanly_and_what_was_drawn_is_kept(workplace, stand_in, monkeypatch):
    stand_in(StandIn())
    original, n_saved = Image.Image.save, 0

    def save(self, *args, **options):
        nonlocal n_saved
        n_saved += 1
        if n_saved > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, *args, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    message = (
        "data/cache/render must have room for the next picture; the disk is full. What was drawn is "
        "kept: free some space and run the stage again."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace)
    kept = list((workplace / "data/cache/render").glob("*.png"))
    assert len(kept) == 9
    assert not (workplace / "renders.parquet").exists()
    monkeypatch.setattr(Image.Image, "save", original)
    renderer = stand_in(StandIn())
    assert len(run(workplace)) == 60
    assert renderer.drawn.total() == 60 - 7


def test_a_folder_that_cannot_be_written_is_named(workplace, stand_in):
    renderer = stand_in(StandIn())
    (workplace / "data").mkdir()
    (workplace / "data/cache").write_text("a file")
    message = (
        "data/cache/render must be a folder that can be written; it is not (Not a directory). Mend "
        "its permissions, or put a link to another disk in its place."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace)
    assert not renderer.sizes


def test_the_verdict_of_the_safety_checker_stands_in_the_manifest(workplace, stand_in):
    stand_in(StandIn(flags=lambda prompt: "apple" in prompt))
    rows = run(workplace, conditions=("true_captions", "class_name"))
    assert rows["flagged"].tolist() == ["apple" in prompt for prompt in rows["prompt"]]
    assert 0 < rows["flagged"].sum() < len(rows)
    stand_in(StandIn())
    assert run(workplace, conditions=("true_captions", "class_name")).equals(rows)


def test_confidence_weighs_captions_and_guidance(workplace, stand_in):
    stand_in(StandIn())
    composition = COMPOSITION | {
        "embedding_average_share": 0.5,
        "guidance_scale": 5.0,
        "guidance_by_confidence": 1.0,
    }
    rows = run(workplace, composition=composition)
    true = rows[rows["condition"] == "true_captions"]
    assert set(true["guidance_scale"]) == {5.0}
    decoded = rows[rows["condition"] == "decoded"]
    assert (decoded["guidance_scale"] < 5.0).any()
    assert (decoded["guidance_scale"] > 1.0).all()
    assert decoded["prompt"].str.match(r"0\.50 x \(.*\) \+ 0\.\d\d x").all()


@pytest.mark.parametrize("content", [{"_class_name": "StableVideoDiffusionPipeline"}, {}])
def test_a_pipeline_of_another_kind_is_refused(workplace, content):
    index = workplace / "diffusion/model_index.json"
    index.write_text(json.dumps(content))
    drawing.load_renderer.cache_clear()
    message = (
        f"`render.model` must draw pictures from text, as StableDiffusionPipeline does; "
        f"{workplace / 'diffusion'} is a {content.get('_class_name')}. Choose a text-to-image model."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace)


def test_damaged_weights_are_named(workplace, real_generator):
    path = workplace / "diffusion/unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    drawing.load_renderer.cache_clear()
    message = (
        f"^The diffusion pipeline in {re.escape(str(workplace / 'diffusion'))} must be whole; a part "
        r"cannot be loaded \(.+\)\. Get it anew\.$"
    )
    with pytest.raises(PerceptError, match=message):
        run(workplace)


def test_decoded_captions_never_come_from_held_out_pictures(workplace, stand_in):
    stand_in(StandIn())
    path = workplace / "retrievals.parquet"
    rows = read_table(path, RETRIEVALS).to_pandas()
    caption_id = read_table(workplace / "captions.parquet", CAPTIONS)["caption_id"][0].as_py()
    identified = rows.assign(gallery="test", caption_id=caption_id)
    both = pa.Table.from_pandas(pd.concat([identified, rows]), preserve_index=False)
    expected = run(workplace)
    write_table(both, path, RETRIEVALS)
    assert run(workplace).equals(expected)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "",
            "A diffusion pipeline needs {folder}/model_index.json; it does not exist. Check out "
            "data/models, run `percept pretrain`, or correct `render.model`.",
        ),
        (
            "vae",
            "A diffusion pipeline needs every part of its model_index.json; {folder}/vae does not "
            "exist. Get the whole pipeline.",
        ),
        (
            "unet/model.safetensors",
            "Every network of a diffusion pipeline needs weights; {folder}/unet holds no .safetensors "
            "or .bin file. Get the whole pipeline.",
        ),
        (
            "unet/model-2.safetensors",
            "{folder}/unet/model.safetensors.index.json names model-2.safetensors, which must lie "
            "beside it; it does not. Get the whole pipeline.",
        ),
        (
            "tokenizer/vocab.json",
            "A tokenizer needs its vocabulary; {folder}/tokenizer holds none of tokenizer.json, "
            "vocab.json, spiece.model, tokenizer.model. Get the whole pipeline.",
        ),
    ],
)
def test_a_missing_part_of_the_generator_is_named(workplace, missing, message):
    folder = workplace / "diffusion"
    if missing == "tokenizer/vocab.json" or missing == "unet/model-2.safetensors":
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer/vocab.json").write_text("{}")
        names = {"a": "model.safetensors", "b": "model-2.safetensors"}
        index = folder / "unet/model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": names}))
        (folder / "unet/model-2.safetensors").write_bytes(b"weights")
        parts = json.loads((folder / "model_index.json").read_text())
        parts |= {"tokenizer": ["transformers", "CLIPTokenizer"]}
        (folder / "model_index.json").write_text(json.dumps(parts))
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(PerceptError, match=f"^{re.escape(message.format(folder=folder))}$"):
        run(workplace)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "must be JSON; it is not (Expecting"),
        ("[]", "must hold a JSON object; it holds a list."),
    ],
)
def test_a_damaged_index_is_named(workplace, content, said):
    index = workplace / "diffusion/model_index.json"
    index.write_text(content)
    with pytest.raises(PerceptError, match=re.escape(f"{index} {said}")):
        run(workplace)


def test_an_unknown_generator_is_named(workplace):
    message = (
        "`render.model` must be 'shipped', a folder or a model in the local hub cache; "
        "'nobody/nothing' is none of these. Run `hf download nobody/nothing` (a gated one wants its "
        "licence accepted and `hf auth login` first) or correct it."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace, model="nobody/nothing")


def test_a_missing_caption_is_named(workplace):
    path = workplace / "captions.parquet"
    rows = read_table(path, CAPTIONS)
    held_out = rows["caption_id"].to_pylist().index("stimulus-003_ThemeTag")
    kept = [index for index in range(len(rows)) if index != held_out]
    write_table(rows.take(kept), path, CAPTIONS)
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas().set_index("trial_id")
    with pytest.raises(PerceptError) as caught:
        run(workplace, max_trials=1000, conditions=("true_captions",))
    (trial_id,) = re.findall(r"trial (\S+) has", str(caught.value))
    assert trials.loc[trial_id, "stimulus_id"] == "stimulus-003"
    assert str(caught.value) == (
        f"A prompt needs a caption of each kind; trial {trial_id} has none of ThemeTag in the "
        "condition true_captions. Run `dvc repro caption`."
    )


def test_an_empty_caption_is_no_prompt(workplace):
    path = workplace / "captions.parquet"
    rows = read_table(path, CAPTIONS)
    texts = [
        " " if k == "ThemeTag" else t
        for k, t in zip(*(rows[c].to_pylist() for c in ("kind", "text")), strict=True)
    ]
    write_table(rows.set_column(4, "text", pa.array(texts)), path, CAPTIONS)
    message = (
        r"^A prompt needs a caption of each kind; trial \S+ has none of ThemeTag in the condition "
        r"decoded\. Run `dvc repro retrieve`\.$"
    )
    with pytest.raises(PerceptError, match=message):
        run(workplace)


def test_an_emoji_is_no_prompt(workplace):
    path = workplace / "captions.parquet"
    rows = read_table(path, CAPTIONS)
    texts = [
        "\N{DOG FACE}" if k == "ThemeTag" else t
        for k, t in zip(*(rows[c].to_pylist() for c in ("kind", "text")), strict=True)
    ]
    write_table(rows.set_column(4, "text", pa.array(texts)), path, CAPTIONS)
    message = (
        r"^A prompt needs words; trial \S+ has '"
        "\N{DOG FACE}"
        r"' as its ThemeTag in the condition "
        r"decoded\. Mend that caption or leave its kind out of `render\.composition\.kinds`\.$"
    )
    with pytest.raises(PerceptError, match=message):
        run(workplace)


def test_too_little_disk_is_found_beforehand(workplace, stand_in, monkeypatch):
    renderer = stand_in(StandIn())
    usage = shutil.disk_usage(workplace)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = (
        "60 pictures of 16 px need up to 0.1 MB; 0.0 MB are free. Free some or lower "
        "`render.max_trials`."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(workplace)
    assert renderer.drawn.total() == 0
