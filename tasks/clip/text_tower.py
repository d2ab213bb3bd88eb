"""Text vectors without the padding: the same numbers for a fraction of the arithmetic.

A CLIP pads every text to 77 tokens. Where its text tower is causal and reads the vector off the end of
the text, what follows the end cannot change it: texts of one length are encoded together, at that length.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Int64
from open_clip import CLIP
from torch import Tensor, nn

MAX_ROWS = 256
"""Texts that are encoded at once."""
MIN_ROWS = 16
"""Texts of one length that are worth a batch of their own; fewer are padded to the next length."""


def ends_alone_count(model: nn.Module) -> bool:
    """Tell whether what follows the end of a text cannot change its vector."""
    return (
        isinstance(model, CLIP) and model.attn_mask is not None and model.text_pool_type == "argmax"
    )


def encode_trimmed(model: CLIP, tokens: Int[Tensor, "n n_tokens"]) -> Float[Tensor, "n dim"]:
    """Encode texts as ``model.encode_text`` does, with as many tokens as there are.

    open_clip's own method takes texts of the full context only.

    Parameters
    ----------
    model : open_clip.CLIP
        For which `ends_alone_count` holds.
    tokens : Int[Tensor, "n n_tokens"]
        Texts from start to end; the end has the highest number.
    """
    n_tokens, dtype = tokens.shape[1], model.transformer.get_cast_dtype()
    x = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:n_tokens].to(dtype)
    x = model.transformer(x, attn_mask=model.attn_mask[:n_tokens, :n_tokens])
    rows = tokens.argmax(dim=1)
    x = model.ln_final(x[range(len(rows)), rows])
    projection = model.text_projection
    if projection is not None:
        x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    vectors: Tensor = x
    return vectors


def batches_of_one_length(
    lengths: Int64[np.ndarray, " n"],
) -> Iterator[Int64[np.ndarray, " n_rows"]]:
    """Yield rows of about one length, shortest first, until all were yielded."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        n_rows = stop - start
        ends = stop == len(order)
        full = ends or n_rows == MAX_ROWS
        if full or (n_rows >= MIN_ROWS and lengths[order[stop]] != lengths[order[stop - 1]]):
            yield order[start:stop]
            start = stop
