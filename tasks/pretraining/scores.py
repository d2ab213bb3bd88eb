"""Scores of the small models on fresh scenes, measured on what was exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.clip.model import load_clip
from tasks.diffusion.composition import DEFAULT_KINDS, Conditioning, compose
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.language.captioners.scene import article, describe
from tasks.language.prompts import KIND_NAMES
from tasks.pretraining.corpus import FIRST_FRESH_SEED
from tasks.simulation.judge import Judge, Judgement
from tasks.simulation.scene import VOCABULARY, Scene, draw, sample_scene

Scores = dict[str, float]
BATCH_SIZE = 64


def fresh_scenes(n_scenes: int) -> list[Scene]:
    """Sample scenes that no training saw, the concepts taking turns."""
    concepts = VOCABULARY["concept"]
    return [
        sample_scene(np.random.default_rng(FIRST_FRESH_SEED + i), concepts[i % len(concepts)])
        for i in range(n_scenes)
    ]


def score_clip(folder: Path, n_scenes: int = 400) -> Scores:
    """Measure zero-shot accuracy: of the concept over all concepts, of each kind over all captions."""
    clip = load_clip(f"local-dir:{folder}")
    scenes = fresh_scenes(n_scenes)
    pictures = clip.encode_images([draw(scene) for scene in scenes])

    def accuracy(text_of: Callable[[Scene], str], texts: Sequence[str]) -> float:
        nearest = (pictures @ clip.encode_texts(texts).T).argmax(axis=1)
        pairs = zip(nearest, scenes, strict=True)
        return float(np.mean([texts[index] == text_of(scene) for index, scene in pairs]))

    concepts = [article(concept) for concept in VOCABULARY["concept"]]
    scores = {"concept, zero-shot": accuracy(lambda scene: article(scene.concept), concepts)}
    for kind in KIND_NAMES:
        captions = sorted({describe(scene)[kind] for scene in scenes})
        scores[f"{kind}, of {len(captions)} captions"] = accuracy(
            lambda scene, kind=kind: describe(scene)[kind],  # type: ignore[misc]
            captions,
        )
    return scores


def score_judge(folder: Path, n_scenes: int = 400) -> Scores:
    """Measure the judge's accuracy on pictures of scenes."""
    scenes = fresh_scenes(n_scenes)
    return _agreement(Judge.load(folder).predict([draw(scene) for scene in scenes]), scenes)


def score_generator(
    folder: Path, judge_folder: Path, *, n_steps: int, guidance_scale: float, n_scenes: int = 200
) -> Scores:
    """Measure in how many pictures rendered from true captions the judge sees what they tell.

    Parameters
    ----------
    folder, judge_folder : pathlib.Path
        The exported generator and judge.
    """
    scenes = fresh_scenes(n_scenes)
    renderer = Renderer.load(folder, Settings(n_steps))
    pictures = render_scenes(renderer, scenes, guidance_scale)
    return _agreement(Judge.load(judge_folder).predict(pictures), scenes)


def render_scenes(
    renderer: Renderer, scenes: Sequence[Scene], guidance_scale: float
) -> list[Image.Image]:
    """Render scenes from their true captions, the index being the seed."""
    prompts = [compose(describe(scene), DEFAULT_KINDS) for scene in scenes]
    requests = [
        Request(Conditioning(((prompt, 1.0),), guidance_scale), seed)
        for seed, prompt in enumerate(prompts)
    ]
    batches = [
        requests[start : start + BATCH_SIZE] for start in range(0, len(requests), BATCH_SIZE)
    ]
    return [drawn.image for batch in batches for drawn in renderer.render(batch)]


def _agreement(judgement: Judgement, scenes: Sequence[Scene]) -> Scores:
    return {
        factor: float(
            np.mean(
                [
                    seen == getattr(scene, factor)
                    for seen, scene in zip(judgement.labels[factor], scenes, strict=True)
                ]
            )
        )
        for factor in VOCABULARY
    }
