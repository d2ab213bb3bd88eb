"""From the captions of a trial to what conditions the generator: texts with weights, and guidance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, NamedTuple

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tasks.diffusion.conditions import CLASS_NAME, Caption, Captions, Condition
from tasks.language.prompts import KIND_NAMES
from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

DEFAULT_KINDS: tuple[str, ...] = ("ObjectSnap", "SpatialLink", "ScaleSense", "ThemeTag")
"""Kinds that together tell the object, its colour, place and size, and the theme."""
GUIDANCE_STEP = 0.25
"""Guidance that follows confidence is rounded, so that pictures can be drawn in batches."""
REMEDIES: Mapping[Condition, str] = MappingProxyType(
    {
        "decoded": "Run `dvc repro retrieve`.",
        "true_captions": "Run `dvc repro caption`.",
        "shuffled_eeg": "Run `dvc repro retrieve`.",
        "noise_eeg": "Train the encoder with these kinds.",
        "class_name": "Name the concepts in `ingest`.",
        "predicted_class": "Train the encoder with the kinds of the object tier.",
        "random_caption": "Run `dvc repro caption`.",
        "mean_embedding": "Run `dvc repro caption`.",
    }
)
"""What to do where a condition lacks a caption."""

Share = Annotated[float, Field(ge=0, le=1)]
Mix = tuple[tuple[str, float], ...]
"""Texts and the weights of their embeddings, which add up to 1."""


class CompositionParams(Params):
    """How captions become a conditioning.

    Attributes
    ----------
    kinds : tuple[str, ...]
        Caption kinds that take part.
    captions_per_kind : int
        Nearest captions of each kind whose embeddings are mixed.
    embedding_average_share : float
        Share of the mean of single captions' embeddings; the rest is one prompt of all captions.
    min_weight : float
        Kinds of less weight are left out; the weights of all kinds add up to 1.
    temperature : float
        Of the softmax over the cosines of the retrieved captions of a kind, whose value for the nearest
        one is the confidence in this kind; a kind's weight is its share of all confidence.
    negative_prompt : str
        What guidance leads away from.
    guidance_scale : float
        Classifier-free guidance; 1 is none.
    guidance_by_confidence : float
        How far guidance falls towards 1 as the mean confidence falls towards 0.
    """

    kinds: tuple[str, ...] = Field(min_length=1)
    captions_per_kind: PositiveInt
    embedding_average_share: Share
    min_weight: Share
    temperature: PositiveFloat
    negative_prompt: str
    guidance_scale: NonNegativeFloat
    guidance_by_confidence: Share


class Conditioning(NamedTuple):
    """What the generator is given beside the noise.

    Attributes
    ----------
    mix : Mix
        Texts and weights.
    guidance_scale : float
        Classifier-free guidance; 1 is none.
    image : tuple[float, ...] or None
        Image embedding for an IP-Adapter.
    """

    mix: Mix
    guidance_scale: float
    image: tuple[float, ...] | None = None

    @property
    def prompt(self) -> str:
        """The conditioning in words."""
        if len(self.mix) == 1:
            return self.mix[0][0]
        return " + ".join(f"{weight:.2f} x ({text})" for text, weight in self.mix)


def compose(captions: Mapping[str, str], kinds: Sequence[str]) -> str:
    """Join the captions of the chosen kinds, object tier first, thematic tier last.

    Parameters
    ----------
    captions : Mapping[str, str]
        Kind to caption; further kinds are ignored.
    kinds : Sequence[str]
        Chosen kinds in any order: the prompt follows the order of `tasks.language.prompts.KINDS`.

    Returns
    -------
    str
        The captions, joined by commas.

    Raises
    ------
    PerceptError
        If no kind is chosen, a kind is unknown or its caption is missing.
    """
    if not kinds:
        raise PerceptError("A prompt needs at least one caption kind; found none. Choose some.")
    for kind in kinds:
        if kind not in KIND_NAMES:
            raise PerceptError(f"Caption kinds are {list(KIND_NAMES)}; found {kind!r}. Correct it.")
        if kind not in captions:
            raise PerceptError(
                f"A prompt of {list(kinds)} needs a caption of each; {kind!r} is missing. Caption it."
            )
    return ", ".join(captions[kind] for kind in KIND_NAMES if kind in kinds)


def condition_on(
    captions: Captions, params: CompositionParams, trial_id: str, condition: Condition
) -> Conditioning:
    """Weigh the captions of a trial by the confidence of their retrieval and compose them.

    Parameters
    ----------
    captions : Captions
        Of a trial in a condition.

    Raises
    ------
    PerceptError
        If a caption is missing, is empty or holds no letter.
    """
    if condition in ("class_name", "predicted_class"):
        _require_words(captions, [CLASS_NAME], trial_id, condition)
        return Conditioning(((captions[CLASS_NAME][0].text, 1.0),), params.guidance_scale)
    _require_words(captions, params.kinds, trial_id, condition)
    if condition == "mean_embedding":
        return Conditioning(_even_mix(captions, params.kinds), params.guidance_scale)
    shares = {kind: shares_of(captions[kind], params.temperature) for kind in params.kinds}
    confidence = {kind: next(iter(found.values())) for kind, found in shares.items()}
    guidance = _guidance(sum(confidence.values()) / len(confidence), params)
    weights = _weights(confidence, params.min_weight)
    whole = compose({kind: next(iter(shares[kind])) for kind in weights}, list(weights))
    mixed = {whole: 1 - params.embedding_average_share}
    for kind, weight in weights.items():
        nearest = dict(list(shares[kind].items())[: params.captions_per_kind])
        for text, share in nearest.items():
            part = params.embedding_average_share * weight * share / sum(nearest.values())
            mixed[text] = mixed.get(text, 0.0) + part
    mix = tuple((text, round(weight, 4)) for text, weight in mixed.items() if weight > 0)
    return Conditioning(mix, guidance)


def _even_mix(captions: Captions, kinds: Sequence[str]) -> Mix:
    """Return one prompt per stimulus, all of the same weight: the captions of each kind are in one order."""
    parts = zip(*(captions[kind] for kind in kinds), strict=True)
    prompts = [
        compose({kind: own.text for kind, own in zip(kinds, part, strict=True)}, kinds)
        for part in parts
    ]
    counts = Counter(prompts)
    return tuple((text, n / len(prompts)) for text, n in counts.items())


def shares_of(captions: Sequence[Caption], temperature: float) -> dict[str, float]:
    """Return the softmax over the cosines of some captions, equal texts as one, the nearest first.

    Parameters
    ----------
    captions : Sequence[Caption]
        Of one kind, nearest first.
    temperature : float
        A higher one makes the shares more even.
    """
    top = max(caption.cosine for caption in captions)
    shares: dict[str, float] = {}
    for text, cosine in captions:
        shares[text] = shares.get(text, 0.0) + math.exp((cosine - top) / temperature)
    total = sum(shares.values())
    return {text: share / total for text, share in shares.items()}


def _weights(confidence: Mapping[str, float], min_weight: float) -> dict[str, float]:
    """Return the share of each kind in the confidence, without the kinds below a weight."""
    total = sum(confidence.values())
    weights = {kind: value / total for kind, value in confidence.items()}
    least = min(min_weight, max(weights.values()))
    kept = {kind: weight for kind, weight in weights.items() if weight >= least}
    return {kind: weight / sum(kept.values()) for kind, weight in kept.items()}


def _guidance(confidence: float, params: CompositionParams) -> float:
    """Return the guidance at a mean confidence."""
    scale, share = params.guidance_scale, params.guidance_by_confidence
    if not share or scale <= 1:
        return scale
    exact = 1 + (scale - 1) * (1 - share * (1 - confidence))
    return round(exact / GUIDANCE_STEP) * GUIDANCE_STEP


def _require_words(
    captions: Captions, kinds: Sequence[str], trial_id: str, condition: Condition
) -> None:
    texts = {kind: captions[kind][0].text for kind in kinds if captions.get(kind)}
    empty = [kind for kind in kinds if not texts.get(kind, "").strip()]
    if empty:
        raise PerceptError(
            f"A prompt needs a caption of each kind; trial {trial_id} has none of "
            f"{', '.join(empty)} in the condition {condition}. {REMEDIES[condition]}"
        )
    for kind, text in texts.items():
        if not any(letter.isalpha() for letter in text):
            raise PerceptError(
                f"A prompt needs words; trial {trial_id} has {text!r} as its {kind} in the condition "
                f"{condition}. Mend that caption or leave its kind out of `render.composition.kinds`."
            )
