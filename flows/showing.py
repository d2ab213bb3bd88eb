"""What stands beside a finished run in the UI: its scores, and its report and pictures, which are kept."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.workspace import parents, settled_stages
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import Score, read_scores
from tasks.reporting.picture_grid import write_picture_grid
from tasks.reporting.summary import PICTURES, RETRIEVAL, UNTRAINED
from tasks.runtime.files import link_or_copy
from tasks.runtime.workspace import FOLDER

FILES_URL = "PERCEPT_FILES_URL"
"""Where `make ui` serves the reports and the pictures; unset where nothing does."""
RUNS = FOLDER / "runs"
"""A folder per run, with its report and its pictures."""
SHOWN = {"evaluate": "scores", "report": "report and pictures"}
"""What is shown of a run that brings a stage up to date."""


def show_results(root: Path, chosen: Collection[str]) -> None:
    """Publish what a run brought up to date: nothing that lies there from before, nothing that is stale.

    Parameters
    ----------
    chosen
        The stages of the run.
    """
    wanted = set(chosen) & set(SHOWN)
    shown = wanted and wanted & settled_stages(list(parents()))
    for stage in sorted(wanted - shown):
        get_run_logger().warning(
            "The %s of %s are not shown: DVC does not find %s and all that it rests on up to date.",
            SHOWN[stage], stage, stage,
        )  # fmt: skip
    artifacts = Artifacts(root)
    if "evaluate" in shown:
        scores = read_scores(artifacts.evaluate_metrics)
        rows = [_row(name, scores[name]) for name in sorted(scores, key=_place)]
        create_table_artifact(key="scores", table=rows, description="Scores of this run")
    if "report" in shown and FILES_URL in os.environ:
        _show_report(artifacts, root / RUNS / str(flow_run.id))


def _show_report(artifacts: Artifacts, folder: Path) -> None:
    """Keep the report and the pictures of this run, and link to them."""
    url = f"{os.environ[FILES_URL]}/runs/{folder.name}"
    link_or_copy(artifacts.report_page, folder / "index.html")
    create_link_artifact(key="report", link=f"{url}/index.html", link_text="The report of this run")
    if artifacts.renders.exists() and artifacts.render_images.exists():
        write_picture_grid(artifacts, folder / "pictures.png")
        create_image_artifact(
            key="pictures",
            image_url=f"{url}/pictures.png",
            description="Shown, and rendered from decoded, true and shuffled captions",
        )


def _place(name: str) -> tuple[int, str]:
    """Return where a score stands in the table: those that open the report first."""
    first = (RETRIEVAL, PICTURES, UNTRAINED)
    return next((k for k, p in enumerate(first) if re.fullmatch(p, name)), len(first)), name


def _row(name: str, score: Score) -> dict[str, object]:
    """Return a score as a row of the table, rounded for reading."""
    numbers = {
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "chance": score.chance,
        "ceiling": score.ceiling,
        "shuffled EEG": score.control,
    }
    rounded = {key: None if v is None else round(v, 3) for key, v in numbers.items()}
    return {"score": name, **rounded, "n": score.n}
