"""Figures of what the encoder looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.scores.figures import GREY, MARKERS, PALETTE, STYLE, Maps, draw_series, save

HEAD_M = (0.0, 0.0, 0.0, 0.115)
"""Middle and radius of the drawn head: all but the lowest electrodes of a full cap lie within."""


def draw_scalp_maps(
    path: Path,
    maps: Maps,
    channels: Sequence[str],
    montage: str,
    n_columns: int | None = None,
    by_row: bool = False,
) -> None:
    """Draw scalp maps, one row per outer name and one column per inner name.

    Parameters
    ----------
    maps : Mapping[str, Mapping[str, Float[np.ndarray, "n_channels"]]]
        Row title to column title to a map.
    montage : str
        A standard montage of MNE.
    n_columns : int or None
        Break a single row after so many maps.
    by_row : bool
        Draw each map from 0 to the maximum of its row, so that the maps of a row can be compared, rather than to
        its own maximum.
    """
    info = _info(channels, montage)
    cells = [(row, column) for row, columns in maps.items() for column in columns]
    width = n_columns or max(len(columns) for columns in maps.values())
    height = -(-len(cells) // width)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.9 * width + 0.9, 2.0 * height + 0.25), layout="constrained")
        axes = np.atleast_1d(figure.subplots(height, width, squeeze=False)).ravel()
        for axis in axes[len(cells) :]:
            axis.set_axis_off()
        for index, (axis, (row, column)) in enumerate(zip(axes[: len(cells)], cells, strict=True)):
            scale = maps[row].values() if by_row else [maps[row][column]]
            _draw_scalp(axis, maps[row][column], info, max(float(np.max(own)) for own in scale))
            if n_columns or index < width:
                axis.set_title(column)
            if not n_columns and index % width == 0:
                axis.text(
                    -0.12, 0.5, row, rotation=90, ha="center", va="center", transform=axis.transAxes
                )
        bar = figure.colorbar(axes[0].images[0], ax=axes.tolist(), shrink=0.5, aspect=24, pad=0.02)
        bar.set_ticks([0, 0.5, 1], labels=["0", "½", "max"])
        bar.outline.set_visible(False)
        save(figure, path)


def _draw_scalp(
    axis: Axes, weights: Float[np.ndarray, " n_channels"], info: mne.Info, largest: float
) -> None:
    mne.viz.plot_topomap(
        weights / (largest or 1.0),
        info,
        axes=axis,
        show=False,
        cmap="viridis",
        vlim=(0, 1),
        contours=0,
        sensors="k.",
        sphere=HEAD_M,
        res=96,
    )
    for line in axis.lines:
        line.set_markersize(1.5)
        line.set_linewidth(1.0)


def _info(channels: Sequence[str], montage: str) -> mne.Info:
    info = mne.create_info(list(channels), 100.0, "eeg", verbose="ERROR")
    return info.set_montage(mne.channels.make_standard_montage(montage), verbose="ERROR")


@dataclass(frozen=True)
class Plane:
    """Labelled points in a plane.

    Attributes
    ----------
    title : str
        Of the panel.
    points : pandas.DataFrame
        Columns x and y.
    labels : Sequence[str]
        One per point.
    looks : Mapping[str, tuple[int, int]]
        Label to a colour and a marker, by number; labels without one are grey.
    """

    title: str
    points: pd.DataFrame
    labels: Sequence[str]
    looks: Mapping[str, tuple[int, int]]


def draw_planes(path: Path, planes: Sequence[Plane]) -> None:
    """Draw labelled points, a panel with a legend for each plane.

    Parameters
    ----------
    planes : Sequence[Plane]
        Panels, from left to right.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(planes), 4.2), layout="constrained")
        axes = figure.subplots(1, len(planes), squeeze=False).ravel()
        for axis, plane in zip(axes, planes, strict=True):
            _draw_plane(axis, plane)
        save(figure, path)


def _draw_plane(axis: Axes, plane: Plane) -> None:
    labels = np.asarray(plane.labels)
    x, y = plane.points["x"].to_numpy(), plane.points["y"].to_numpy()
    rest = ~np.isin(labels, list(plane.looks))
    if rest.any():
        axis.scatter(x[rest], y[rest], s=7, c=GREY, linewidths=0, label="others")
    for name, (colour, marker) in plane.looks.items():
        chosen = labels == name
        axis.scatter(
            x[chosen],
            y[chosen],
            s=16,
            c=PALETTE[colour % len(PALETTE)],
            marker=MARKERS[marker % len(MARKERS)],
            alpha=0.8,
            linewidths=0,
            label=name,
        )
    axis.set_title(plane.title, loc="left")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6, handletextpad=0.2)


def draw_region_shares(path: Path, shares: pd.DataFrame) -> None:
    """Draw each region's share of each tier's saliency as bars, and the planted share as a stroke.

    Parameters
    ----------
    shares : pandas.DataFrame
        From `tasks.explanation.tier_maps.region_table`.
    """
    regions, tiers = list(dict.fromkeys(shares["region"])), list(dict.fromkeys(shares["tier"]))
    thickness = 0.8 / len(tiers)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.8 + 0.55 * len(regions)), layout="constrained")
        axis = figure.subplots()
        for index, tier in enumerate(tiers):
            own = shares[shares["tier"] == tier].set_index("region").reindex(regions)
            places = np.arange(len(regions)) + (index - (len(tiers) - 1) / 2) * thickness
            axis.barh(places, own["share"], thickness * 0.9, color=PALETTE[index], label=tier)
            known = own["planted_share"].notna().to_numpy()
            if known.any():
                planted = own["planted_share"].to_numpy(float)[known]
                label = "planted" if index == len(tiers) - 1 else None
                axis.plot(planted, places[known], "|", c="black", ms=11, mew=1.6, label=label)
        axis.set_yticks(range(len(regions)), labels=regions)
        axis.invert_yaxis()
        axis.set_xlabel("share of the tier's saliency, per electrode")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        save(figure, path)


def draw_courses(path: Path, curves: pd.DataFrame, x_label: str, y_label: str) -> None:
    """Draw the curves of each tier in a panel of its own.

    Parameters
    ----------
    curves : pandas.DataFrame
        Columns tier, series, x, value and, where known, low and high.
    """
    tiers = list(dict.fromkeys(curves["tier"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(tiers), 3.2), layout="constrained")
        axes = figure.subplots(1, len(tiers), sharey=True, squeeze=False)[0]
        for axis, tier in zip(axes, tiers, strict=True):
            own = curves[curves["tier"] == tier]
            for place, (series, rows) in enumerate(own.groupby("series", sort=False)):
                draw_series(axis, str(series), rows, place % len(PALETTE))
            axis.set_title(tier)
            axis.set_xlabel(x_label)
            axis.legend(fontsize="small")
        axes[0].set_ylabel(y_label)
        axes[0].set_ylim(0, None)
        save(figure, path)
