"""The last part of the CLIP recipe: captions of different objects are spread over the space.

A small CLIP that has met forty objects only squeezes them into half a dozen directions. Large CLIPs do
not, and an encoder that regresses onto caption vectors needs the room. So the captions of the object
tier are pushed apart (uniformity, Wang and Isola 2020) while paraphrases stay together and all other
captions stay where they are; then the image tower follows the texts, which are fixed (as in LiT, Zhai
et al. 2022).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tasks.language.captioners.scene import article, describe
from tasks.language.prompts import KIND_NAMES, TIER_OF, Tier
from tasks.pretraining.clip import BATCH_SIZE, CONFIG, encode_tokens, normalise
from tasks.pretraining.corpus import Corpus
from tasks.pretraining.training import Plan, train
from tasks.simulation.scene import COLOURS, CONCEPTS, Scene

TEXT_PLAN = Plan(steps=600, learning_rate=5e-4, warmup_steps=20, weight_decay=0.0, averaging=0.9)
IMAGE_PLAN = Plan(steps=700, learning_rate=2e-3, warmup_steps=20, weight_decay=0.05, averaging=0.98)
OBJECT_KINDS = tuple(kind for kind in KIND_NAMES if TIER_OF[kind] is Tier.OBJECT)
N_PAIRS = 80
N_OTHERS = 12
SCALE = 14.0
"""Inverse temperature with which pictures are told apart."""


def spread(
    clip: open_clip.CLIP, corpus: Corpus, work: Path, seed: int, device: torch.device
) -> open_clip.CLIP:
    """Spread the captions of objects, then let the image tower follow; resumable, in place."""
    tokenizer = open_clip.SimpleTokenizer(
        context_length=CONFIG["model_cfg"]["text_cfg"]["context_length"]
    )
    _spread_texts(clip, corpus.scenes, tokenizer, work / "clip_texts.safetensors", seed, device)
    _follow_texts(clip, corpus, tokenizer, work / "clip_images.safetensors", seed, device)
    with torch.no_grad():
        clip.logit_scale.fill_(float(np.log(SCALE)))
    return clip


def _spread_texts(
    clip: open_clip.CLIP,
    scenes: tuple[Scene, ...],
    tokenizer: open_clip.SimpleTokenizer,
    checkpoint: Path,
    seed: int,
    device: torch.device,
) -> None:
    """Train everything but the image tower on texts alone."""
    objects = [replace(scenes[0], concept=c, colour=k) for c in CONCEPTS for k in COLOURS]
    told = [describe(scene) for scene in objects]
    kinds = [tokenizer([texts[kind] for texts in told]).to(device) for kind in OBJECT_KINDS]
    bare = tokenizer([article(concept) for concept in CONCEPTS]).to(device)
    rest = [kind for kind in KIND_NAMES if kind not in OBJECT_KINDS]
    others = tokenizer(sorted({describe(s)[k] for s in scenes[:3000] for k in rest})).to(device)
    with torch.no_grad():
        before = _unit(clip, others)
    clip.requires_grad_(True)
    clip.visual.requires_grad_(False)
    clip.logit_scale.requires_grad_(False)

    def loss_of_step(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(len(objects), N_PAIRS, replace=False)
        kept = rng.choice(len(others), N_OTHERS, replace=False)
        first, *paraphrases = [_unit(clip, tokens[chosen]) for tokens in kinds]
        names = _unit(clip, bare)
        apart = 0.6 * (uniformity(first) + uniformity(names))
        together = sum((1 - (first * other).sum(-1)).mean() for other in paraphrases)
        named = (1 - (first * names[chosen // len(COLOURS)]).sum(-1)).clamp(min=0.25).mean()
        stays = 5 * (1 - (_unit(clip, others[kept]) * before[kept]).sum(-1)).mean()
        crossing = 2 * (first @ before[kept].T).square().mean()
        return apart + together + named + stays + crossing

    train(clip, TEXT_PLAN, checkpoint, loss_of_step)


def _follow_texts(
    clip: open_clip.CLIP,
    corpus: Corpus,
    tokenizer: open_clip.SimpleTokenizer,
    checkpoint: Path,
    seed: int,
    device: torch.device,
) -> None:
    """Train the image tower to tell every caption of a scene from all others of its kind."""
    told = [describe(scene) for scene in corpus.scenes]
    written = [[texts[kind] for texts in told] for kind in KIND_NAMES]
    written.append([article(scene.concept) for scene in corpus.scenes])
    galleries = [_gallery(clip, tokenizer, texts, device) for texts in written]
    clip.requires_grad_(False)
    clip.visual.requires_grad_(True)

    def loss_of_step(step: int) -> Tensor:
        chosen = np.random.default_rng((seed, step)).choice(
            len(corpus.scenes), BATCH_SIZE, replace=False
        )
        pictures = normalise(corpus.pictures[chosen])
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(step))
        with torch.autocast(device.type, torch.bfloat16):
            found = clip.visual((pictures + 0.05 * noise).to(device)).float()
        logits = [SCALE * F.normalize(found, dim=-1) @ vectors.T for vectors, _ in galleries]
        labels = [own[chosen] for _, own in galleries]
        losses = [F.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
        return torch.stack(losses).mean()

    train(clip.visual, IMAGE_PLAN, checkpoint, loss_of_step)


@torch.no_grad()
def _gallery(
    clip: nn.Module,
    tokenizer: open_clip.SimpleTokenizer,
    texts: list[str],
    device: torch.device,
) -> tuple[Float[Tensor, "n_distinct dim"], Int[Tensor, " n_texts"]]:
    """Return the vectors of the distinct texts, and which of them each text is."""
    distinct = sorted(set(texts))
    place = {text: index for index, text in enumerate(distinct)}
    vectors = _unit(clip, tokenizer(distinct).to(device))
    return vectors, torch.tensor([place[text] for text in texts], device=device)


def _unit(clip: nn.Module, tokens: Int[Tensor, "n length"]) -> Float[Tensor, "n dim"]:
    return F.normalize(encode_tokens(clip, tokens).float(), dim=-1)


def uniformity(vectors: Float[Tensor, "n dim"]) -> Tensor:
    """Return the log mean Gaussian potential of all pairs: the lower, the more evenly spread.

    Parameters
    ----------
    vectors : Float[Tensor, "n dim"]
        Unit-norm vectors (Wang and Isola 2020, equation 2, with t = 2).
    """
    return torch.pdist(vectors).square().mul(-2).exp().mean().log()
