"""Retrieval under other rules: near duplicates forgiven, heads fused by rank, and rankings that look around.

A caption that says the same in other words is as right as the own one: scores that forgive near
duplicates stand beside those that do not. Scores whose name begins with ``transductive_`` look at other
test trials, which a decoder of one trial cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln

from tasks.artifacts.metrics import Score
from tasks.scores.held_out import HeldOut
from tasks.scores.params import TIERS, ScoreParams
from tasks.scores.ranking import CaptionGallery, Ranking, Vectors, mean_cosines, rank
from tasks.scores.score import ranking_scores, score
from tasks.statistics.resampling import Resampling, median

NEAR_DUPLICATE_COSINE = 0.95
"""Captions at least this similar, in the space that is searched, say the same: a convention.

In the shipped CLIP, 1.3 % of pairs of human captions of one COCO photograph reach it, and 0.03 % of those of
different ones.
"""
RANK_CONSTANT = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""
CSLS_NEIGHBOURS = 10
"""Of cross-domain similarity local scaling (Conneau et al., ICLR 2018, section 2.3)."""

Cosines = Float[np.ndarray, "n_trials n_candidates"]
Group = Bool[np.ndarray, "n_stimuli n_candidates"]


def near_duplicates(vectors: Vectors) -> Bool[np.ndarray, "n n"]:
    """Tell which captions are as right as which: each has a group of its own, so that none is a chain."""
    return np.asarray(vectors @ vectors.T >= NEAR_DUPLICATE_COSINE) | np.eye(
        len(vectors), dtype=bool
    )


def best_of_group(first: Int[np.ndarray, "n_trials n"], group: Group) -> Ranking:
    """Return where the best of each stimulus's equally right candidates stands.

    Parameters
    ----------
    first : Int[np.ndarray, "n_trials n_candidates"]
        Place of each candidate, from 1.
    group : Bool[np.ndarray, "n_stimuli n_candidates"]
        Which candidates are right for which stimulus.
    """
    best = np.stack([first[:, right].min(axis=1) for right in group], axis=1)
    return Ranking(best, np.ones(len(group), np.int64))


def chance_of_groups(sizes: Int[np.ndarray, " n_trials"], n_items: int, k: int) -> float:
    """Return how often guessing puts one of a trial's equally right candidates among the first k."""
    others = n_items - sizes
    missed = np.zeros(len(sizes))
    can_miss = others >= k
    left = others[can_miss]
    log_missed = (
        gammaln(left + 1) - gammaln(left - k + 1) - gammaln(n_items + 1) + gammaln(n_items - k + 1)
    )
    missed[can_miss] = np.exp(log_missed)
    return float(1 - missed.mean())


def forgiving_scores(
    gallery: CaptionGallery,
    predicted: Mapping[str, Vectors],
    ks: Sequence[int],
    resampling: Resampling,
) -> dict[str, Score]:
    """Score the retrieval of the own caption or a near duplicate of it, for kinds that have near duplicates.

    Parameters
    ----------
    predicted : Mapping[str, Vectors]
        Kind to the vectors that its head predicted.
    ks : Sequence[int]
        How many of the nearest count.
    """
    scores: dict[str, Score] = {}
    for kind, vectors in predicted.items():
        first, candidate = gallery.distinct([kind])
        texts = gallery.vectors[kind][first]
        alike = near_duplicates(texts)
        if alike.sum() == len(texts):
            continue  # no caption says what another says: nothing to forgive
        group = alike[candidate]
        ranking = best_of_group(rank(vectors @ texts.T).first, group)
        sizes = group.sum(axis=1)[resampling.own]
        for k in (k for k in ks if k < len(first)):
            name = f"caption_or_near_duplicate_recall_at_{k}_of_{len(first)}_{kind}"
            chance = chance_of_groups(sizes, len(first), k)
            scores[name] = score(ranking.recall(k), resampling, chance=chance)
        name = f"caption_or_near_duplicate_median_rank_of_{len(first)}_{kind}"
        scores[name] = score(
            ranking.places(),
            resampling,
            chance=None,
            statistic=median,
            lower_is_better=True,
            unit="rank",
        )
    return scores


