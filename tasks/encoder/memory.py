"""What the projection heads start from: a memory of the training captions, addressed by latents.

A head attends to the captions of its kind that training has seen. In closed form, the energy of a
caption is its Gaussian log-likelihood given the latents, so that attention is the posterior over captions
and the attended vector is its mean. A linear map would blur the many objects that share the few
directions of CLIP space; attention can settle on one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tasks.encoder.whitening import encoding_model


@dataclass(frozen=True)
class Memory:
    """The captions of one kind and how latents address them.

    Attributes
    ----------
    stimuli : numpy.ndarray
        One stimulus per distinct caption.
    keys : numpy.ndarray
        Energy of each caption per unit of each latent.
    bias : numpy.ndarray
        Energy of each caption where all latents are zero.
    """

    stimuli: Int[np.ndarray, " n_slots"]
    keys: Float[np.ndarray, "n_latents n_slots"]
    bias: Float[np.ndarray, " n_slots"]


def fit_memory(
    latents: Float[np.ndarray, "n_trials n_latents"],
    scores: Float[np.ndarray, "n_stimuli n_scores"],
    stimulus_index: Int[np.ndarray, " n_trials"],
    vectors: Float[np.ndarray, "n_stimuli dim"],
    *,
    max_slots: int,
    ridge: float,
) -> Memory:
    """Fit the memory of one kind on training trials.

    Parameters
    ----------
    latents : numpy.ndarray
        Of training trials.
    scores : numpy.ndarray
        What the captions of this kind say of each stimulus.
    stimulus_index : numpy.ndarray
        What was shown in each training trial.
    vectors : numpy.ndarray
        Their vectors.
    max_slots : int
        Captions to remember, at most: those shown most often.
    ridge : float
        Penalty of the encoding model, in trials.
    """
    shown = scores[stimulus_index]
    weights = encoding_model(shown, latents, ridge)
    noise = np.atleast_2d(np.cov((latents - shown @ weights).T))
    stimuli = _distinct(vectors, stimulus_index)[:max_slots]
    expected = scores[stimuli] @ weights
    keys = np.linalg.solve(noise, expected.T)
    return Memory(stimuli, keys, -0.5 * np.einsum("sl,ls->s", expected, keys))


def _distinct(
    vectors: Float[np.ndarray, "n_stimuli dim"], stimulus_index: Int[np.ndarray, " n_trials"]
) -> Int[np.ndarray, " n_distinct"]:
    """Return one stimulus for each distinct vector that was shown, the most often shown first."""
    rounded = np.round(vectors[stimulus_index], 3)
    _, first, counts = np.unique(rounded, axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    return stimulus_index[first[order]]
