"""The figures of the stage `explain`, and the tables behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from tasks.explanation.figures import (
    Plane,
    draw_courses,
    draw_planes,
    draw_region_shares,
    draw_scalp_maps,
)
from tasks.explanation.maps import MapParams, Maps
from tasks.explanation.scalp import Map, regions_of
from tasks.explanation.separation import Separation
from tasks.explanation.tier_maps import mean_maps, mean_maps_of_kinds, region_table
from tasks.explanation.tier_scores import matching_score
from tasks.language.prompts import TIER_OF
from tasks.scores.figures import draw_curve, write_csv

N_NAMED_CONCEPTS = 8
"""Concepts with a colour of their own in the t-SNE; more cannot be told apart."""


def draw_maps(folder: Path, maps: Maps, channels: Sequence[str], params: MapParams) -> None:
    """Draw the scalp maps of tiers and kinds, and write what regions and topographies they fit.

    Parameters
    ----------
    maps : Maps
        From `make_maps`.
    params : MapParams
        Montage, and the name of the attribution.
    """
    found = mean_maps(maps.found)
    rows = {
        "planted": {tier: maps.planted[tier] for tier in found if tier in maps.planted},
        f"found: {params.attribution.replace('_', ' ')}": found,
        "plain gradient": mean_maps(maps.gradient),
        "integrated gradients": mean_maps(maps.integrated),
    }
    by_tier = {row: columns for row, columns in rows.items() if len(columns) == len(found)}
    draw = partial(draw_scalp_maps, channels=channels, montage=params.montage)
    draw(folder / "scalp_maps_by_tier.png", by_tier)
    draw(folder / "scalp_maps_by_kind.png", {"": mean_maps_of_kinds(maps.weights)}, n_columns=5)

    regions = map_regions(maps, channels, params)
    draw_region_shares(folder / "saliency_by_region.png", regions)
    write_csv(regions, folder / "saliency_by_region.csv")
    if maps.planted:
        write_csv(
            matching_score(maps.found, maps.planted)[0], folder / "saliency_by_topography.csv"
        )


def draw_maps_over_time(
    folder: Path,
    maps: Mapping[str, Mapping[str, Map]],
    channels: Sequence[str],
    montage: str,
) -> None:
    """Draw where and when the evidence of each tier is, and write the maps.

    Parameters
    ----------
    maps : Mapping[str, Mapping[str, Float[np.ndarray, "n_channels"]]]
        From `tasks.explanation.occlusion.maps_over_time`.
    """
    draw_scalp_maps(folder / "scalp_maps_over_time.png", maps, channels, montage, by_row=True)
    rows = [
        (tier, window, channel, weight)
        for tier, windows in maps.items()
        for window, weights in windows.items()
        for channel, weight in zip(channels, weights, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["tier", "window", "channel", "weight"])
    write_csv(table, folder / "scalp_maps_over_time.csv")


def map_regions(maps: Maps, channels: Sequence[str], params: MapParams) -> pd.DataFrame:
    """Return the share of each region in each tier's map, with its interval over subjects."""
    return region_table(
        maps.found,
        maps.planted,
        regions_of(channels, params.montage),
        params.confidence,
    )


def draw_second_opinions(
    folder: Path,
    drops: pd.DataFrame,
    courses: tuple[pd.DataFrame, pd.DataFrame],
    winners: pd.DataFrame,
) -> None:
    """Draw what occlusion costs, when evidence comes, and which head wins; write the tables.

    Parameters
    ----------
    drops : pandas.DataFrame
        What taking regions away costs, from `tasks.explanation.occlusion`.
    courses : tuple[pandas.DataFrame, pandas.DataFrame]
        Time courses of tiers and of heads, from the same.
    winners : pandas.DataFrame
        Which head wins, from the same.
    """
    course, of_heads = courses
    write_csv(drops, folder / "occlusion_by_region.csv")
    draw_curve(
        folder / "saliency_over_time.png", course, "s after picture onset", "share of the maximum"
    )
    write_csv(course, folder / "saliency_over_time.csv")
    draw_courses(
        folder / "saliency_over_time_by_head.png",
        of_heads,
        "s after picture onset",
        "share of the maximum",
    )
    write_csv(of_heads, folder / "saliency_over_time_by_head.csv")
    write_csv(winners, folder / "dominance_of_heads.csv")


def draw_separation(folder: Path, separation: Separation) -> None:
    """Draw the t-SNE of heads and of concepts, and write its points and the overlap of heads.

    Parameters
    ----------
    separation : Separation
        From `separate`.
    """
    heads, concepts = separation.heads, separation.concepts
    tiers = list(dict.fromkeys(TIER_OF.values()))
    kinds = [kind for kind in TIER_OF if kind in set(heads["kind"])]
    looks = {kind: (tiers.index(TIER_OF[kind]), number) for number, kind in enumerate(kinds)}
    commonest = sorted(concepts["concept"].value_counts().index[:N_NAMED_CONCEPTS])
    planes = [
        Plane("All heads, by kind; colours are tiers", heads, heads["kind"].tolist(), looks),
        Plane(
            "Object head, by concept",
            concepts,
            concepts["concept"].tolist(),
            {concept: (number, number) for number, concept in enumerate(commonest)},
        ),
    ]
    draw_planes(folder / "tsne_of_heads.png", planes)
    write_csv(heads, folder / "tsne_of_heads.csv")
    write_csv(concepts, folder / "tsne_of_concepts.csv")
    write_csv(separation.overlap, folder / "head_overlap.csv")
