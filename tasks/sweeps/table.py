"""The answers of all cells as one table: CSV for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.statistics.resampling import Resampling
from tasks.sweeps.cells import read_result
from tasks.sweeps.plan import Cell, Sweep

N_RESAMPLES = 1000
CONFIDENCE = 0.95
QUESTIONS = {"stimulus": "stimulus", "picture": "picture", "zero_shot": "zero-shot"}
CURVE = ("n_epochs", "lowest_loss_epoch")


def long_table(cells: Sequence[Cell], default: str) -> pd.DataFrame:
    """Return one row per arm and question, over folds and seeds, of all cells that are done.

    Columns: study, protocol, arm, question, subject (``all`` or one), n_seeds, n_seeds_wanted, value,
    low and high (bootstrap of stimuli, of the mean over seeds), seeds_sd, chance, oracle, share_of_oracle,
    share_low, share_high, difference, difference_low and difference_high (to the default, on the trials of
    both), n_trials, n_parameters; of a cell, on average, training_s, n_steps, best_epoch, n_epochs and
    lowest_loss_epoch (of the validation loss); code.

    Parameters
    ----------
    default : str
        The arm that the others are compared with, trial by trial.
    """
    answers, costs = _read(cells)
    if answers.empty:
        return pd.DataFrame()
    wanted = pd.DataFrame(
        {"study": c.study, "protocol": c.protocol, "arm": c.arm, "seed": c.seed} for c in cells
    )
    n_wanted = wanted.groupby(["study", "protocol", "arm"])["seed"].nunique()
    rows = []
    groups: Any = answers.groupby(["study", "protocol", "arm", "question"], sort=False)
    for key, group in groups:
        everybody = [("all", group), *group.groupby("subject")] if key[3] == "concept" else []
        of_default = (key[0], key[1], default, key[3])
        other = groups.get_group(of_default) if of_default in groups.groups else None
        for subject, some in everybody or [("all", group)]:
            row = dict(zip(("study", "protocol", "arm", "question"), key, strict=True))
            row |= {"subject": subject, "n_seeds_wanted": int(n_wanted[key[:3]])}
            row |= _summary(some)
            if other is not None and key[2] != default and subject == "all":
                row |= _difference(some, other)
            rows.append(row)
    table = pd.DataFrame(rows)
    return table.merge(costs, on=["study", "protocol", "arm"])


def _read(cells: Sequence[Cell]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all answers, one row per trial, question and training; and what each arm cost."""
    answers, costs = [], []
    for cell in cells:
        if (result := read_result(cell)) is None:
            continue
        key = {"study": cell.study, "protocol": cell.protocol, "arm": cell.arm}
        paid = {name: result[name] for name in ("n_parameters", "training_s", "best_epoch", "code")}
        costs.append(key | paid | _curve(result))
        for question, columns in result["answers"].items():
            given = {name: values for name, values in columns.items() if values is not None}
            answers.append(pd.DataFrame(given).assign(**key, question=question, seed=cell.seed))
    if not answers:
        return pd.DataFrame(), pd.DataFrame()
    by_arm = pd.DataFrame(costs).groupby(["study", "protocol", "arm"], as_index=False)
    means = dict.fromkeys(("training_s", "n_steps", "best_epoch", *CURVE), "mean")
    cost = by_arm.agg({"n_parameters": "max", "code": _one_of, **means})
    return pd.concat(answers, ignore_index=True), cost


