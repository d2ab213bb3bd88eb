"""Figures that stand outside the page, such as the picture grid of the README."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.pictures import open_rgb
from tasks.reporting.cards import CONDITIONS, TITLES, Picture, TrialCard, draw_sample
from tasks.reporting.study import Study, read_study
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path

INK, SOFT, GOOD, BAD = "#1d1c1a", "#5f5b55", "#1c6a44", "#a33b14"
DPI = 120
PANEL_INCH = 1.25
MARGINS = {
    "left": 0.085,
    "right": 0.995,
    "top": 0.995,
    "bottom": 0.11,
    "wspace": 0.06,
    "hspace": 0.2,
}
CAPTION_PLACE = -0.26
README_TRIALS = 8
README_SEED = 7


def write_picture_grid(artifacts: Artifacts, path: Path) -> None:
    """Draw the grid that the README shows, from the study in the catalogue.

    Parameters
    ----------
    artifacts : Artifacts
        Where the tables and pictures of the study lie.
    """
    study = read_study(artifacts.paths())
    picture_grid(study, path, n_trials=README_TRIALS, seed=README_SEED)


def picture_grid(study: Study, path: Path, *, n_trials: int, seed: int) -> None:
    """Draw trials side by side: what was shown above what each condition gives, and the caption found.

    The trials are drawn at random, whatever their scores; with the report's seed they are its first.

    Parameters
    ----------
    study : Study
        One run of the pipeline.

    Raises
    ------
    PerceptError
        If no picture was rendered.
    """
    cards = [card for card in draw_sample(study, n_trials, seed).cards if card.pictures]
    if not cards:
        raise PerceptError(
            "A picture grid needs rendered pictures; there are none. Run `dvc repro render`."
        )
    n_rows = 1 + len(CONDITIONS)
    figure = Figure((PANEL_INCH * len(cards) + 1.0, PANEL_INCH * 1.18 * n_rows + 0.6), dpi=DPI)
    axes = figure.subplots(n_rows, len(cards), squeeze=False, gridspec_kw=MARGINS)
    for column, card in enumerate(cards):
        _draw_card(list(axes[:, column]), card)
    _name_rows(list(axes[:, 0]))
    with atomic_path(path) as partial:
        figure.savefig(partial, facecolor="white", metadata={"Software": None})


def _name_rows(axes: Sequence[Axes]) -> None:
    """Write what each row shows to its left."""
    names = ["Shown", *(TITLES[condition].replace(" ", "\n") for condition in CONDITIONS)]
    style: dict[str, Any] = {"ha": "right", "color": INK, "fontsize": 9}
    for axis, name in zip(axes, names, strict=True):
        axis.text(-0.06, 0.5, name, transform=axis.transAxes, va="center", **style)
    axes[-1].text(
        -0.06, CAPTION_PLACE, "Decoded\ncaption", transform=axes[-1].transAxes, va="top", **style
    )


def _draw_card(axes: Sequence[Axes], card: TrialCard) -> None:
    """Draw one trial from top to bottom."""
    pictures = {picture.condition: picture for picture in card.pictures}
    _draw_picture(axes[0], card.stimulus)
    axes[0].set_xlabel(card.concept, fontsize=8, color=INK, fontweight="bold", labelpad=2)
    for axis, condition in zip(axes[1:], CONDITIONS, strict=True):
        picture = pictures.get(condition)
        _draw_picture(axis, picture.path if picture else None)
        if picture:
            _label(axis, picture)
    if card.nearest:
        axes[-1].text(
            0.5,
            CAPTION_PLACE,
            textwrap.fill(card.nearest[0].retrieved, 18),
            transform=axes[-1].transAxes,
            ha="center",
            va="top",
            fontsize=7.5,
            color=SOFT,
            style="italic",
        )


def _draw_picture(axis: Axes, path: Path | None) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    if path is not None:
        axis.imshow(open_rgb(path), interpolation="bilinear")


def _label(axis: Axes, picture: Picture) -> None:
    """Write what the judge sees under a picture: right and wrong differ by sign, not by colour alone."""
    if picture.verdict is None:
        return
    sign, colour = ("✓", GOOD) if picture.verdict.hit else ("✗", BAD)
    axis.set_xlabel(f"{sign} {picture.verdict.judged}", fontsize=8, color=colour, labelpad=2)
