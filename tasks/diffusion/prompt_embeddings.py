"""Prompt embeddings: each text is encoded once, however long, and weighted means are taken of them."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from tasks.diffusion.composition import Mix


class Embedding(NamedTuple):
    """What the text encoders of a pipeline make of a text.

    Attributes
    ----------
    states : Float[Tensor, "length width"]
        One vector per token, over all pieces of the text.
    pooled : Float[Tensor, "width"] or None
        One vector of the whole, for the pipelines that take it.
    """

    states: Float[Tensor, "length width"]
    pooled: Float[Tensor, " width"] | None


KNOWN_BYTES = 2**28
"""Of prompt embeddings that are remembered: 64 of Flux, 2,000 of Stable Diffusion 1.5."""


class PromptEncoder:
    """Encodes texts with all text encoders of a pipeline and remembers the last of them, in main memory.

    A text that is too long for the encoders is cut between words into pieces, whose states follow one
    another: attention takes any number of them. Every piece is encoded by itself, so that its embedding
    does not depend on the texts around it.

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        Has ``encode_prompt``.
    """

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        self.pipeline = pipeline
        self.known: OrderedDict[str, Embedding] = OrderedDict()
        names = ("tokenizer", "tokenizer_2", "tokenizer_3")
        tokenizers = [getattr(pipeline, name, None) for name in names]
        self.tokenizers = [tokenizer for tokenizer in tokenizers if tokenizer is not None]

    def n_pieces(self, mix: Mix) -> int:
        """Return the number of pieces of the longest text."""
        return max(len(self.split(text)) for text, _ in mix)

    def embed(self, mix: Mix, n_pieces: int) -> Embedding:
        """Return the weighted mean of the embeddings of some texts.

        Parameters
        ----------
        n_pieces : int
            Shorter texts are filled up with empty pieces.
        """
        weights = torch.tensor([weight for _, weight in mix])
        parts = [self._whole(text, n_pieces) for text, _ in mix]
        states = _mean([part.states for part in parts], weights)
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return Embedding(states, _mean(pooled, weights) if pooled else None)

    def negative(self, text: str, n_pieces: int) -> Embedding:
        """Return what guidance leads away from: zeros for no text where the pipeline was trained so."""
        found = self.embed(((text, 1.0),), n_pieces)
        if text or not getattr(self.pipeline.config, "force_zeros_for_empty_prompt", False):
            return found
        pooled = None if found.pooled is None else torch.zeros_like(found.pooled)
        return Embedding(torch.zeros_like(found.states), pooled)

    def split(self, text: str) -> list[str]:
        """Cut a text into pieces that every text encoder takes as a whole."""
        pieces, rest = [], text.split()
        while rest:
            n_words = _longest(rest, self._fits)
            if n_words == 0:  # one word beyond the limit
                n_letters = _longest(list(rest[0]), lambda letters: self._fits(["".join(letters)]))
                n_letters = max(1, n_letters)
                rest = [rest[0][:n_letters], rest[0][n_letters:], *rest[1:]]
                n_words = 1
            pieces.append(" ".join(rest[:n_words]))
            rest = rest[n_words:]
        return pieces or [""]

    def _fits(self, words: Sequence[str]) -> bool:
        text = " ".join(words)
        return all(len(t(text).input_ids) <= t.model_max_length for t in self.tokenizers)

    def _whole(self, text: str, n_pieces: int) -> Embedding:
        pieces = self.split(text)
        found = [self._piece(piece) for piece in pieces]
        filled = found + [self._piece("")] * (n_pieces - len(pieces))
        states = torch.cat([piece.states for piece in filled])
        pooled = [piece.pooled for piece in found if piece.pooled is not None]
        return Embedding(states, torch.stack(pooled).mean(0) if pooled else None)

    def _piece(self, text: str) -> Embedding:
        device = self.pipeline.device
        if text not in self.known:
            self.known[text] = _moved(self._encode(text), torch.device("cpu"))
            while sum(map(_size, self.known.values())) > KNOWN_BYTES and len(self.known) > 1:
                self.known.popitem(last=False)
        self.known.move_to_end(text)
        return _moved(self.known[text], device)

    def _encode(self, text: str) -> Embedding:
        wanted: dict[str, Any] = {
            "prompt": [text],
            "prompt_2": None,
            "prompt_3": None,
            "device": self.pipeline.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": False,
        }
        taken = inspect.signature(self.pipeline.encode_prompt).parameters
        found = self.pipeline.encode_prompt(**{n: v for n, v in wanted.items() if n in taken})
        if len(found) == 2:  # Stable Diffusion: states, negative states
            return Embedding(found[0][0], None)
        pooled = (
            found[1] if len(found) == 3 else found[2]
        )  # Flux, or states, negative, pooled, negative
        return Embedding(found[0][0], pooled[0])


def _moved(embedding: Embedding, device: torch.device) -> Embedding:
    pooled = embedding.pooled
    return Embedding(embedding.states.to(device), None if pooled is None else pooled.to(device))


def _size(embedding: Embedding) -> int:
    return sum(vectors.nbytes for vectors in embedding if vectors is not None)


def _mean(vectors: Sequence[Tensor], weights: Float[Tensor, " n"]) -> Tensor:
    """Return the weighted mean of some tensors; of a single one, the tensor itself."""
    if len(vectors) == 1:
        return vectors[0]
    stacked = torch.stack(list(vectors)).float()
    mean: Tensor = torch.tensordot(weights.to(stacked.device), stacked, 1)
    return mean.to(vectors[0].dtype)


def _longest(items: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> int:
    """Return how many of the first items fit; whatever holds fewer of them fits too."""
    if fits(items):
        return len(items)
    low, high = 0, len(items)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(items[:middle]) else (low, middle)
    return low
