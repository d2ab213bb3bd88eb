"""The judge: round trip, clear errors, and the shipped one is right on fresh scenes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.pretraining.judge import disturb, export_judge
from tasks.pretraining.scores import fresh_scenes, score_judge
from tasks.runtime.errors import PerceptError
from tasks.simulation.judge import Judge, JudgeNetwork
from tasks.simulation.scene import VOCABULARY, draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = JudgeNetwork({name: len(values) for name, values in VOCABULARY.items()})
    export_judge(network.eval(), tmp_path)
    return tmp_path


def test_predictions_do_not_depend_on_their_neighbours(folder: Path) -> None:
    judge = Judge.load(folder)
    pictures = [draw(scene) for scene in fresh_scenes(3)]
    together, alone = judge.predict(pictures), judge.predict(pictures[2:])
    for factor, values in VOCABULARY.items():
        assert together.probabilities[factor].shape == (3, len(values))
        np.testing.assert_allclose(together.probabilities[factor].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(
            together.probabilities[factor][2], alone.probabilities[factor][0], atol=1e-5
        )
        likeliest = together.probabilities[factor].argmax(axis=1)
        assert together.labels[factor] == tuple(values[index] for index in likeliest)


def test_no_pictures_give_no_labels(folder: Path) -> None:
    judgement = Judge.load(folder).predict([])
    assert judgement.labels["concept"] == ()
    assert judgement.probabilities["concept"].shape == (0, 40)


@pytest.mark.parametrize("name", ["judge.json", "judge.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(PerceptError, match=name):
        Judge.load(folder)


def test_disturbed_pictures_differ_but_keep_their_shape() -> None:
    pictures = np.stack([np.asarray(draw(scene)) for scene in fresh_scenes(4)])
    clean = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    disturbed = disturb(pictures, np.random.default_rng(0))
    assert disturbed.shape == clean.shape
    difference = (disturbed - clean).abs().mean(dim=(1, 2, 3))
    assert bool((difference > 0.005).all())
    assert bool((difference < 0.4).all())


def test_the_shipped_judge_is_right_also_on_small_and_noisy_pictures(repository: Path) -> None:
    scores = score_judge(repository / "data/models/judge", 200)
    assert min(scores.values()) >= 0.99
    judge = Judge.load(repository / "data/models/judge")
    scenes = fresh_scenes(80)
    small = [draw(scene).resize((32, 32), Image.Resampling.BOX) for scene in scenes]
    seen = judge.predict(small).labels["concept"]
    assert np.mean([a == scene.concept for a, scene in zip(seen, scenes, strict=True)]) >= 0.95
