"""The recipe of the judge: scenes, disturbed as a generator might disturb them, against their truth."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tasks.artifacts.pictures import decode_rgb
from tasks.pretraining.clip import normalise
from tasks.pretraining.corpus import Corpus
from tasks.pretraining.training import Plan, half, train
from tasks.simulation.judge import CONFIG_NAME, WEIGHTS_NAME, JudgeNetwork
from tasks.simulation.scene import VOCABULARY

PLAN = Plan(steps=1500, learning_rate=2e-3, averaging=0.995)
BATCH_SIZE = 96
JPEG_SHARE = 0.1


def train_judge(corpus: Corpus, work: Path, seed: int, device: torch.device) -> JudgeNetwork:
    """Train the judge on scenes, or resume from `work`; the seed decides first weights and batches."""
    torch.manual_seed(seed)
    network = JudgeNetwork({name: len(values) for name, values in VOCABULARY.items()}).to(device)

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(len(corpus.scenes), BATCH_SIZE, replace=False)
        logits = network(disturb(corpus.pictures[chosen], rng).to(device))
        labels = torch.from_numpy(corpus.labels[chosen]).to(device)
        losses = [
            F.cross_entropy(logits[name], labels[:, index]) for index, name in enumerate(VOCABULARY)
        ]
        return torch.stack(losses).sum()

    train(network, PLAN, work / "judge.safetensors", loss_of_step)
    return network


def disturb(
    pictures: UInt8[np.ndarray, "n height width 3"], rng: np.random.Generator
) -> Float[Tensor, "n 3 height width"]:
    """Disturb pictures: shifts, JPEG, blur, contrast and noise, each of random strength."""
    shifted = np.stack([_disturb_pixels(picture, rng) for picture in pictures])
    tensors = normalise(shifted)
    n = len(tensors)
    blurred = F.avg_pool2d(F.pad(tensors, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.from_numpy(rng.uniform(0, 1.2, (n, 1, 1, 1))).float().clamp(max=1)
    blur = blur * torch.from_numpy(rng.random((n, 1, 1, 1)) < 0.6)
    tensors = tensors + blur * (blurred - tensors)
    contrast = torch.from_numpy(rng.uniform(0.85, 1.1, (n, 1, 1, 1))).float()
    tint = torch.from_numpy(rng.normal(0, 0.04, (n, 3, 1, 1))).float()
    noise = torch.from_numpy(rng.standard_normal(tensors.shape, dtype=np.float32))
    strength = torch.from_numpy(rng.uniform(0, 0.15, (n, 1, 1, 1))).float()
    return tensors * contrast + tint + strength * noise


def _disturb_pixels(
    picture: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
    top, left = rng.integers(0, 5, 2)
    height, width, _ = picture.shape
    shifted = padded[top : top + height, left : left + width]
    if rng.random() >= JPEG_SHARE:
        return shifted
    buffer = io.BytesIO()
    Image.fromarray(shifted).save(buffer, "JPEG", quality=int(rng.integers(40, 95)))
    return np.asarray(decode_rgb(buffer.getvalue(), Path("disturbed.jpg")))


def export_judge(network: JudgeNetwork, folder: Path) -> None:
    """Write the judge's weights (half precision) and vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"size_px": 64, "vocabulary": dict(VOCABULARY)}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")
    save_file(half(network), folder / WEIGHTS_NAME)
