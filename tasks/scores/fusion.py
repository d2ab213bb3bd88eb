"""Heads fused with weights that validation trials choose.

A mean of cosines trusts all heads alike. A conditional logit (McFadden 1974, "Conditional logit analysis of
qualitative choice behavior") learns how much each head's cosine says about which of the candidates was
shown. Test trials have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from tasks.artifacts.metrics import Score
from tasks.scores.held_out import HeldOut
from tasks.scores.params import ScoreParams
from tasks.scores.ranking import CaptionGallery, Ranking, Vectors, rank
from tasks.scores.score import columns_of, ranking_scores

MIN_TRIALS = 30
"""Of validation, before anything is learned."""
RIDGE = 1e-4
"""Penalty on the squares of the weights, beside the mean log-loss of a trial."""

Cosines = Float[np.ndarray, "n_heads n_trials n_candidates"]


def learned_fusion_scores(
    held_out: HeldOut, validation: HeldOut | None, params: ScoreParams
) -> dict[str, Score]:
    """Score the identification of the stimulus by heads weighted on validation trials.

    Parameters
    ----------
    validation : HeldOut or None
        Validation trials; without them, or with too few, there is no score.
    params : ScoreParams
        Ranks, intervals and p-values.
    """
    if validation is None or len(validation.trials) < MIN_TRIALS:
        return {}
    stimuli = validation.stimuli()
    cosines, candidate = _cosines(validation.gallery(stimuli), validation.predicted)
    own = columns_of(validation.trials["stimulus_id"].tolist(), stimuli, "the validation stimuli")
    weights = fusion_weights(cosines, candidate[own])
    stimuli = held_out.stimuli()
    return ranking_scores(
        "learned_fused_stimulus",
        "",
        _ranking(held_out.gallery(stimuli), held_out.predicted, weights),
        len(stimuli),
        params.ks,
        params.draw_rows(held_out.trials, stimuli),
    )


def fusion_weights(
    cosines: Cosines, shown: Int[np.ndarray, " n_trials"]
) -> Float[np.ndarray, " n_heads"]:
    """Return the weights of heads that make what was shown most probable; none is negative.

    Parameters
    ----------
    cosines : Float[np.ndarray, "n_heads n_trials n_candidates"]
        Of what each head predicted with each candidate.
    shown : Int[np.ndarray, "n_trials"]
        The candidate that was shown.
    """
    rows = np.arange(len(shown))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        evidence = np.tensordot(weights, cosines, axes=1)
        surprise = logsumexp(evidence, axis=1) - evidence[rows, shown]
        excess = softmax(evidence, axis=1)
        excess[rows, shown] -= 1
        slope = np.tensordot(cosines, excess, axes=2) / len(rows)
        return surprise.mean() + RIDGE * (weights @ weights), slope + 2 * RIDGE * weights

    start = np.ones(len(cosines))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start))
    return np.asarray(found.x)


def _cosines(
    gallery: CaptionGallery, predicted: Mapping[str, Vectors]
) -> tuple[Cosines, Int[np.ndarray, " n_stimuli"]]:
    """Return the cosines of each head with each distinct candidate, and the candidate of each stimulus."""
    kinds = sorted(predicted)
    first, candidate = gallery.distinct(kinds)
    cosines = [predicted[kind] @ gallery.vectors[kind][first].T for kind in kinds]
    return np.stack(cosines).astype(np.float64), candidate


def _ranking(
    gallery: CaptionGallery, predicted: Mapping[str, Vectors], weights: np.ndarray
) -> Ranking:
    cosines, candidate = _cosines(gallery, predicted)
    evidence = np.tensordot(weights, cosines, axes=1).round(6)  # the same order on any machine
    return rank(evidence, np.bincount(candidate)).for_stimuli(candidate)
