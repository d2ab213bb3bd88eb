"""Texts without their padding, and whole models without their weights."""

import json

import numpy as np
import open_clip
import pytest
import torch

from tasks.clip.model import ClipModel, load_clip
from tasks.clip.text_tower import MAX_ROWS, MIN_ROWS, batches_of_one_length
from tasks.runtime.errors import PerceptError

TEXTS = [
    "a dog",
    "a photograph of a small brown dog that lies beside a red bicycle in the evening sun",
    "",
    "calm",
    "one two three " * 20,
    "a dog",
]


def small(folder, **text_cfg):
    """Save a small CLIP of random weights as open_clip would, and return its source."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        }
        | text_cfg,
    }
    folder.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save(model, folder)
    return f"local-dir:{folder}"


def save(model, folder):
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def padded(clip, texts):
    with torch.inference_mode():
        vectors = clip.model.encode_text(clip.tokenizer(texts))
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@pytest.mark.parametrize("pool_type", ["argmax", "last"])
def test_texts_have_the_vectors_that_open_clip_gives_them(tmp_path, pool_type):
    clip = ClipModel(small(tmp_path / "clip", pool_type=pool_type))
    np.testing.assert_allclose(clip.encode_texts(TEXTS), padded(clip, TEXTS), atol=1e-6)


def test_the_padding_is_left_out(tmp_path, monkeypatch):
    clip = ClipModel(small(tmp_path / "clip"))
    shapes = []
    encode = clip.encode_trimmed
    monkeypatch.setattr(clip, "encode_trimmed", lambda t: (shapes.append(t.shape), encode(t))[1])
    clip.encode_texts(["a dog"] * 20 + ["a dog in a house"] * 20)
    assert shapes == [(20, 4), (20, 7)]


def test_every_text_is_in_one_batch_of_about_its_length():
    lengths = np.random.default_rng(0).integers(3, 77, 3000)
    batches = list(batches_of_one_length(lengths))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(3000))
    assert max(map(len, batches)) <= MAX_ROWS
    assert all(np.ptp(lengths[batch]) <= 1 for batch in batches)
    assert min(map(len, batches[:-1])) >= MIN_ROWS
    assert not list(batches_of_one_length(np.zeros(0, np.int64)))


def test_a_layer_is_the_mean_of_its_patches(tmp_path):
    from PIL import Image

    clip = ClipModel(small(tmp_path / "clip"))
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    blocks = []
    for block in clip.model.visual.transformer.resblocks:
        block.register_forward_hook(lambda _, __, output: blocks.append(output))
    vectors = clip.encode_images(pictures, 2)
    assert vectors.shape == (2, 64)
    expected = torch.nn.functional.normalize(blocks[1][:, 1:].mean(dim=1), dim=-1)
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-6)
    with pytest.raises(PerceptError) as error:
        clip.encode_images(pictures, 4)
    assert str(error.value) == (
        "The image tower has 3 blocks; there is no block 4. Mend embed.image.layers."
    )


def test_weights_of_another_architecture_are_an_error(tmp_path):
    source = small(tmp_path / "clip")
    path = tmp_path / "clip" / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["text_cfg"]["layers"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(PerceptError, match=r"must load in full; they do not .*Missing key"):
        load_clip(source)


def test_half_of_the_weights_are_an_error(tmp_path):
    source = small(tmp_path / "clip")
    path = tmp_path / "clip" / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PerceptError, match="must load in full; they do not"):
        load_clip(source)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("tasks.clip.weights._cached", lambda *_: None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "ViT-L-14/laion2b_s32b_b82k",
            "needs open_clip_model.safetensors or open_clip_pytorch_model.bin of "
            "laion/CLIP-ViT-L-14-laion2B-s32B-b82K; the hub's cache",
        ),
        ("hf-hub:laion/some-clip", "needs open_clip_config.json of laion/some-clip; the hub's"),
        ("ViT-B-32/openai", "Name ViT-B-32-quickgelu/openai."),
        ("ViT-B-32/no_such_tag", "must be a tag (openai, "),
        ("ViT-Z-99/openai", "'ViT-Z-99' is none"),
    ],
)
def test_what_is_missing_offline_is_named(offline, source, message):
    with pytest.raises(PerceptError) as error:
        load_clip(source)
    assert message in str(error.value)


def test_the_fingerprint_follows_architecture_tokens_and_precision(tmp_path):
    first = ClipModel(small(tmp_path / "one"))
    assert ClipModel(f"local-dir:{tmp_path / 'one'}").fingerprint == first.fingerprint
    half = ClipModel(f"local-dir:{tmp_path / 'one'}", precision="float16")
    other = ClipModel(small(tmp_path / "other", context_length=40))
    assert len({first.fingerprint, half.fingerprint, other.fingerprint}) == 3


@pytest.mark.parametrize("n_read", [16, 77])
def test_a_text_that_would_be_read_in_part_is_refused(tmp_path, n_read):
    clip = load_clip(small(tmp_path / "clip", context_length=n_read))
    most = "toy " * (n_read - 2)
    assert len(clip.encode_texts([most, "a dog"])) == 2
    with pytest.raises(PerceptError) as error:
        clip.encode_texts(["a dog", most + "ship", most + "dog"])
    assert str(error.value).startswith(
        f"The CLIP must read every text whole, {n_read} tokens at most; 2 of 3 are longer, the first is 'toy "
    )
    assert str(error.value).endswith(
        f"Set caption.max_tokens to {n_read}, or choose another embed.model."
    )
