"""Random scenes for pretraining, from seeds that no study uses, with their pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from tasks.diffusion.composition import DEFAULT_KINDS, compose
from tasks.language.captioners.scene import FACTORS, article, describe
from tasks.language.prompts import KIND_NAMES
from tasks.simulation.scene import VOCABULARY, Scene, draw, sample_scene

FIRST_TRAINING_SEED = 1_000_000
"""Studies use seeds below this one."""
FIRST_FRESH_SEED = 9_000_000
"""Seeds of the scenes on which scores are measured."""
ATTRIBUTES: tuple[str, ...] = tuple(VOCABULARY)
MAX_KINDS = 4


@dataclass(frozen=True)
class Corpus:
    """Scenes, their pictures and the index of each attribute's value."""

    scenes: tuple[Scene, ...]
    pictures: UInt8[np.ndarray, "n height width 3"]
    labels: Int[np.ndarray, "n n_attributes"]


@dataclass(frozen=True)
class Text:
    """A text about a scene and the attributes that it determines."""

    text: str
    factors: frozenset[str]


def make_corpus(n_scenes: int, first_seed: int, cache: Path | None = None) -> Corpus:
    """Sample and draw scenes, one seed each.

    Parameters
    ----------
    first_seed : int
        Scene ``i`` comes from seed ``first_seed + i``.
    cache : pathlib.Path or None
        Folder in which the pictures are kept for the next call.
    """
    scenes = tuple(
        sample_scene(np.random.default_rng(seed))
        for seed in range(first_seed, first_seed + n_scenes)
    )
    labels = np.array(
        [[VOCABULARY[name].index(getattr(scene, name)) for name in ATTRIBUTES] for scene in scenes]
    )
    return Corpus(scenes, _pictures(scenes, first_seed, cache), labels)


def _pictures(
    scenes: Sequence[Scene], first_seed: int, cache: Path | None
) -> UInt8[np.ndarray, "n height width 3"]:
    path = cache / f"pictures_{first_seed}_{len(scenes)}.npy" if cache else None
    if path is not None and path.exists():
        kept: UInt8[np.ndarray, "n height width 3"] = np.load(path, allow_pickle=False)
        return kept
    pictures = np.stack([np.asarray(draw(scene)) for scene in scenes])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, pictures)
        partial.replace(path)
    return pictures


def halve(pictures: UInt8[np.ndarray, "n height width 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Average blocks of 2 x 2 pixels: the size at which the generator works."""
    n, height, width, _ = pictures.shape
    blocks = pictures.reshape(n, height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    means: UInt8[np.ndarray, "n h w 3"] = ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)
    return means


def random_text(scene: Scene, rng: np.random.Generator) -> Text:
    """Draw a text for CLIP: one caption, the bare concept, or a prompt of several captions."""
    kind_of_text = rng.random()
    if kind_of_text < 0.15:
        return Text(article(scene.concept), frozenset({"concept"}))
    if kind_of_text < 0.6:
        return _text(scene, [KIND_NAMES[rng.integers(len(KIND_NAMES))]])
    return random_prompt(scene, rng)


def random_prompt(scene: Scene, rng: np.random.Generator) -> Text:
    """Draw a prompt for the generator: the default kinds or one to `MAX_KINDS` random ones."""
    if rng.random() < 0.7:
        return _text(scene, DEFAULT_KINDS)
    n_kinds = int(rng.integers(1, MAX_KINDS + 1))
    chosen = rng.choice(len(KIND_NAMES), n_kinds, replace=False)
    return _text(scene, [KIND_NAMES[index] for index in chosen])


def _text(scene: Scene, kinds: Sequence[str]) -> Text:
    factors = frozenset[str]().union(*(FACTORS[kind] for kind in kinds))
    return Text(compose(describe(scene), kinds), factors)


def matches(
    texts: Sequence[Text], labels: Int[np.ndarray, "n n_attributes"]
) -> Bool[np.ndarray, "n n"]:
    """Tell which text holds of which scene, so that no true pair counts as a wrong one.

    Parameters
    ----------
    texts : Sequence[Text]
        Text ``i`` was written about scene ``i``.
    labels : Int[np.ndarray, "n n_attributes"]
        Attributes of the scenes, in the order of `ATTRIBUTES`.

    Returns
    -------
    Bool[np.ndarray, "n n"]
        Whether text ``i`` holds of scene ``j``.
    """
    told = np.array([[name in text.factors for name in ATTRIBUTES] for text in texts])
    agree = labels[:, None, :] == labels[None, :, :]
    return np.asarray((agree | ~told[:, None, :]).all(axis=-1))
