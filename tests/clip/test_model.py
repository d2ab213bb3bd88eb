"""The frozen CLIP: unit vectors, a fingerprint of its bytes, and never random weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.clip.model import ClipModel, load_clip
from tasks.pretraining.scores import fresh_scenes, score_clip
from tasks.runtime.errors import PerceptError
from tasks.simulation.scene import draw


@pytest.fixture(scope="module")
def shipped() -> Path:
    return Path(__file__).resolve().parents[2] / "data/models/clip"


@pytest.fixture
def copied(shipped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped, tmp_path / "clip"))


def test_vectors_have_unit_norm_and_do_not_depend_on_their_batch(shipped: Path) -> None:
    clip = load_clip(f"local-dir:{shipped}")
    texts = clip.encode_texts(["a dog", "a night scene", "a dog"])
    pictures = [draw(scene) for scene in fresh_scenes(3)]
    images = clip.encode_images(pictures)
    for vectors in (texts, images):
        assert vectors.dtype == np.float32
        assert vectors.shape == (3, 128)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(texts[0], texts[2], atol=1e-6)
    np.testing.assert_allclose(clip.encode_images(pictures[1:2])[0], images[1], atol=1e-5)
    assert clip.encode_texts([]).shape == clip.encode_images([]).shape == (0, 128)


def test_zero_shot_accuracy_of_the_shipped_model(shipped: Path) -> None:
    scores = score_clip(shipped, 200)
    assert scores["concept, zero-shot"] >= 0.90
    assert min(scores.values()) >= 0.90
    assert len(scores) == 11


def test_the_fingerprint_follows_weights_and_configuration(copied: Path, shipped: Path) -> None:
    first = load_clip(f"local-dir:{shipped}").fingerprint
    assert ClipModel(f"local-dir:{copied}").fingerprint == first
    config = json.loads((copied / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.4, 0.5, 0.5]
    (copied / "open_clip_config.json").write_text(json.dumps(config))
    assert ClipModel(f"local-dir:{copied}").fingerprint != first


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(PerceptError, match=name):
        ClipModel(f"local-dir:{copied}")


def test_a_model_name_without_weights_is_refused() -> None:
    with pytest.raises(PerceptError, match="needs pretrained weights"):
        load_clip("ViT-B-32")
