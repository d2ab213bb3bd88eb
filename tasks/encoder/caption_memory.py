"""What the projection heads start from: a memory of what captions say, addressed by latents.

A linear map would blur the many concepts that share the few directions of CLIP space; attention can settle on
one. A head attends to *slots*: every concept that was trained, with each of the variations in which captions of this
kind differ (`tasks.encoder.variations`). A red dog and a blue cat are enough for a slot of the red cat.

In closed form, a vector and the latents that it evokes are normal about the slots, with the covariance that is
left. The energy of a slot is its log-likelihood given the latents, attention is the posterior over slots, and a
linear map, the *gain*, says where about its slot a vector lies: together they are the posterior mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.encoder.variations import PRIOR_STIMULI, find_variations, fit_sums

TOLD = 0.5  # of a score's variance (adjusted R2), from which on slots say it


@dataclass(frozen=True)
class Memory:
    """The slots of one kind and how latents address them.

    Attributes
    ----------
    values : numpy.ndarray
        Vector of each slot where all latents are zero.
    keys : numpy.ndarray
        Energy of each slot per unit of each latent.
    bias : numpy.ndarray
        Energy of each slot where all latents are zero.
    gain : numpy.ndarray
        What a unit of each latent adds to the vector.
    """

    values: Float[np.ndarray, "n_slots dim"]
    keys: Float[np.ndarray, "n_latents n_slots"]
    bias: Float[np.ndarray, " n_slots"]
    gain: Float[np.ndarray, "n_latents dim"]


def fit_memory(
    scores: Float[np.ndarray, "n_stimuli n_scores"],
    keys: Float[np.ndarray, "n_scores n_latents"],
    vectors: Float[np.ndarray, "n_stimuli dim"],
    concepts: Int[np.ndarray, " n_stimuli"],
    max_slots: int,
) -> Memory:
    """Fit the memory of one kind on training stimuli.

    Parameters
    ----------
    scores : numpy.ndarray
        What all kinds say of each stimulus (`tasks.encoder.caption_scores`). Those that the slots of this kind explain
        address them; the others are noise to it, lest slots be addressed by what only other kinds say.
    keys : numpy.ndarray
        What a unit of each score is expected to evoke.
    vectors : numpy.ndarray
        The captions'.
    concepts : numpy.ndarray
        What each stimulus shows, by number from 0 without gaps. Every concept has a slot, and as many variations
        as `max_slots` has room for.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    own, n, dim = vectors - mean, len(vectors), vectors.shape[1]
    counts = np.bincount(concepts)
    variations = find_variations(own, concepts, max_slots // len(counts))
    both = np.concatenate([own, scores], axis=1)
    named, varied = fit_sums(both, concepts, variations)
    sums = named[concepts] + varied[variations]
    unexplained = ((scores - sums[:, dim:]) ** 2).mean(axis=0) / scores.var(axis=0)
    n_free = max(1, n - len(named) - len(varied) + 1)
    told = keys * (unexplained * (n - 1) / n_free < 1 - TOLD)[:, None]
    slots = (named[:, None] + varied).reshape(-1, both.shape[1])
    expected, left = slots[:, dim:] @ told, own - sums[:, :dim]
    rest = scores @ keys - sums[:, dim:] @ told
    noise = np.eye(keys.shape[1]) + rest.T @ rest / n
    addresses = np.linalg.solve(noise, expected.T)
    gain = np.linalg.solve(noise, rest.T @ left / n)
    shares = np.outer(counts, np.bincount(variations) + PRIOR_STIMULI).reshape(-1)
    bias = np.log(shares / shares.sum()) - 0.5 * np.einsum("sl,ls->s", expected, addresses)
    return Memory(mean + slots[:, :dim] - expected @ gain, addresses, bias, gain)
