"""Retrieval as the field prints it: top-1 and top-5 of each subject among pictures and class centres."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binom

from tasks.benchmark.runs import Run
from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import rank

KS = (1, 5)
GUESSING = 0.95
"""Share of guessing subjects inside the interval of chance."""
Vectors = Float[np.ndarray, "n dim"]


def retrieval_scores(
    run: Run, *, average_trials: bool, centres: Mapping[str, Vectors] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the scores of each subject, and why what is missing is missing.

    Parameters
    ----------
    average_trials : bool
        Whether the predictions of a subject's trials of one picture are averaged first. The field averages
        the EEG before the encoder: that is the param `preprocess.repetitions`.
    centres : Mapping[str, Float[np.ndarray, "dim"]] or None
        Concept to the mean vector of pictures that were not shown; None: of the study's other pictures.

    Returns
    -------
    pandas.DataFrame
        Columns protocol, subject, gallery, metric, value (percent), n (answers), n_candidates.
    list[str]
        One sentence for each gallery that could not be searched.
    """
    predicted = run.predicted()
    if predicted is None:
        return pd.DataFrame(), [
            f"{run.name}: no retrieval, because {run.artifacts.image_predictions} is empty: the encoder has no "
            "image head. Set train.target.image above 0, then run `dvc repro`."
        ]
    trials, predicted = run.trials, _unit(predicted)
    if average_trials:
        trials, predicted = _averaged(trials, predicted)
    shown = run.gallery["stimulus_id"].tolist()
    found = [_scores(run, trials, predicted, _unit(run.image_vectors(shown)), shown, "stimulus_id")]
    notes = []
    names = sorted(set(run.gallery["concept"]))
    own = _centres(run, names) if centres is None else centres
    missing = [name for name in names if name not in own]
    if missing:
        notes.append(
            f"{run.name}: not searched among class centres, because {len(missing)} of {len(names)} "
            f"concepts have no other picture, {missing[0]!r} first. Name a file of centres with --centres."
        )
    else:
        vectors = _unit(np.stack([own[name] for name in names]))
        found.append(_scores(run, trials, predicted, vectors, names, "concept"))
    return pd.concat(found, ignore_index=True), notes


def read_centres(path: Path) -> dict[str, Vectors]:
    """Read class centres: an .npz file with one vector per concept, under the concept's name.

    Raises
    ------
    PerceptError
        If the file does not exist or holds other things than arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except (OSError, ValueError, AttributeError) as error:
        raise PerceptError(
            f"--centres must name an .npz file with one vector per concept; {path} is none ({error}). "
            "`numpy.savez` writes one."
        ) from error


def chance(scores: pd.DataFrame) -> pd.DataFrame:
    """Return what guessing scores for each gallery, exactly, and between which values it mostly falls.

    Parameters
    ----------
    scores : pandas.DataFrame
        As `retrieval_scores` returns them.

    Returns
    -------
    pandas.DataFrame
        Columns gallery, metric, value, low, high (percent): the binomial interval of one subject's answers.
    """
    rows = []
    for (gallery, metric), some in scores.groupby(["gallery", "metric"], sort=False):
        share = min(1.0, int(str(metric).removeprefix("top-")) / some["n_candidates"].iloc[0])
        n = int(some["n"].min())
        low, high = binom.interval(GUESSING, n, share)
        rows.append((gallery, metric, 100 * share, 100 * low / n, 100 * high / n))
    return pd.DataFrame(rows, columns=["gallery", "metric", "value", "low", "high"])


def _scores(
    run: Run,
    trials: pd.DataFrame,
    predicted: Vectors,
    candidates: Vectors,
    names: list[str],
    column: str,
) -> pd.DataFrame:
    """Rank the candidates of every trial; pictures with one and the same vector share their places."""
    if predicted.shape[1] != candidates.shape[1]:
        raise PerceptError(
            "The image head must predict vectors as long as those of the gallery; "
            f"{run.artifacts.image_predictions} has {predicted.shape[1]} numbers each, the gallery "
            f"{candidates.shape[1]}. Run `dvc repro retrieve`, or mend --centres."
        )
    distinct, of, sizes = np.unique(candidates, axis=0, return_inverse=True, return_counts=True)
    own = of[[names.index(name) for name in trials[column]]]
    ranking = rank(predicted @ distinct.T, sizes)
    kind = "test pictures" if column == "stimulus_id" else "class centres"
    found = []
    for k in KS:
        hits = ranking.recall(k)[np.arange(len(own)), own]
        of_subject = pd.Series(100 * hits).groupby(trials["subject"].to_numpy())
        rows = of_subject.agg(value="mean", n="size").rename_axis("subject").reset_index()
        found.append(rows.assign(metric=f"top-{k}"))
    rows = pd.concat(found, ignore_index=True)
    return rows.assign(
        gallery=f"{len(names)} {kind}",
        n_candidates=len(names),
        protocol=[run.protocol(subject) for subject in rows["subject"]],
    )


def _centres(run: Run, names: list[str]) -> dict[str, Vectors]:
    others = run.others[run.others["concept"].isin(names)]
    if others.empty:
        return {}
    vectors = run.image_vectors(others["stimulus_id"].tolist())
    of = others["concept"].to_numpy()
    return {name: vectors[of == name].mean(axis=0) for name in np.unique(of)}


def _averaged(trials: pd.DataFrame, predicted: Vectors) -> tuple[pd.DataFrame, Vectors]:
    keys = ["subject", "stimulus_id"]
    groups = trials.groupby(keys).ngroup().to_numpy()
    sums = np.zeros((groups.max() + 1, predicted.shape[1]), predicted.dtype)
    np.add.at(sums, groups, predicted)
    firsts = trials.drop_duplicates(keys).sort_values(keys, ignore_index=True)
    return firsts, _unit(sums)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
