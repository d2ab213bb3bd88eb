"""The picture grid shows trials drawn at random, always the same ones."""

from pathlib import Path

import pytest
from PIL import Image

from tasks.artifacts.catalogue import Artifacts
from tasks.reporting.picture_grid import (
    README_SEED,
    README_TRIALS,
    picture_grid,
    write_picture_grid,
)
from tasks.runtime.errors import PerceptError
from tests.reporting.fabricated import get, put
from tests.reporting.runs import load


def test_the_grid_is_a_picture_with_a_column_per_trial(artifacts: Artifacts) -> None:
    study = load(artifacts)
    widths = []
    for n_trials in (2, 4):
        picture_grid(study, Path(f"grids/{n_trials}.png"), n_trials=n_trials, seed=3)
        with Image.open(f"grids/{n_trials}.png") as grid:
            widths.append(grid.width)
    assert widths[1] > 1.5 * widths[0]


def test_the_grid_of_the_readme_is_the_same_for_the_same_study(artifacts: Artifacts) -> None:
    picture_grid(load(artifacts), Path("a.png"), n_trials=README_TRIALS, seed=README_SEED)
    write_picture_grid(artifacts, Path("docs/b.png"))
    assert Path("a.png").read_bytes() == Path("docs/b.png").read_bytes()


def test_a_missing_condition_leaves_its_place_empty(artifacts: Artifacts) -> None:
    rows = get(artifacts, "renders")
    put(artifacts, "renders", [r for r in rows if r["condition"] != "true_captions"])
    picture_grid(load(artifacts), Path("grid.png"), n_trials=2, seed=3)
    assert Path("grid.png").stat().st_size > 0


def test_no_pictures_no_grid(artifacts: Artifacts) -> None:
    put(artifacts, "renders", [])
    message = r"A picture grid needs rendered pictures; there are none\. Run `dvc repro render`\."
    with pytest.raises(PerceptError, match=message):
        picture_grid(load(artifacts), Path("grid.png"), n_trials=2, seed=3)
