"""Two finished runs side by side: what was set, what was found, and what differs on the very same trials."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tasks import PARAMS_FILE
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import Score, read_scores
from tasks.artifacts.splits import ZERO_SHOT, main_split
from tasks.artifacts.tables import read_table
from tasks.scores.held_out import HeldOut
from tasks.scores.trained import Answers, concept_answers, stimulus_answers
from tasks.statistics.resampling import Estimate, Resampling
from tasks.wiring.presets import differences

N_RESAMPLES, CONFIDENCE = 1000, 0.95
QUESTIONS = {
    "concept": "The concept is named",
    "stimulus": "The picture is found among all held-out ones",
    "zero_shot": "A concept that was never trained is named",
}


def compare_runs(one: Path, other: Path) -> str:
    """Return two finished runs side by side, as Markdown.

    A paired difference is over the trials that both runs held out, by their ids; its interval is over their
    stimuli, and over subjects where there are two or more.

    Parameters
    ----------
    one, other : Path
        Folders of the studies, each with its params.yaml, data and reports.

    Raises
    ------
    PerceptError
        If a run is not finished.
    """
    scores = [read_scores(Artifacts(folder).evaluate_metrics) for folder in (one, other)]
    params = [(folder / PARAMS_FILE).read_text() for folder in (one, other)]
    answers = [_answers(Artifacts(folder)) for folder in (one, other)]
    changed = [f"- `{line}`" for line in differences(*params)]
    return "\n".join(
        [
            f"# {one} and {other}",
            "",
            "## Params that differ",
            "",
            *(changed or ["None."]),
            "",
            "## The same trials",
            "",
            "| question | trials | first run | second run | second less first (95 % interval) |",
            "|---|---|---|---|---|",
            *(_paired(name, *(some.get(name) for some in answers)) for name in QUESTIONS),
            "",
            "## Scores of both",
            "",
            "| score | first run | second run |",
            "|---|---|---|",
            *_rows(*scores),
            "",
        ]
    )


def paired_difference(one: Answers, other: Answers) -> tuple[pd.DataFrame, Estimate] | None:
    """Return the trials that both answered, and how much more often the second is right on them.

    Parameters
    ----------
    one, other : dict
        Columns trial_id, subject, stimulus_id, correct.

    Returns
    -------
    tuple or None
        Columns correct and correct_other by trial, and the difference; None where no trial is common.
    """
    keys = ["trial_id", "subject", "stimulus_id"]
    first, second = (pd.DataFrame(answers)[[*keys, "correct"]] for answers in (one, other))
    both = first.merge(second, on=keys, suffixes=("", "_other")).sort_values("trial_id")
    if both.empty:
        return None
    stimuli, own = np.unique(both["stimulus_id"], return_inverse=True)
    resampling = Resampling.draw(
        own, len(stimuli), n_resamples=N_RESAMPLES, n_permutations=1,
        confidence=CONFIDENCE, seed=0, subjects=both["subject"].tolist(),
    )  # fmt: skip
    return both, resampling.estimate((both["correct_other"] - both["correct"]).to_numpy())


def _answers(artifacts: Artifacts) -> dict[str, Answers]:
    held_out = HeldOut.join(
        read_table(artifacts.trials, TRIALS),
        read_table(artifacts.captions, CAPTIONS),
        read_table(artifacts.text_vectors, TEXT_VECTORS),
        read_table(artifacts.predictions, PREDICTIONS),
    )
    found = {
        "concept": concept_answers(held_out, main_split(held_out.trials["split"])),
        "stimulus": stimulus_answers(held_out),
        "zero_shot": concept_answers(held_out, ZERO_SHOT),
    }
    return {name: answers for name, answers in found.items() if answers is not None}


def _paired(name: str, one: Answers | None, other: Answers | None) -> str:
    found = paired_difference(one, other) if one is not None and other is not None else None
    if found is None:
        return f"| {QUESTIONS[name]} | 0 | – | – | no trial of both |"
    both, more = found
    means = f"{both['correct'].mean():.3f} | {both['correct_other'].mean():.3f}"
    told = f"{more.value:+.3f} ({more.low:+.3f} to {more.high:+.3f})"
    return f"| {QUESTIONS[name]} | {len(both)} | {means} | {told} |"


def _rows(one: dict[str, Score], other: dict[str, Score]) -> list[str]:
    """Return a row for each score that both runs have and that differs."""
    return [
        f"| `{name}` | {_with_interval(score)} | {_with_interval(other[name])} |"
        for name, score in sorted(one.items())
        if name in other and score.value != other[name].value
    ] or ["| every score is the same | | |"]


def _with_interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
