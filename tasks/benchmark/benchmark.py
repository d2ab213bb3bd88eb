"""`percept benchmark`: every row of the field's tables that there is, and what would make the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.benchmark import CONTROLS
from tasks.benchmark.controls import control_root, is_retrained
from tasks.benchmark.literature import published
from tasks.benchmark.reconstruction import ANOTHER, columns_of, picture_scores
from tasks.benchmark.retrieval import GUESSING, chance, retrieval_scores
from tasks.benchmark.runs import Run
from tasks.benchmark.table import (
    LONG,
    MEAN,
    as_latex,
    as_markdown,
    picture_page,
    retrieval_pages,
    summarised,
)
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import write_text

REPORT = Path("reports/benchmark")
BEST_ON_TEST = "best on test"

Centres = Mapping[str, Float[np.ndarray, "dim"]]


def write_benchmark(
    study: str,
    runs: Sequence[Run],
    *,
    average_trials: bool = False,
    centres: Centres | None = None,
    report: Path = REPORT,
) -> list[Path]:
    """Score runs as published work is scored, and write the tables.

    Parameters
    ----------
    study : str
        ``things_eeg2`` or ``eegcvpr``.
    runs : Sequence[Run]
        Runs of one name that test the same subject are its seeds.
    average_trials, centres : bool, Mapping or None
        As of `retrieval_scores`.
    report : Path
        Without suffix.

    Returns
    -------
    list[Path]
        The Markdown, CSV and LaTeX files.

    Raises
    ------
    PerceptError
        If a run is named twice.
    """
    roots = [run.root.resolve() for run in runs]
    twice = sorted({str(root) for root in roots if roots.count(root) > 1})
    if twice:
        raise PerceptError(
            f"Every run must be named once; {twice[0]} is named twice. Leave one out."
        )
    retrieval, notes = _retrieval(study, runs, average_trials, centres)
    pictures, about_pictures = _pictures(study, runs)
    rows = pd.concat([_published(study), retrieval, pictures], ignore_index=True)
    pages = [*retrieval_pages(rows), *picture_page(rows, study)]
    about = [*_reading(average_trials), *dict.fromkeys(notes + about_pictures)]
    texts = {
        ".md": as_markdown(study, pages, about),
        ".csv": rows.to_csv(index=False, float_format="%.6g"),
        ".tex": as_latex(pages),
    }
    for suffix, text in texts.items():
        write_text(report.with_suffix(suffix), text)
    return [report.with_suffix(suffix) for suffix in texts]


def _retrieval(
    study: str,
    runs: Sequence[Run],
    average_trials: bool,
    centres: Centres | None,
) -> tuple[pd.DataFrame, list[str]]:
    found: list[pd.DataFrame] = []
    notes: list[str] = []

    def score(run: Run, kind: str, row: str) -> pd.DataFrame:
        scores, why = retrieval_scores(run, average_trials=average_trials, centres=centres)
        notes.extend(why)
        return scores.assign(table="retrieval", row=row, kind=kind) if len(scores) else scores

    for run in runs:
        found.append(score(run, "ours", run.name))
        for control, words in CONTROLS.items():
            if len(found[-1]) and not is_retrained(run, control):
                notes.append(
                    f"{run.name}, {words}: `percept benchmark {study} --run {run.root} --retrain {control}` "
                    "makes this row."
                )
    for run in runs:
        for control, words in CONTROLS.items():
            if is_retrained(run, control):
                other = replace(run, root=control_root(run, control))
                found.append(score(other, "control", f"{run.name}, {words}"))
    for run in runs:
        row = f"{run.name}, {BEST_ON_TEST}"
        if at_epochs := run.kept_epochs():
            selected = [score(one, "selection on the test set", row) for one in at_epochs]
            found.append(max(selected, key=_top_1))
            notes.append(
                f"{row}: the best of {len(selected)} epochs by top-1 on the test set itself. It is no estimate."
            )
        elif len(found[0]):
            notes.append(
                f"{row}: set train.keep_epochs to true and run `dvc repro` to make this row."
            )
    some = [scores for scores in found if len(scores)]
    if not some:
        return pd.DataFrame(columns=LONG), notes
    scores = pd.concat(some, ignore_index=True)
    guessed = pd.concat(
        [
            chance(of_protocol).assign(protocol=protocol)
            for protocol, of_protocol in scores.groupby("protocol")
        ]
    ).assign(table="retrieval", row="chance", kind="chance", subject=MEAN)
    return pd.concat([summarised(scores), guessed]).reindex(columns=LONG), notes


def _top_1(scores: pd.DataFrame) -> float:
    if scores.empty:
        return -1.0
    among = scores["gallery"].str.endswith("test pictures") & (scores["metric"] == "top-1")
    return float(scores.loc[among, "value"].mean())


def _pictures(study: str, runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    found, notes = [], []
    for run in runs:
        scores, why = picture_scores(run, study)
        notes += why
        if len(scores):
            ours = scores["row"] != ANOTHER
            kinds = np.where(scores["row"] == run.name, "ours", "control")
            found.append(
                scores.assign(table="pictures", gallery="", kind=np.where(ours, kinds, ANOTHER))
            )
    if not found:
        return pd.DataFrame(columns=LONG), notes
    rows = summarised(pd.concat(found, ignore_index=True))
    made = set(rows["metric"])
    guessed = [
        {"protocol": protocol, "metric": column.name, "value": column.chance}
        for protocol in rows["protocol"].unique()
        for column in columns_of(study)
        if column.chance is not None and column.name in made
    ]
    about = {"table": "pictures", "row": "chance", "kind": "chance", "subject": MEAN}
    return pd.concat([pd.DataFrame(guessed).assign(**about), rows]).reindex(columns=LONG), notes


def _published(study: str) -> pd.DataFrame:
    rows = published(study).rename(columns={"system": "row"})
    known = {column.name for column in columns_of(study)}
    rows["table"] = np.where(rows["metric"].isin(known), "pictures", "retrieval")
    return rows.assign(kind="published", gallery="").reindex(columns=LONG)


def _reading(average_trials: bool) -> list[str]:
    how = (
        "the predictions of a subject's trials of one picture, averaged"
        if average_trials
        else "every held-out trial (or average of trials that `preprocess.repetitions` makes) on its own"
    )
    return [
        "Avg and numbers of pictures: mean over subjects ± standard deviation over subjects; the CSV has each "
        "subject, the deviation over seeds, n, and the source of every published number.",
        f"Ours is scored on {how}. Published retrieval averages 80 repetitions of the EEG first.",
        f"Chance is exact; in parentheses, where the answers of {100 * GUESSING:.0f} % of guessing subjects lie.",
        f"{ANOTHER}: each shown picture beside a different one, as if that had been drawn. What scores no more "
        "shows nothing of the brain.",
    ]