def _curve(result: dict[str, Any]) -> dict[str, float]:
    """Return how long a training was, and where its validation loss was lowest; 0 where nothing is trained."""
    epochs, losses = len(result["log"]) - 1, [r.get("validation_loss", 0.0) for r in result["log"]]
    n_steps = epochs * (result["n_training_trials"] // result["train"]["batch_size"])
    lowest = float(np.argmin(losses))
    return {"n_steps": n_steps, "n_epochs": epochs, "lowest_loss_epoch": lowest}


def _one_of(codes: pd.Series[str]) -> str:
    """Return the code that all cells ran, or say that they differ."""
    found = sorted(set(codes))
    return found[0][:8] if len(found) == 1 else "several"


def _summary(answers: pd.DataFrame) -> dict[str, Any]:
    """Return the mean over seeds with an interval over stimuli, and how far seeds lie apart."""
    by_seed = answers.groupby("seed")["correct"].mean()
    trials = answers.groupby("trial_id", as_index=False).agg(
        {"correct": "mean", "stimulus_id": "first", "chance": "mean", **_oracle_column(answers)}
    )
    resampling = _over_stimuli(trials["stimulus_id"])
    estimate = resampling.estimate(trials["correct"].to_numpy())
    row: dict[str, Any] = {
        "n_seeds": len(by_seed),
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "seeds_sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else np.nan,
        "chance": float(trials["chance"].mean()),
        "n_trials": len(trials),
    }
    if "oracle" in trials:
        row |= _share(trials, resampling)
    return row


def _difference(answers: pd.DataFrame, default: pd.DataFrame) -> dict[str, float]:
    """Return how much more is right than with the default, on the trials of both, with an interval."""
    right = answers.groupby("trial_id").agg({"correct": "mean", "stimulus_id": "first"})
    of_default = default.groupby("trial_id")["correct"].mean().rename("default")
    both = right.join(of_default, how="inner")
    more = (both["correct"] - both["default"]).to_numpy()
    estimate = _over_stimuli(both["stimulus_id"]).estimate(more)
    names = ("difference", "difference_low", "difference_high")
    return dict(zip(names, (estimate.value, estimate.low, estimate.high), strict=True))


def _over_stimuli(stimulus_ids: pd.Series[str]) -> Resampling:
    stimuli, own = np.unique(stimulus_ids, return_inverse=True)
    return Resampling.draw(
        own, len(stimuli), n_resamples=N_RESAMPLES, n_permutations=1, confidence=CONFIDENCE, seed=0
    )


def _oracle_column(answers: pd.DataFrame) -> dict[str, str]:
    known = "oracle" in answers and bool(answers["oracle"].notna().all())
    return {"oracle": "first"} if known else {}


def _share(trials: pd.DataFrame, resampling: Resampling) -> dict[str, float]:
    """Return the oracle's accuracy and the share of it, both resampled together."""
    oracle = trials["oracle"].to_numpy(np.float64)
    correct = trials["correct"].to_numpy()
    named = resampling.weights @ oracle
    ratios = (resampling.weights @ correct)[named > 0] / named[named > 0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return {
        "oracle": float(oracle.mean()),
        "share_of_oracle": float(correct.mean() / oracle.mean()),
        "share_low": float(low),
        "share_high": float(high),
    }


def as_markdown(sweep: Sweep, table: pd.DataFrame, n_done: int, n_cells: int) -> str:
    """Return the table as a page.

    Parameters
    ----------
    table : pandas.DataFrame
        As `long_table` returns it.
    n_done, n_cells : int
        Cells that are done, and all.
    """
    lines = [f"# {sweep.title}", "", sweep.notes.strip(), ""]
    if n_done < n_cells:
        lines += [f"**{n_done} of {n_cells} trainings are done; the rest is missing here.**", ""]
    lines += [
        "Mean over seeds; in brackets the 95 % bootstrap interval over stimuli; ± the standard "
        "deviation between seeds.",
        "",
    ]
    if not table.empty:
        sections: Any = table.groupby(["study", "protocol"], sort=False)
        for (study, protocol), group in sections:
            lines += [f"## Study {study}, {protocol.replace('_', ' ')}", "", *_section(group), ""]
    return "\n".join(lines)


def _section(group: pd.DataFrame) -> list[str]:
    everybody = group[group["subject"] == "all"].set_index(["arm", "question"])
    subjects = sorted(set(group["subject"]) - {"all"})
    counts = sorted(
        (q for q in set(group["question"]) if q.startswith("concept_of_")),
        key=lambda q: int(q.rpartition("_")[2]),
    )
    has_oracle = "oracle" in group and bool(group["oracle"].notna().any())
    arms = list(dict.fromkeys(group["arm"]))
    head = ["arm", "concept, single trials", *(["share of the oracle"] if has_oracle else [])]
    head += [*subjects, *(f"mean of {q.rpartition('_')[2]}" for q in counts)]
    questions = [q for q in QUESTIONS if q in set(group["question"])]
    head += ["difference to the default", *(QUESTIONS[q] for q in questions)]
    head += ["parameters", "steps", "best epoch", "lowest loss", "s", "seeds"]
    rows = [head, ["---"] * len(head)]
    by_subject = group[group["question"] == "concept"].set_index(["arm", "subject"])
    for arm in _best_first(arms, everybody):
        first: Any = everybody.loc[arm].iloc[0]
        row = [arm, _with_interval(everybody, (arm, "concept"))]
        row += [_share_text(everybody, (arm, "concept"))] if has_oracle else []
        row += [_plain(by_subject, (arm, subject)) for subject in subjects]
        row += [_plain(everybody, (arm, question)) for question in counts]
        row += [_difference_text(everybody, (arm, "concept"))]
        row += [_with_interval(everybody, (arm, q)) for q in questions]
        row += [f"{int(first['n_parameters']):,}", f"{first['n_steps']:.0f}"]
        row += [f"{first['best_epoch']:.0f} of {first['n_epochs']:.0f}"]
        row += [f"{first['lowest_loss_epoch']:.0f}", f"{first['training_s']:.0f}"]
        rows.append([*row, f"{int(first['n_seeds'])} of {int(first['n_seeds_wanted'])}"])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    chances = everybody.groupby(level="question", sort=False)["chance"].mean()
    said = ", ".join(f"{str(q).replace('_', ' ')} {c:.3f}" for q, c in chances.items())
    lines += ["", f"Chance, one by the number of candidates: {said}."]
    if has_oracle:
        oracle = everybody.xs("concept", level="question")["oracle"].dropna()
        lines += ["", f"The oracle names {oracle.mean():.3f} of the concepts on the same trials."]
    return lines


def _best_first(arms: Sequence[str], everybody: pd.DataFrame) -> list[str]:
    """Order the arms by concept accuracy, those without one last."""

    def accuracy(arm: str) -> float:
        key = (arm, "concept")
        return float(everybody["value"][key]) if key in everybody.index else -1.0

    return sorted(arms, key=accuracy, reverse=True)


def _with_interval(table: pd.DataFrame, key: tuple[str, str]) -> str:
    if key not in table.index:
        return ""
    row: Any = table.loc[key]
    spread = "" if np.isnan(row["seeds_sd"]) else f" ± {row['seeds_sd']:.3f}"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}){spread}"


def _difference_text(table: pd.DataFrame, key: tuple[str, str]) -> str:
    if key not in table.index or np.isnan(table["difference"].get(key, np.nan)):
        return ""
    row: Any = table.loc[key]
    low, high = row["difference_low"], row["difference_high"]
    return f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _share_text(table: pd.DataFrame, key: tuple[str, str]) -> str:
    if key not in table.index or np.isnan(table["share_of_oracle"][key]):
        return ""
    row: Any = table.loc[key]
    return f"{row['share_of_oracle']:.3f} ({row['share_low']:.3f} to {row['share_high']:.3f})"


def _plain(table: pd.DataFrame, key: tuple[str, str]) -> str:
    return f"{table['value'][key]:.3f}" if key in table.index else ""
