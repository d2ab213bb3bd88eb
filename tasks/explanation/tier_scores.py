"""How far the scalp maps of tiers can be trusted: truth, agreement of subjects, untrained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.metrics import Score
from tasks.explanation.scalp import Map, Rotations, rank_correlation
from tasks.explanation.tier_maps import TierMaps, contrasts
from tasks.statistics.permutation import SIGNIFICANCE, permutation_p_value
from tasks.statistics.resampling import MIN_SUBJECTS, correlation_interval

RANGE = "range of the runs"
"""What stands as the interval of a control that is run a few times: its lowest and highest run."""


def topography_scores(
    found: TierMaps,
    planted: Mapping[str, Map],
    rotations: Rotations,
    *,
    suffix: str,
    controls: Mapping[str, Score] | None = None,
    confidence: float,
) -> dict[str, Score]:
    """Score the rank correlation of each tier's map with the topography planted for that tier.

    The maps are compared as they are, and once more by what sets each tier apart: see `contrasts`.

    Parameters
    ----------
    found : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps of subjects; their mean is scored.
    planted : Mapping[str, Float[np.ndarray, "n_channels"]]
        Tier to the truth; tiers without one have no score.
    rotations : Rotations
        Null hypothesis: the same map, turned about the head.
    suffix : str
        Of the names, for instance ``_gradient``.
    controls : Mapping[str, Score] or None
        The same scores for shuffled EEG, by their names.
    confidence : float
        Of the interval over subjects, made with at least two of them.
    """
    scores = {}
    for what, maps, target in _pairs(found, planted):
        for tier in target:
            name = f"saliency{what}_topography_correlation_{tier}"
            control = (controls or {}).get(f"{name}_shuffled_eeg")
            null = rotations.correlations(maps[tier].mean(axis=0), target[tier])
            value = rank_correlation(maps[tier].mean(axis=0), target[tier])
            p_value = permutation_p_value(value, null, higher_is_better=True)
            low, high = _interval(maps[tier], target[tier], confidence)
            scores[name + suffix] = Score(
                value=value,
                n=len(target[tier]),
                chance=0.0,
                low=low,
                high=high,
                control=control.value if control else None,
                p_value=p_value,
                exchanged="rotations",
                unit="correlation",
                resampled="" if low is None else "subjects",
                verdict=_verdict(tier, what, value, p_value, len(null)),
            )
    return scores


def _interval(
    maps: Float[np.ndarray, "n_subjects n_channels"],
    planted: Map,
    confidence: float,
) -> tuple[float | None, float | None]:
    """Return Student's interval over subjects, by the jackknife of Fisher's z; nothing for too few subjects."""
    if len(maps) < MIN_SUBJECTS:
        return None, None
    others = [np.delete(maps, subject, axis=0).mean(axis=0) for subject in range(len(maps))]
    left_out = np.array([rank_correlation(other, planted) for other in others])
    return correlation_interval(rank_correlation(maps.mean(axis=0), planted), left_out, confidence)


def _verdict(tier: str, what: str, value: float, p_value: float, n_rotations: int) -> str:
    agrees = "agrees" if p_value < SIGNIFICANCE else "cannot be said to agree"
    shown = (
        f"What sets the map of the {tier} heads apart" if what else f"The map of the {tier} heads"
    )
    return (
        f"{shown} {agrees} with where the simulation put the {tier} sources "
        f"(rank correlation {value:.2f}; {p_value:.2g} of {n_rotations} rotations of the map about the "
        "head agree as well)."
    )


def matching_score(found: TierMaps, planted: Mapping[str, Map]) -> tuple[pd.DataFrame, Score]:
    """Tell whether each tier's map fits its own topography better than those of other tiers.

    Parameters
    ----------
    found : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps of subjects.

    Returns
    -------
    pandas.DataFrame
        Columns tier, topography, rank_correlation, of what sets each tier apart.
    Score
        Share of tiers whose own topography fits best.
    """
    tiers = [tier for tier in found if tier in planted]
    maps = contrasts({tier: found[tier].mean(axis=0) for tier in tiers})
    truths = contrasts({tier: planted[tier] for tier in tiers})
    rows = [(a, b, rank_correlation(maps[a], truths[b])) for a in tiers for b in tiers]
    table = pd.DataFrame(rows, columns=["tier", "topography", "rank_correlation"])
    best = table.loc[table.groupby("tier", sort=False)["rank_correlation"].idxmax()]
    n_own = int((best["tier"] == best["topography"]).sum())
    fits = [sum(map(str.__eq__, order, best["topography"])) for order in permutations(tiers)]
    p_value = float(np.mean(np.array(fits) >= n_own))
    return table, Score(
        value=n_own / len(tiers),
        n=len(tiers),
        chance=1 / len(tiers),
        p_value=p_value,
        exchanged="tiers",
        verdict=(
            f"{n_own} of {len(tiers)} tiers fit their own planted topography better than those of "
            f"the other tiers (p = {p_value:.2g}, over all orders of the tiers)."
        ),
    )


def agreement_scores(found: TierMaps, rotations: Rotations) -> dict[str, Score]:
    """Score how well the maps of different subjects agree, where there are several.

    Parameters
    ----------
    found : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps of subjects.
    rotations : Rotations
        Null hypothesis: the map of one of two subjects, turned about the head.
    """
    scores = {}
    for tier, maps in found.items():
        pairs = [rank_correlation(a, b) for a, b in combinations(maps, 2)]
        if pairs:
            turned = [rotations.correlations(a, b) for a, b in combinations(maps, 2)]
            value, null = float(np.mean(pairs)), np.mean(turned, axis=0)
            p_value = permutation_p_value(value, null, higher_is_better=True)
            stable = "stable" if p_value < SIGNIFICANCE else "not shown to be stable"
            scores[f"saliency_agreement_of_subjects_{tier}"] = Score(
                value=value,
                n=len(maps),
                chance=float(null.mean()),
                low=min(pairs),
                high=max(pairs),
                p_value=p_value,
                exchanged="rotations",
                resampled="range of the pairs",
                unit="correlation",
                verdict=(
                    f"The {tier} maps are {stable} across subjects: mean rank correlation of two, from "
                    f"{min(pairs):.2f} to {max(pairs):.2f}; maps turned about the head {null.mean():.2f}, "
                    f"p = {p_value:.2g}."
                ),
            )
    return scores


def control_scores(
    controls: Sequence[TierMaps], planted: Mapping[str, Map], name: str, made_by: str
) -> dict[str, Score]:
    """Score maps that should not show what was planted: the mean over several of them.

    Parameters
    ----------
    controls : Sequence[Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]]
        Tier to maps of subjects, of each run of the control.
    planted : Mapping[str, Float[np.ndarray, "n_channels"]]
        Tier to the truth; tiers without one have no score.
    name : str
        Of the control, the end of the names of the scores.
    made_by : str
        What makes the maps, for the verdict.
    """
    found: dict[str, list[float]] = {}
    for control in controls:
        for what, maps, target in _pairs(control, planted):
            for tier in target:
                value = rank_correlation(maps[tier].mean(axis=0), target[tier])
                found.setdefault(f"saliency{what}_topography_correlation_{tier}", []).append(value)
    return {
        f"{score}_{name}": _control_score(values, f"{made_by} correlate", "the planted topography")
        for score, values in found.items()
    }


def agreement_with_controls(
    found: TierMaps, controls: Sequence[TierMaps], name: str, made_by: str
) -> dict[str, Score]:
    """Score how like the maps are that say nothing of what was learnt: the less, the better.

    Parameters
    ----------
    found : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps of subjects.
    controls : Sequence[Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]]
        The maps of each run of the control.
    name : str
        Of the control, in the names of the scores.
    made_by : str
        What makes the maps, for the verdict.
    """
    scores = {}
    for tier, maps in found.items():
        others = [control[tier].mean(axis=0) for control in controls]
        alike = [rank_correlation(maps.mean(axis=0), other) for other in others]
        scores[f"saliency_agreement_with_{name}_{tier}"] = _control_score(
            alike, f"{made_by} correlate", "those of the trained one and its own EEG"
        )
    return scores


def _control_score(values: Sequence[float], subject: str, target: str) -> Score:
    mean = float(np.mean(values))
    return Score(
        value=mean,
        n=len(values),
        chance=0.0,
        low=min(values),
        high=max(values),
        resampled=RANGE,
        lower_is_better=True,
        unit="correlation",
        verdict=(
            f"{subject[0].upper()}{subject[1:]} {mean:.2f} with {target} (mean of {len(values)}, from "
            f"{min(values):.2f} to {max(values):.2f})."
        ),
    )


def _pairs(
    found: TierMaps, planted: Mapping[str, Map]
) -> list[tuple[str, Mapping[str, np.ndarray], Mapping[str, Map]]]:
    """Return maps and topographies of the tiers that have both: as they are, and as contrasts."""
    known = {tier: maps for tier, maps in found.items() if tier in planted}
    truth = {tier: planted[tier] for tier in known}
    return [("", known, truth), ("_contrast", contrasts(known), contrasts(truth))]
