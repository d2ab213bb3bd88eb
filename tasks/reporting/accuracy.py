"""The accuracy of naming, as researchers look at it: by subject, by repetitions, over time."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from tasks.artifacts.metrics import Score
from tasks.reporting.charts import Chart, curve_chart
from tasks.reporting.glossary import Meaning
from tasks.reporting.score_rows import ScoreRow, score_row
from tasks.reporting.study import Scores, Study
from tasks.reporting.summary import RETRIEVAL


def subject_rows(study: Study) -> list[ScoreRow]:
    """Return the share of trials that are named right of each subject, and of all of them last.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    subjects = "|".join(re.escape(name) for name in sorted(study.trials["subject"].unique()))
    names = [
        name for name in study.evaluate if re.fullmatch(rf"{RETRIEVAL}(?:_(?:{subjects}))?", name)
    ]
    whole = [name for name in names if re.fullmatch(RETRIEVAL, name)]
    return [
        _of_subject(name, study.evaluate[name])
        for name in [*sorted(set(names) - set(whole)), *whole]
    ]


def _of_subject(name: str, score: Score) -> ScoreRow:
    """Return a row that is called as its subject is: the table says what it counts."""
    subject = re.sub(f"{RETRIEVAL}_?", "", name)
    row = score_row(name, score.model_copy(update={"verdict": ""}))
    return replace(row, meaning=Meaning("retrieval", subject or "all subjects", ""))


def accuracy_charts(study: Study) -> list[Chart]:
    """Return accuracy against presentations and over time, as far as the audit has measured them.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    folder, controls = study.plots.audit, study.audit
    found = [
        curve_chart(
            folder / "repetitions.csv",
            "Share of pictures named right, by how many presentations are averaged",
            "presentations averaged",
            _chance(controls, "repetitions"),
        ),
        curve_chart(
            folder / "decoding_over_time.csv",
            "Share of trials named right by a small decoder that sees a short window alone, by the window's middle",
            "s after picture onset",
            _chance(controls, "high_pass"),
        ),
    ]
    return [chart for chart in found if chart is not None]


def confidences(folder: Path) -> dict[str, float]:
    """Return how sure the encoder is of each trial, by its id; empty where that was not measured.

    Parameters
    ----------
    folder : Path
        Plots of `evaluate`.
    """
    path = folder / "confidence.csv"
    if not path.exists():
        return {}
    table = pd.read_csv(path)
    return dict(zip(table["trial_id"], table["confidence"].astype(float), strict=True))


def _chance(scores: Scores, name: str) -> dict[str, float]:
    """Return the height of chance in a chart, where it is known."""
    chance = scores[name].chance if name in scores else None
    return {} if chance is None else {"chance": chance}
