"""What the projection heads start from: a memory of the training captions, addressed by latents.

A head attends to the captions of its kind that training has seen. In closed form, the energy of a
caption is its Gaussian log-likelihood given the latents, so that attention is the posterior over captions
and the attended vector is its mean. A linear map would blur the many objects that share the few
directions of CLIP space; attention can settle on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.encoder.params import STTransformerParams
from tasks.encoder.synthetic_captions import recombined
from tasks.encoder.words import word_components

PREFERENCE = 10.0  # of the words of a kind where those of others would explain as much
PENALTY = 1e-7  # share of the mean eigenvalue: only decides where words always go together


@dataclass(frozen=True)
class Memory:
    """The captions of one kind and how latents address them.

    Attributes
    ----------
    values : numpy.ndarray
        Vector of each caption.
    keys : numpy.ndarray
        Energy of each caption per unit of each latent.
    bias : numpy.ndarray
        Energy of each caption where all latents are zero.
    """

    values: Float[np.ndarray, "n_slots dim"]
    keys: Float[np.ndarray, "n_latents n_slots"]
    bias: Float[np.ndarray, " n_slots"]


def fit_memory(
    components: Float[np.ndarray, "n_stimuli n_scores"],
    latents: Float[np.ndarray, "n_stimuli n_latents"],
    texts: Sequence[str],
    stimulus_index: Int[np.ndarray, " n_trials"],
    vectors: Float[np.ndarray, "n_stimuli dim"],
    params: STTransformerParams,
) -> Memory:
    """Fit the memory of one kind on training trials.

    Parameters
    ----------
    components : numpy.ndarray
        Which words occur in all kinds' captions of each stimulus (`word_components`).
    latents : numpy.ndarray
        What each stimulus is expected to evoke, a linear function of these.
    texts : Sequence of str
        The caption of this kind of each stimulus.
    stimulus_index : numpy.ndarray
        What was shown in each training trial.
    params : STTransformerParams
        `network.max_remembered_captions` captions are remembered at most: those shown most often, then those made of
        others (`network.min_exchange_pairs`); `start` for the words that count.
    """
    network, fitted = params.network, params.start
    seen = _distinct(vectors, stimulus_index)[: network.max_remembered_captions]
    new: list[str] = []
    made = vectors[:0]
    if network.min_exchange_pairs:
        new, made = recombined(
            [texts[i] for i in seen], vectors[seen], min_exchange_pairs=network.min_exchange_pairs
        )
    n_new = network.max_remembered_captions - len(seen)
    shown = np.unique(stimulus_index)
    said = word_components(
        [[text] for text in [*texts, *new[:n_new]]],
        shown,
        min_count=fitted.min_word_count,
        max_scores=fitted.n_scores,
    )
    weights, rest = _told_apart(said[shown], components[shown], latents[shown])
    slots = np.concatenate([seen, np.arange(len(texts), len(said))])
    expected = said[slots] @ weights
    noise = np.eye(latents.shape[1]) + rest.T @ rest / len(rest)
    addresses = np.linalg.solve(noise, expected.T)
    bias = -0.5 * np.einsum("sl,ls->s", expected, addresses)
    return Memory(np.concatenate([vectors[seen], made[:n_new]]), addresses, bias)


def _told_apart(
    said: Float[np.ndarray, "n n_said"],
    components: Float[np.ndarray, "n n_scores"],
    latents: Float[np.ndarray, "n n_latents"],
) -> tuple[Float[np.ndarray, "n_said n_latents"], Float[np.ndarray, "n n_latents"]]:
    """Return what one kind's words add to the latents, and what only other kinds' words explain.

    All words explain the expected latents entirely. Regressed on both together, with weights as small as
    can be, words that this kind shares with others count for it, and what others alone say is kept
    from its words, with which it coincides here and there in few stimuli.
    """
    both = np.concatenate([PREFERENCE * said, components], axis=1)
    gram = both.T @ both
    penalty = PENALTY * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = PREFERENCE * np.linalg.solve(gram + penalty, both.T @ latents)[: said.shape[1]]
    return weights, latents - said @ weights


def _distinct(
    vectors: Float[np.ndarray, "n_stimuli dim"], stimulus_index: Int[np.ndarray, " n_trials"]
) -> Int[np.ndarray, " n_distinct"]:
    """Return one stimulus for each distinct vector that was shown, the most often shown first."""
    rounded = np.round(vectors[stimulus_index], 3)
    _, first, counts = np.unique(rounded, axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return stimulus_index[first[order]]
