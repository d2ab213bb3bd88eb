"""The rows of all tables, and how they are written: Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.benchmark.reconstruction import columns_of
from tasks.benchmark.retrieval import KS

MEAN = "mean"
"""Stands for the subject where a row is about the mean over subjects."""
KEYS = ["table", "row", "kind", "protocol", "gallery"]
LONG = [
    *KEYS,
    "subject",
    "metric",
    "value",
    "sd_subjects",
    "sd_seeds",
    "low",
    "high",
    "n",
    "source",
]
"""Columns of the CSV; sd: standard deviation over subjects, and over seeds of the mean over subjects."""
KINDS = (
    "published",
    "chance",
    "another test picture",
    "control",
    "ours",
    "selection on the test set",
)
"""In the order of the rows."""
PROTOCOLS = {
    "intra": "within subjects: trained on the tested subject",
    "inter": "between subjects: trained on others",
}


@dataclass(frozen=True)
class Page:
    """One table as it is read.

    Attributes
    ----------
    title : str
        Above it.
    cells : pandas.DataFrame
        Text, the first column being the row's name.
    """

    title: str
    cells: pd.DataFrame


def summarised(scores: pd.DataFrame) -> pd.DataFrame:
    """Return each subject's mean over seeds, and the mean over subjects.

    Parameters
    ----------
    scores : pandas.DataFrame
        One row per run, subject and metric: `KEYS`, subject, metric, value, n. Runs that test the same subject
        under the same keys are its seeds, in their order.

    Returns
    -------
    pandas.DataFrame
        Columns `LONG`.
    """
    keys = [*KEYS, "metric"]
    scores = scores.fillna({"gallery": ""})
    scores = scores.assign(seed=scores.groupby([*keys, "subject"]).cumcount())
    found = []
    for names, some in scores.groupby(keys, sort=False):
        about = dict(zip(keys, map(str, names), strict=True))
        of_subject = some.groupby("subject").agg(value=("value", "mean"), n=("n", "sum"))
        rows = of_subject.reset_index().assign(
            sd_seeds=some.groupby("subject")["value"].std().to_numpy()
        )
        of_seed = some.pivot_table(index="seed", columns="subject", values="value").dropna()
        mean = {
            "subject": MEAN,
            "value": of_subject["value"].mean(),
            "n": of_subject["n"].sum(),
            "sd_subjects": of_subject["value"].std(),
            "sd_seeds": of_seed.mean(axis=1).std(),
        }
        found.append(pd.concat([rows, pd.DataFrame([mean])]).assign(**about))
    return pd.concat(found, ignore_index=True).reindex(columns=LONG)


def retrieval_pages(rows: pd.DataFrame) -> list[Page]:
    """Return one page per protocol: top-1 and top-5 of each subject, and their mean."""
    pages = []
    for protocol, words in PROTOCOLS.items():
        some = rows[(rows["table"] == "retrieval") & (rows["protocol"] == protocol)]
        some = some[some["metric"].isin([f"top-{k}" for k in KS])]
        subjects = sorted(set(some["subject"]) - {MEAN})
        cells = [
            {"Method": row, "Gallery": gallery or "–"}
            | {s: _pair(own[own["subject"] == s]) for s in subjects}
            | {"Avg": _pair(own[own["subject"] == MEAN])}
            for (row, gallery), own in _in_order(some, ["row", "gallery"])
        ]
        if cells:
            title = f"Retrieval {words}; top-1 / top-5, %"
            pages.append(Page(title, pd.DataFrame(cells)))
    return pages


def picture_page(rows: pd.DataFrame, study: str) -> list[Page]:
    """Return the page of the pictures, if there is a row: published columns that have a number."""
    some = rows[rows["table"] == "pictures"]
    columns = [c for c in columns_of(study) if c.name in set(some["metric"])]
    cells = []
    for (row, protocol), whole in _in_order(some, ["row", "protocol"]):
        subjects = sorted(set(whole["subject"]))
        ours = MEAN in subjects and set(whole["kind"]) != {"published"}
        for subject in [MEAN] if ours else subjects:
            own = whole[whole["subject"] == subject].set_index("metric")
            where = "" if subject == MEAN else f" ({subject})"
            words = {
                f"{c.name}{'↓' if c.lower_is_better else '↑'}": _number(own, c.name)
                for c in columns
            }
            cells.append({"Method": f"{row}{where}", "Protocol": protocol or "–"} | words)
    return [Page("Pictures", pd.DataFrame(cells))] if cells else []


def _in_order(rows: pd.DataFrame, keys: Sequence[str]):  # type: ignore[no-untyped-def]
    places = rows["kind"].map({kind: place for place, kind in enumerate(KINDS)})
    ordered = rows.assign(place=places).sort_values("place", kind="stable")
    return ordered.groupby(list(keys), sort=False)


def _pair(rows: pd.DataFrame) -> str:
    own = rows.set_index("metric")
    return " / ".join(_number(own, f"top-{k}", 1) for k in KS) if len(own) else "–"


def _number(own: pd.DataFrame, metric: str, digits: int = 3) -> str:
    """Return a value with what is known of its spread, a dash where there is none."""
    if metric not in own.index:
        return "–"
    row = own.loc[metric]
    text = f"{row['value']:.{digits}f}"
    if np.isfinite(row["sd_subjects"]):
        text += f" ± {row['sd_subjects']:.{digits}f}"
    if np.isfinite(row["low"]):
        text += f" ({row['low']:.{digits}f} to {row['high']:.{digits}f})"
    return text


def as_markdown(study: str, pages: Sequence[Page], about: Sequence[str]) -> str:
    """Return all tables and what must be known to read them."""
    lines = [f"# Benchmark: {study}", ""]
    for page in pages:
        lines += [f"## {page.title}", ""]
        rows = [list(page.cells.columns), ["---"] * page.cells.shape[1], *page.cells.to_numpy()]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join([*lines, *(f"- {sentence}" for sentence in about)]) + "\n"


def as_latex(pages: Sequence[Page]) -> str:
    """Return the tables as LaTeX, with the rules of the package booktabs."""
    text = "\n".join(
        f"% {page.title}\n{page.cells.to_latex(index=False, escape=True)}" for page in pages
    )
    for sign, command in (
        ("↑", r"$\uparrow$"),
        ("↓", r"$\downarrow$"),
        ("±", r"$\pm$"),
        ("–", "--"),
    ):
        text = text.replace(sign, command)
    return text
