"""The stage `embed`, with a model that counts what it is given."""

import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.pictures import StalePictureError, UnreadablePictureError
from tasks.artifacts.tables import read_table, write_table
from tasks.clip import embedding
from tasks.clip.cache import VECTOR_CACHE, VectorCache
from tasks.clip.vectors import VectorError, table_to_levels, table_to_vectors, text_key
from tasks.embed import EmbedParams, embed
from tasks.runtime.map import serial_map

RAW, CLIP = Path("data/raw"), Path("data/models/clip")
STIMULI_PATH, CAPTIONS_PATH = Path("stimuli.parquet"), Path("captions.parquet")
TEXT_VECTORS_PATH, IMAGE_VECTORS_PATH = Path("texts.parquet"), Path("images.parquet")
IMAGE_TARGETS_PATH = Path("targets.parquet")


def vector_of(content):
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(8)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class CountingClip:
    """Embeds anything by its hash; fails once a number of batches is done."""

    fingerprint: str = "model-1"
    batches_left: int = 1000
    texts: list[list[str]] = field(default_factory=list)
    images: list[list[bytes]] = field(default_factory=list)

    def encode_texts(self, texts):
        self._work()
        self.texts.append(list(texts))
        return np.stack([vector_of(text.encode()) for text in texts])

    def encode_images(self, pictures, layer=None, *, blur_px=0.0, tokens="mean"):
        self._work()
        if layer is not None:
            return np.eye(layer + 1)[[picture.tobytes()[0] % 3 for picture in pictures]]
        assert all(picture.mode == "RGB" for picture in pictures)
        self.images.append([picture.tobytes() for picture in pictures])
        return np.stack([vector_of(picture.tobytes()) for picture in pictures])

    def _work(self):
        if not self.batches_left:
            raise RuntimeError("killed")
        self.batches_left -= 1


@pytest.fixture
def load(monkeypatch):
    """Make the stage use a model; return it and the sources that were asked for."""

    def load(model):
        sources = []
        monkeypatch.setattr(
            "tasks.clip.embedding.load_clip", lambda s, _: (sources.append(s), model)[1]
        )
        return sources

    return load


@pytest.fixture
def clip(load):
    model = CountingClip()
    load(model)
    return model


def write_captions(texts):
    rows = {
        "caption_id": [f"c-{number}" for number in range(len(texts))],
        "text": texts,
        **{
            name: ["x"] * len(texts)
            for name in CAPTIONS.names
            if name not in ("caption_id", "text")
        },
    }
    write_table(pa.table(rows).select(CAPTIONS.names), CAPTIONS_PATH, CAPTIONS)


