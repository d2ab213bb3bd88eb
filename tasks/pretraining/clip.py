"""The recipe of the small CLIP: scenes against captions that hold of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tasks.pretraining.corpus import Corpus, matches, random_text
from tasks.pretraining.training import Plan, half, train
from tasks.simulation.scene import VOCABULARY

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 16,
        },
        "text_cfg": {
            "context_length": 48,
            "vocab_size": 49408,
            "width": 96,
            "heads": 3,
            "layers": 3,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}
"""What becomes ``open_clip_config.json``."""
PLAN = Plan(steps=3000, learning_rate=1.5e-3, warmup_steps=150, averaging=0.995, minutes=26)
BATCH_SIZE = 128
MAX_TEMPERATURE_LOG = float(np.log(100))


def train_clip(corpus: Corpus, work: Path, seed: int, device: torch.device) -> open_clip.CLIP:
    """Train the CLIP on scenes, or resume from `work`; the seed decides first weights and batches."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG["model_cfg"]).to(device, memory_format=torch.channels_last)
    tokenizer = open_clip.SimpleTokenizer(
        context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"]
    )
    probes = nn.ModuleDict(
        {
            name: nn.Linear(CONFIG["model_cfg"]["embed_dim"], len(values))
            for name, values in VOCABULARY.items()
        }
    ).to(device)
    both = nn.ModuleDict({"clip": model, "probes": probes})

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(len(corpus.scenes), BATCH_SIZE, replace=False)
        texts = [random_text(corpus.scenes[index], rng) for index in chosen]
        tokens = tokenizer([text.text for text in texts]).to(device)
        pictures = normalise(corpus.pictures[chosen]).to(device)
        holds = torch.from_numpy(matches(texts, corpus.labels[chosen])).to(device)
        noise = torch.Generator().manual_seed(step)
        pictures = pictures + 0.05 * torch.randn(pictures.shape, generator=noise).to(device)
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            image_features = model.encode_image(pictures).float()
            text_vectors = F.normalize(encode_tokens(model, tokens).float(), dim=-1)
        scale = model.logit_scale.clamp(max=MAX_TEMPERATURE_LOG).exp()
        image_vectors = F.normalize(image_features, dim=-1)
        labels = torch.from_numpy(corpus.labels[chosen]).to(device)
        probe_loss = sum(
            F.cross_entropy(probes[name](image_features), labels[:, index])
            for index, name in enumerate(VOCABULARY)
        )
        return contrastive_loss(image_vectors, text_vectors, scale, holds) + probe_loss

    train(both, PLAN, work / "clip.safetensors", loss_of_step)
    return model


def encode_tokens(model: open_clip.CLIP, tokens: Int[Tensor, "n length"]) -> Float[Tensor, "n dim"]:
    """Encode texts without the padding that none of them needs: open_clip always runs it."""
    end = tokens.argmax(dim=-1)
    length = int(end.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    vectors: Tensor = x[torch.arange(len(x)), end] @ model.text_projection
    return vectors


def normalise(pictures: np.ndarray) -> Float[Tensor, "n 3 height width"]:
    """Scale pictures from 0..255, channels last, to -1..1, channels first."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def contrastive_loss(
    image_vectors: Float[Tensor, "n dim"],
    text_vectors: Float[Tensor, "n dim"],
    scale: Tensor,
    holds: Tensor,
) -> Tensor:
    """Symmetric InfoNCE whose targets are spread over all pairs that hold.

    Parameters
    ----------
    image_vectors, text_vectors : Float[Tensor, "n dim"]
        Unit-norm vectors of a batch.
    holds : Tensor
        Whether text ``i`` holds of picture ``j``.
    """
    logits = scale * text_vectors @ image_vectors.T
    targets = holds.float()
    to_images = F.cross_entropy(logits, targets / targets.sum(1, keepdim=True))
    to_texts = F.cross_entropy(logits.T, targets.T / targets.T.sum(1, keepdim=True))
    return (to_images + to_texts) / 2


def export_clip(model: open_clip.CLIP, folder: Path) -> None:
    """Write a folder that open_clip loads as ``local-dir:``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(half(model), folder / "open_clip_model.safetensors")
