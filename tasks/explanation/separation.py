"""Whether the projection heads say different things, or all the same ("head collapse")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from tasks.artifacts.metrics import Score
from tasks.language.prompts import TIER_OF, Tier
from tasks.runtime.params import Params
from tasks.scores.held_out import HeldOut
from tasks.statistics.draws import choose
from tasks.statistics.permutation import SIGNIFICANCE, Level, exchanges, permutation_p_value

Vectors = Float[np.ndarray, "n dim"]
N_DIRECTIONS = 10
"""Principal components of a head that its span is made of."""
N_HALVES = 40
"""Halves of the stimuli behind the interval of an overlap."""
Z_95 = 1.96
"""Standard errors to either side of a 95 % interval."""


def linear_cka(a: Vectors, b: Vectors) -> float:
    """Return the linear centred kernel alignment of two representations of the same trials.

    Kornblith et al. (2019): 1 where they are the same up to rotation and scale, near 0 where unrelated.

    Parameters
    ----------
    a, b : Float[np.ndarray, "n dim"]
        One row per trial, in the same order.
    """
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(a.T @ b) ** 2 / norm) if norm else 0.0


def subspace_overlap(a: Vectors, b: Vectors) -> float:
    """Return how much of one head's strongest directions lies in those of another.

    The mean squared cosine of the principal angles between the spans of the first ten principal
    components: 1 where they are the same, ten over the dimension where they are drawn at random.

    Parameters
    ----------
    a, b : Float[np.ndarray, "n dim"]
        One row per trial, in the same order.
    """
    spans = []
    for vectors in (a, b):
        centred = vectors - vectors.mean(axis=0)
        spans.append(np.linalg.svd(centred, full_matrices=False)[2][:N_DIRECTIONS].T)
    cosines = np.linalg.svd(spans[0].T @ spans[1], compute_uv=False)
    return float((np.clip(cosines, 0, 1) ** 2).mean())


def head_overlap(vectors: Mapping[str, Vectors], tiers: Mapping[str, str]) -> pd.DataFrame:
    """Return the CKA of every pair of heads, and the overlap of what they span.

    Parameters
    ----------
    vectors : Mapping[str, Float[np.ndarray, "n dim"]]
        Caption kind to vectors, in the same order of trials.
    tiers : Mapping[str, str]
        Caption kind to its tier.

    Returns
    -------
    pandas.DataFrame
        Columns kind, other_kind, same_tier, cka, subspace_overlap.
    """
    rows = [
        (
            a,
            b,
            tiers[a] == tiers[b],
            linear_cka(vectors[a], vectors[b]),
            subspace_overlap(vectors[a], vectors[b]),
        )
        for a, b in combinations(vectors, 2)
    ]
    columns = ["kind", "other_kind", "same_tier", "cka", "subspace_overlap"]
    return pd.DataFrame(rows, columns=columns)


def spread_of_overlap(
    vectors: Mapping[str, Vectors], tiers: Mapping[str, str], stimuli: Sequence[str], seed: int
) -> dict[bool, float]:
    """Return the standard error of the mean CKA within (True) and between tiers, from halves of the stimuli.

    Resampling with replacement would repeat trials, and repeated trials agree with themselves.

    Parameters
    ----------
    vectors : Mapping[str, Float[np.ndarray, "n dim"]]
        Caption kind to vectors, in the same order of trials.
    tiers : Mapping[str, str]
        Caption kind to its tier.
    """
    names, of = np.unique(np.asarray(stimuli), return_inverse=True)
    rng = np.random.default_rng(seed)
    products = {kind: np.asarray(v @ v.T, np.float64) for kind, v in vectors.items()}
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(N_HALVES):
        chosen = np.isin(of, rng.choice(len(names), max(2, len(names) // 2), replace=False))
        centred = [_unit_gram(gram[np.ix_(chosen, chosen)]) for gram in products.values()]
        alike = np.array(centred) @ np.array(centred).T
        pairs = list(combinations(range(len(centred)), 2))
        kinds = list(vectors)
        for same in found:
            own = [alike[a, b] for a, b in pairs if (tiers[kinds[a]] == tiers[kinds[b]]) == same]
            found[same] += [float(np.mean(own))] if own else []
    return {same: float(np.std(values)) if values else 0.0 for same, values in found.items()}


def _unit_gram(gram: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n_squared"]:
    """Return a centred Gram matrix as a unit vector: products of two are the CKA."""
    means = gram.mean(axis=0)
    centred = (gram - means[:, None] - means[None] + means.mean()).ravel()
    return np.asarray(centred / (np.linalg.norm(centred) or 1.0))


def overlap_scores(
    heads: pd.DataFrame,
    captions: pd.DataFrame,
    n_trials: int,
    spread: Mapping[bool, float],
) -> dict[str, Score]:
    """Score how much the heads overlap, within and between tiers, beside the captions themselves.

    Parameters
    ----------
    heads, captions : pandas.DataFrame
        From `head_overlap`, of predicted vectors and of the true captions of the same trials.
    spread : Mapping[bool, float]
        From `spread_of_overlap`, of the heads.
    """
    scores = {}
    for name, same in (("within", True), ("between", False)):
        found, true = heads[heads["same_tier"] == same], captions[captions["same_tier"] == same]
        if len(found):
            value, wanted = float(found["cka"].mean()), float(true["cka"].mean())
            scores[f"head_cka_{name}_tiers"] = Score(
                value=value,
                n=n_trials,
                low=value - Z_95 * spread[same],
                high=value + Z_95 * spread[same],
                resampled="halves of the stimuli",
                ceiling=wanted,
                lower_is_better=True,
                unit="correlation",
                verdict=(
                    f"Heads {'of one tier' if same else 'of different tiers'} overlap by {value:.2f} "
                    f"(0: nothing in common, 1: collapsed; pairs from {found['cka'].min():.2f} to "
                    f"{found['cka'].max():.2f}), their ten strongest directions by "
                    f"{found['subspace_overlap'].mean():.2f}; the captions that they learn from by {wanted:.2f}."
                ),
            )
    return scores


class SeparationParams(Params):
    """How heads are compared.

    Attributes
    ----------
    n_permutations : int
        Of labels, for silhouettes.
    max_points : int
        Vectors in a t-SNE and in a silhouette, drawn at random if there are more.
    perplexity : float
        Neighbourhood of the t-SNE.
    seed : int
        Of everything random.
    """

    n_permutations: PositiveInt
    max_points: int = Field(ge=10)
    perplexity: PositiveFloat
    seed: NonNegativeInt


@dataclass(frozen=True)
class Separation:
    """How the heads differ.

    Attributes
    ----------
    scores : dict[str, Score]
        Overlap of heads, silhouettes.
    overlap : pandas.DataFrame
        From `head_overlap`, with the overlap of the true captions as `caption_cka`.
    heads : pandas.DataFrame
        One vector of any head per row, laid out in a plane: x, y, trial_id, kind, tier.
    concepts : pandas.DataFrame
        One vector of the first object head per row: x, y, trial_id, concept.
    """

    scores: dict[str, Score]
    overlap: pd.DataFrame
    heads: pd.DataFrame
    concepts: pd.DataFrame


def separate(held_out: HeldOut, params: SeparationParams) -> Separation:
    """Compare the heads on held-out trials."""
    trials = held_out.trials
    predicted = {k: held_out.predicted[k] for k in TIER_OF if k in held_out.predicted}
    true = held_out.gallery(held_out.stimuli())
    row = {stimulus: index for index, stimulus in enumerate(true.stimulus_ids)}
    rows = [row[stimulus] for stimulus in trials["stimulus_id"]]
    overlap = head_overlap(predicted, TIER_OF)
    captions = head_overlap({kind: true.vectors[kind][rows] for kind in predicted}, TIER_OF)
    spread = spread_of_overlap(predicted, TIER_OF, trials["stimulus_id"].tolist(), params.seed)
    scores = overlap_scores(overlap, captions, len(trials), spread)

    named = next(kind for kind in predicted if TIER_OF[kind] == Tier.OBJECT)
    vectors = np.concatenate(list(predicted.values()))
    sources = [trials[["trial_id"]].assign(kind=k, tier=TIER_OF[k].value) for k in predicted]
    heads, of_heads = _chosen(pd.concat(sources), vectors, params)
    columns = ["trial_id", "stimulus_id", "concept"]
    concepts, of_concepts = _chosen(trials[columns], predicted[named], params)
    silhouettes = {
        "silhouette_of_tiers": _silhouette(
            of_heads, heads, "tier", "kinds", "The tier of a head", params
        ),
        "silhouette_of_kinds": _silhouette(
            of_heads, heads, "kind", "trials", "The kind of a head", params
        ),
        f"silhouette_of_concepts_{named}": _silhouette(
            of_concepts,
            concepts,
            "concept",
            "stimuli",
            f"Among outputs of the {named} head, the concept",
            params,
        ),
    }
    scores |= {name: score for name, score in silhouettes.items() if score is not None}
    return Separation(
        scores,
        overlap.assign(caption_cka=captions["cka"]),
        heads.assign(**embed_in_plane(of_heads, params)),
        concepts.assign(**embed_in_plane(of_concepts, params)),
    )


def _chosen(
    labels: pd.DataFrame, vectors: Vectors, params: SeparationParams
) -> tuple[pd.DataFrame, Vectors]:
    chosen = choose(len(labels), params.max_points, params.seed)
    return labels.iloc[chosen].reset_index(drop=True), vectors[chosen]


def _silhouette(
    vectors: Vectors,
    rows: pd.DataFrame,
    column: str,
    level: Level,
    what: str,
    params: SeparationParams,
) -> Score | None:
    """Score how well labels separate vectors by cosine; None where there is nothing to separate."""
    labels = rows[column]
    names, codes = np.unique(labels.to_numpy(str), return_inverse=True)
    if not 2 <= len(names) < len(labels):
        return None
    distances = np.clip(1 - vectors @ vectors.T, 0, None).astype(np.float64)
    np.fill_diagonal(distances, 0)
    within = rows["trial_id"].tolist() if level == "trials" else ["all"] * len(rows)
    orders = exchanges(rows, level, within, params.n_permutations, params.seed)
    value, *others = (
        float(silhouette_score(distances, order, metric="precomputed"))
        for order in (codes, *(codes[order] for order in orders))
    )
    shuffled = np.array(others)
    p_value = permutation_p_value(value, shuffled, higher_is_better=True)
    verb = "separates" if p_value < SIGNIFICANCE else "is not shown to separate"
    return Score(
        value=value,
        n=len(labels),
        chance=float(shuffled.mean()),
        p_value=p_value,
        exchanged="heads within trials" if level == "trials" else level,
        unit="correlation",
        verdict=(
            f"{what} {verb} the predicted vectors (silhouette {value:.2f}; shuffled labels "
            f"{shuffled.mean():.2f}, p = {p_value:.2g})."
        ),
    )


def embed_in_plane(
    vectors: Vectors, params: SeparationParams
) -> dict[str, Float[np.ndarray, " n"]]:
    """Lay vectors out in a plane by t-SNE, the same way for the same seed.

    Parameters
    ----------
    vectors : Float[np.ndarray, "n dim"]
        Unit norm.
    params : SeparationParams
        The perplexity is lowered where there are too few vectors for it.

    Returns
    -------
    dict[str, Float[np.ndarray, "n"]]
        Coordinates x and y.
    """
    perplexity = min(params.perplexity, (len(vectors) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=params.seed, n_jobs=1)
    points = method.fit_transform(np.ascontiguousarray(vectors, np.float32))
    return {"x": points[:, 0], "y": points[:, 1]}