TEXTS = ["a red dog", "a dog", "a red dog", "a sunset", "a", "a dog beside a tree", "a cat"]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Seven captions, six of them distinct, and three pictures, two of them distinct."""
    monkeypatch.chdir(tmp_path)
    write_captions(TEXTS)
    rows = []
    for number, colour in enumerate((10, 20, 10)):
        path = RAW / f"s-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), colour).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((f"s-{number}", "dog", path.as_posix(), 4, 4, sha256, ""))
    columns = dict(zip(STIMULI.names, zip(*rows, strict=True), strict=True))
    write_table(pa.table({n: list(v) for n, v in columns.items()}), STIMULI_PATH, STIMULI)


def run(model="shipped", shard_size=100, precision="float32", image=None):
    embed(
        STIMULI_PATH,
        RAW,
        CAPTIONS_PATH,
        CLIP,
        text_vectors=TEXT_VECTORS_PATH,
        image_vectors=IMAGE_VECTORS_PATH,
        image_targets=IMAGE_TARGETS_PATH,
        params=EmbedParams(
            model=model,
            precision=precision,
            batch_size=2,
            shard_size=shard_size,
            image=image or {"name": "clip", "layers": [], "blur_px": [0.0]},
        ),
        map=serial_map,
    )


def n_texts(clip):
    return sum(map(len, clip.texts))


def test_every_caption_and_picture_gets_its_own_vector(study, clip):
    run()
    texts = read_table(TEXT_VECTORS_PATH, TEXT_VECTORS)
    assert texts["caption_id"].to_pylist() == [f"c-{n}" for n in range(7)]
    expected = [vector_of(text.encode()) for text in TEXTS]
    np.testing.assert_array_equal(table_to_vectors(texts), expected)
    images = read_table(IMAGE_VECTORS_PATH, IMAGE_VECTORS)
    assert images["stimulus_id"].to_pylist() == ["s-0", "s-1", "s-2"]
    expected = [vector_of(bytes([colour] * 48)) for colour in (10, 20, 10)]
    np.testing.assert_array_equal(table_to_vectors(images), expected)


def test_equal_texts_and_pictures_are_embedded_once_in_batches_of_one_length(study, clip, caplog):
    with caplog.at_level(logging.INFO):
        run()
    assert clip.texts == [
        ["a", "a cat"],
        ["a dog", "a sunset"],
        ["a red dog", "a dog beside a tree"],
    ]
    assert list(map(len, clip.images)) == [2]
    assert caplog.messages == ["6 of 6 texts embedded.", "2 of 2 images embedded."]


def test_the_image_target_is_the_final_vector_or_layers_or_blurred_pictures(study, clip, caplog):
    run()
    ids = ["s-0", "s-1", "s-2"]
    final = table_to_levels(read_table(IMAGE_TARGETS_PATH, IMAGE_TARGETS), ids)
    images = table_to_vectors(read_table(IMAGE_VECTORS_PATH, IMAGE_VECTORS))
    np.testing.assert_array_equal(final, images[:, None])
    with caplog.at_level(logging.INFO):
        run(image={"name": "clip", "layers": [3], "blur_px": [0.0, 1.5, 4.0]})
    assert "2 of 2 images_layer_03_blur_1.5 embedded." in caplog.messages
    table = read_table(IMAGE_TARGETS_PATH, IMAGE_TARGETS)
    assert list(dict.fromkeys(table["level"].to_pylist())) == [
        "layer 3",
        "layer 3, blur 1.5 px",
        "layer 3, blur 4 px",
    ]
    levels = table_to_levels(table, ids[::-1])
    np.testing.assert_array_equal(levels, np.eye(4)[[1, 2, 1]][:, None].repeat(3, axis=1))


def test_levels_of_different_length_are_refused(study, clip):
    message = (
        "All levels of the image target must be vectors of one length; found layer 3: 4, layer 5: 6. "
        "Choose blocks of one width in embed.image."
    )
    with pytest.raises(VectorError, match=re.escape(message)):
        run(image={"name": "clip", "layers": [3, 5], "blur_px": [0.0]})


def test_a_picture_without_a_level_is_named(study, clip):
    run()
    with pytest.raises(
        VectorError, match=r"^image_targets must hold every stimulus .* s-9 has none "
    ):
        table_to_levels(read_table(IMAGE_TARGETS_PATH, IMAGE_TARGETS), ["s-0", "s-9"])


def test_a_second_run_embeds_nothing_and_writes_the_same_bytes(study, clip, caplog):
    run()
    first = TEXT_VECTORS_PATH.read_bytes(), IMAGE_VECTORS_PATH.read_bytes()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run()
    assert caplog.messages == ["0 of 6 texts embedded.", "0 of 2 images embedded."]
    assert n_texts(clip) == 6
    assert (TEXT_VECTORS_PATH.read_bytes(), IMAGE_VECTORS_PATH.read_bytes()) == first


def test_what_has_been_written_is_counted(tmp_path):
    cache = VectorCache(tmp_path)
    vectors = np.eye(3, dtype=np.float32)
    cache.write(["a"], vectors[:1])
    n_written = cache.written_since_now()
    assert n_written() == 0
    cache.write(["b", "c"], vectors[1:])
    assert n_written() == 2


def test_one_changed_caption_embeds_exactly_one_text(study, clip):
    run()
    write_captions([*TEXTS[:-1], "a tabby cat"])
    run()
    assert clip.texts[3:] == [["a tabby cat"]]
    assert len(clip.images) == 1


def test_another_model_shares_nothing(study, clip, load):
    run()
    other = CountingClip("model-2")
    load(other)
    run()
    assert n_texts(other) == 6


@pytest.mark.parametrize("n_batches", [0, 1, 2, 3])
def test_an_interruption_loses_at_most_the_batch_under_way(study, load, n_batches):
    first, second = CountingClip(batches_left=n_batches), CountingClip()
    load(first)
    with pytest.raises(RuntimeError, match="killed"):
        run()
    load(second)
    run()
    assert n_texts(first) == 2 * n_batches
    assert n_texts(first) + n_texts(second) == 6


def test_shards_do_not_change_the_answer(study, clip):
    run()
    first = TEXT_VECTORS_PATH.read_bytes()
    for path in sorted(Path("data/cache").rglob("*.*")):
        path.unlink()
    run(shard_size=1)
    assert TEXT_VECTORS_PATH.read_bytes() == first
    assert n_texts(clip) == 12


def test_a_flipped_byte_in_the_cache_is_found_and_embedded_anew(study, clip, caplog):
    run()
    first = TEXT_VECTORS_PATH.read_bytes()
    shard = min((VECTOR_CACHE / "model-1" / "texts").glob("*.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    run()
    assert "1 vectors in data/cache/vectors/model-1/texts are damaged" in caplog.text
    assert n_texts(clip) == 7
    assert TEXT_VECTORS_PATH.read_bytes() == first


def test_vectors_that_cannot_be_read_back_are_an_error(study, clip, monkeypatch):
    monkeypatch.setattr(VectorCache, "write", lambda *_: None)
    with pytest.raises(embedding.EmbedError) as error:
        run()
    assert str(error.value) == (
        "Each vector must be readable once it is written; 7 in data/cache/vectors/model-1/texts "
        "are not. Check the disk, then run `dvc repro embed`."
    )


@pytest.mark.parametrize(
    ("chosen", "source"),
    [
        ("shipped", "local-dir:data/models/clip"),
        ("ViT-B-32", "ViT-B-32"),
        ("local-dir:/models/mine", "local-dir:/models/mine"),
    ],
)
def test_the_model_is_the_shipped_one_or_named(study, load, chosen, source):
    sources = load(CountingClip())
    run(model=chosen)
    assert set(sources) == {source}


def test_a_picture_that_changed_since_ingest_is_not_embedded(study, clip):
    Image.new("L", (4, 4), 99).save(RAW / "s-1.png")
    with pytest.raises(StalePictureError, match=r"data/raw/s-1\.png must be the picture that was"):
        run()


def test_what_is_no_picture_is_named(study, clip):
    path = RAW / "s-1.png"
    path.write_bytes(b"no picture")
    rows = read_table(STIMULI_PATH, STIMULI).to_pylist()
    rows[1]["sha256"] = hashlib.sha256(b"no picture").hexdigest()
    write_table(pa.Table.from_pylist(rows), STIMULI_PATH, STIMULI)
    with pytest.raises(
        UnreadablePictureError,
        match=r"s-1\.png must be a whole picture .* \(its format is none of these\)",
    ):
        run()


def test_keys_are_of_the_whole_text():
    assert text_key("a dog") != text_key("a dog ")


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "dim"), [("ViT-B-32", 512), ("ViT-L-14", 768)])
def test_the_architectures_of_the_real_presets_run_through_the_stage(
    study, tmp_path, architecture, dim
):
    folder = tmp_path / "clip"
    folder.mkdir()
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    run(model=f"local-dir:{folder}")
    found = table_to_vectors(read_table(TEXT_VECTORS_PATH, TEXT_VECTORS))
    images = table_to_vectors(read_table(IMAGE_VECTORS_PATH, IMAGE_VECTORS))
    assert found.shape == (len(TEXTS), dim)
    assert images.shape == (3, dim)
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(architecture)(TEXTS)
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(images[0], images[2])
    assert np.abs(images[0] - images[1]).max() > 1e-4


def test_captions_are_embedded_in_blocks_and_equal_ones_of_two_blocks_once(
    study, clip, monkeypatch
):
    monkeypatch.setattr("tasks.embed.CAPTIONS_AT_ONCE", 2)
    run()
    table = read_table(TEXT_VECTORS_PATH, TEXT_VECTORS)
    assert table["caption_id"].to_pylist() == [f"c-{number}" for number in range(len(TEXTS))]
    np.testing.assert_allclose(table_to_vectors(table), [vector_of(t.encode()) for t in TEXTS])
    assert sorted(text for batch in clip.texts for text in batch) == sorted(set(TEXTS))
