"""What stands beside a finished run in the UI: its scores, its report, its pictures."""

import os
from pathlib import Path

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import Score, read_scores
from tasks.reporting.picture_grid import write_picture_grid
from tasks.runtime.workspace import FOLDER

FILES_URL = "PERCEPT_FILES_URL"
"""Where `make ui` serves the report and the pictures; unset where nothing does."""
PICTURES = FOLDER / "pictures"


def show_results(root: Path) -> None:
    """Publish what the run made, as far as it exists."""
    artifacts = Artifacts(root)
    if artifacts.evaluate_metrics.exists():
        rows = [_row(n, s) for n, s in read_scores(artifacts.evaluate_metrics).items()]
        create_table_artifact(key="scores", table=rows, description="Scores of this run")
    url = os.environ.get(FILES_URL)
    if url is None:
        return
    if artifacts.report_page.exists():
        create_link_artifact(
            key="report", link=f"{url}/reports/index.html", link_text="The report of this run"
        )
    if artifacts.renders.exists() and artifacts.render_images.exists():
        write_picture_grid(artifacts, root / PICTURES / "pictures.png")
        create_image_artifact(
            key="pictures",
            image_url=f"{url}/pictures/pictures.png",
            description="Shown, and rendered from decoded, true and shuffled captions",
        )


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