def fuse_ranks(rankings: Sequence[Int[np.ndarray, "n_trials n"]]) -> Cosines:
    """Fuse rankings: the sum over heads of 1 / (60 + place)."""
    total = sum(1 / (RANK_CONSTANT + places) for places in rankings)
    return np.asarray(np.round(total, 12))  # equal sums are ties, whatever the order of the heads


def csls(cosines: Cosines) -> Cosines:
    """Correct cosines for hubs: candidates near every trial count less. Looks at all trials at once."""
    n_rows, n_columns = (min(CSLS_NEIGHBOURS, n) for n in cosines.shape)
    of_trial = np.sort(cosines, axis=1)[:, -n_columns:].mean(axis=1)
    of_candidate = np.sort(cosines, axis=0)[-n_rows:].mean(axis=0)
    return np.asarray(2 * cosines - of_trial[:, None] - of_candidate[None])


def other_rankings(gallery: CaptionGallery, predicted: Mapping[str, Vectors]) -> dict[str, Ranking]:
    """Return rankings of the stimuli over all heads, other than by mean cosine, by the score's prefix."""
    kinds = sorted(predicted)
    first, candidate = gallery.distinct(kinds)
    sizes = np.bincount(candidate)
    texts = {kind: gallery.vectors[kind][first] for kind in kinds}
    heads = [gallery.stimulus_ranking([kind], predicted).first[:, first] for kind in kinds]
    scores = {
        "rank_fused_stimulus": fuse_ranks(heads),
        "transductive_csls_stimulus": csls(mean_cosines(predicted, texts)),
    }
    return {name: rank(found, sizes).for_stimuli(candidate) for name, found in scores.items()}


def caption_scores(held_out: HeldOut, params: ScoreParams) -> dict[str, Score]:
    """Score the retrieval of the own caption's text, by kind, among the texts of held-out stimuli.

    Equal texts are one candidate: a caption is right if it reads as the stimulus's own does.
    """
    stimulus_ids = held_out.stimuli()
    gallery = held_out.gallery(stimulus_ids)
    resampling = params.draw_rows(held_out.trials, stimulus_ids)
    scores: dict[str, Score] = {}
    for kind, predicted in held_out.predicted.items():
        ranking = gallery.caption_ranking(kind, predicted)
        n_texts = gallery.n_texts(kind)
        scores |= ranking_scores("caption", f"_{kind}", ranking, n_texts, params.ks, resampling)
    scores |= forgiving_scores(gallery, held_out.predicted, params.ks, resampling)
    for name, ranking in other_rankings(gallery, held_out.predicted).items():
        scores |= ranking_scores(name, "", ranking, len(stimulus_ids), params.ks, resampling)
    return scores


def stimulus_scores(held_out: HeldOut, prefix: str, params: ScoreParams) -> dict[str, Score]:
    """Score the identification of the stimulus among all stimuli of the trials, by tier and fused.

    Each stimulus stands for its captions: the cosines of heads and captions are averaged over kinds.
    """
    stimulus_ids = held_out.stimuli()
    gallery = held_out.gallery(stimulus_ids)
    resampling = params.draw_rows(held_out.trials, stimulus_ids)
    tiers = {f"_{tier}": held_out.kinds(tier) for tier in TIERS}
    scores: dict[str, Score] = {}
    for suffix, kinds in {"": list(held_out.predicted), **tiers}.items():
        if kinds:
            ranking = gallery.stimulus_ranking(kinds, held_out.predicted)
            name, n_stimuli = f"{prefix}stimulus", len(stimulus_ids)
            scores |= ranking_scores(name, suffix, ranking, n_stimuli, params.ks, resampling)
    return scores
