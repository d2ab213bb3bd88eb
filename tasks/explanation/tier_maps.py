"""Scalp maps of semantic tiers: of their heads, and as a simulation planted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.explanation.saliency import ChannelWeights
from tasks.explanation.scalp import REGIONS, Map, region_shares
from tasks.runtime.errors import PerceptError
from tasks.statistics.resampling import MIN_SUBJECTS, jackknife_variance, student

TierMaps = Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
"""Tier to the map of each subject."""


def tier_maps(weights: ChannelWeights, tiers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Average the maps of a tier's heads, for each subject.

    Parameters
    ----------
    weights : Mapping[tuple[str, str], Float[np.ndarray, "n_channels"]]
        Subject and caption kind to channel weights.
    tiers : Mapping[str, str]
        Caption kind to its tier.

    Returns
    -------
    dict[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps, subjects in the order of their names.
    """
    subjects = sorted({subject for subject, _ in weights})
    kinds = list(dict.fromkeys(kind for _, kind in weights))
    return {
        tier: np.array(
            [
                np.mean([weights[subject, kind] for kind in kinds if tiers[kind] == tier], axis=0)
                for subject in subjects
            ]
        )
        for tier in dict.fromkeys(tiers[kind] for kind in kinds)
    }


def mean_maps(maps: TierMaps) -> dict[str, Map]:
    """Return the mean over subjects of each tier's maps."""
    return {tier: weights.mean(axis=0) for tier, weights in maps.items()}


def mean_maps_of_kinds(weights: ChannelWeights) -> dict[str, Map]:
    """Return the mean over subjects of each kind's map."""
    kinds = dict.fromkeys(kind for _, kind in weights)
    return {
        kind: np.mean([value for (_, of), value in weights.items() if of == kind], axis=0)
        for kind in kinds
    }


def planted_maps(topographies: pd.DataFrame, channels: Sequence[str]) -> dict[str, Map]:
    """Return the planted topography of each tier: the strongest of its factors at each channel.

    Parameters
    ----------
    topographies : pandas.DataFrame
        Columns factor, channel, tier, weight; no rows where the truth is unknown.
    channels : Sequence[str]
        Wanted channels, in order.

    Raises
    ------
    PerceptError
        If a topography lacks a channel.
    """
    planted = {}
    for tier, rows in topographies.groupby("tier"):
        weights = rows.groupby("channel")["weight"].max()
        missing = [name for name in channels if name not in weights.index]
        if missing:
            raise PerceptError(
                f"Topographies must hold every channel of the epochs; the tier {tier!r} lacks "
                f"{len(missing)}, {missing[0]!r} first. Run `dvc repro ingest`."
            )
        planted[str(tier)] = weights.reindex(list(channels)).to_numpy(np.float64)
    return planted


def contrasts(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what sets the map of each tier apart from those of the other tiers.

    Captions of one tier also speak of the things of another ("a dog left of a tree"), and so heads of
    different tiers rightly share sources. What is left of a map, scaled to sum 1, after the mean of the
    other tiers' maps is taken off shows what is the tier's own.
    """
    scaled = {
        tier: weights / np.maximum(weights.sum(axis=-1, keepdims=True), np.finfo(float).tiny)
        for tier, weights in maps.items()
    }
    return {
        tier: weights - np.mean([scaled[o] for o in scaled if o != tier] or [0 * weights], axis=0)
        for tier, weights in scaled.items()
    }


def region_table(
    found: TierMaps,
    planted: Mapping[str, Map],
    regions: Sequence[str],
    confidence: float,
) -> pd.DataFrame:
    """Return the share of each region in each tier's map.

    Parameters
    ----------
    found : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Tier to maps of subjects.
    planted : Mapping[str, Float[np.ndarray, "n_channels"]]
        Tier to the truth; may lack tiers.
    confidence : float
        Of Student's interval over subjects, empty where there are fewer than two.

    Returns
    -------
    pandas.DataFrame
        Columns tier, region, n_channels, share, low, high (the interval over subjects), lowest_subject,
        highest_subject, planted_share (empty where unknown). Shares are of mean weights per channel, so that large regions have no advantage.
    """
    rows = []
    for tier, maps in found.items():
        reach = _reach_of_shares(maps, regions, confidence)
        mean = region_shares(maps.mean(axis=0), regions)
        each = [region_shares(weights, regions) for weights in maps]
        truth = region_shares(planted[tier], regions) if tier in planted else {}
        rows += [
            {
                "tier": tier,
                "region": region,
                "n_channels": list(regions).count(region),
                "share": mean[region],
                "low": float(np.clip(mean[region] - reach[region], 0, 1)),
                "high": float(np.clip(mean[region] + reach[region], 0, 1)),
                "lowest_subject": min(shares[region] for shares in each),
                "highest_subject": max(shares[region] for shares in each),
                "planted_share": truth.get(region),
            }
            for region in REGIONS
            if region in mean
        ]
    return pd.DataFrame(rows)


def _reach_of_shares(
    maps: Float[np.ndarray, "n_subjects n_channels"], regions: Sequence[str], confidence: float
) -> Mapping[str, float]:
    """Return half of Student's interval over subjects of each region's share, by the jackknife."""
    if len(maps) < MIN_SUBJECTS:
        return dict.fromkeys(regions, np.nan)
    left_out = pd.DataFrame(
        [region_shares(np.delete(maps, s, axis=0).mean(axis=0), regions) for s in range(len(maps))]
    )
    return {
        str(region): student(confidence, len(maps)) * np.sqrt(jackknife_variance(shares.to_numpy()))
        for region, shares in left_out.items()
    }
