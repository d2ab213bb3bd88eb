"""CLIPScore of captions, and how far the kinds agree, each beside the same for other pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.artifacts.metrics import Score
from tasks.statistics.draws import derangement
from tasks.statistics.resampling import Resampling

CLIP_SCORE_WEIGHT = 2.5
"""CLIPScore is 2.5 times the cosine, never below 0 (Hessel et al. 2021)."""

Vectors = Float[np.ndarray, "n dim"]


@dataclass(frozen=True)
class Draw:
    """How intervals and random captions are drawn."""

    n_resamples: int
    confidence: float
    seed: int


def scored(
    values: Float[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    draw: Draw,
    *,
    chance: float | None,
    unit: str,
    verdict: str = "",
    lower_is_better: bool = False,
) -> Score:
    """Return the mean of some values with its interval, bootstrapped over pictures.

    Parameters
    ----------
    values : Float[np.ndarray, "n"]
        One per caption.
    draw : Draw
        How the interval is drawn.
    chance : float or None
        The same for captions of other pictures.
    lower_is_better : bool
        Whether a low value is good.
    """
    resampling = Resampling.draw(
        groups,
        int(groups.max()) + 1,
        n_resamples=draw.n_resamples,
        n_permutations=0,
        confidence=draw.confidence,
        seed=draw.seed,
    )
    estimate = resampling.estimate(values)
    return Score(
        value=estimate.value,
        n=len(values),
        low=estimate.low,
        high=estimate.high,
        chance=chance,
        unit=unit,
        verdict=verdict,
        resampled=resampling.resampled,
        lower_is_better=lower_is_better,
    )


def clip_scores(
    texts: Vectors, images: Vectors, groups: Int[np.ndarray, " n"], name: str, draw: Draw
) -> dict[str, Score]:
    """Return CLIPScore of captions beside that of captions of other pictures.

    An absolute CLIPScore says little: it depends on the model. What counts is how far it lies above
    that of a random caption, and how often the right caption scores higher.

    Parameters
    ----------
    texts, images : Vectors
        Unit vectors of captions of one kind, and of the picture of each.
    name : str
        What is scored; empty for all captions.
    draw : Draw
        How random captions are drawn.
    """
    part = f"_{name}" if name else ""
    own = _clip_score(texts, images)
    other = _clip_score(texts[derangement([str(g) for g in groups], draw.seed)], images)
    wins = (own > other) + 0.5 * (own == other)
    return {
        f"clip_score{part}": scored(
            own, groups, draw, chance=float(other.mean()), unit="clip_score"
        ),
        f"caption_two_way{part}": scored(wins, groups, draw, chance=0.5, unit="share"),
    }


def agreement(
    first: Vectors, second: Vectors, groups: Int[np.ndarray, " n"], draw: Draw
) -> tuple[Float[np.ndarray, " n"], float]:
    """Return the cosine between two captions of each picture, and its mean between those of different ones.

    Parameters
    ----------
    first, second : Vectors
        Unit vectors of two kinds of caption of the same pictures.
    draw : Draw
        How different pictures are paired.
    """
    other = second[derangement([str(g) for g in groups], draw.seed)]
    return np.asarray(np.sum(first * second, axis=1)), float(np.sum(first * other, axis=1).mean())


def _clip_score(texts: Vectors, images: Vectors) -> Float[np.ndarray, " n"]:
    return np.asarray(CLIP_SCORE_WEIGHT * np.maximum(np.sum(texts * images, axis=1), 0))
