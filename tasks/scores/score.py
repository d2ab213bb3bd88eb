"""Scores beside what they must be compared with: chance, ceiling, interval and shuffled EEG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from tasks.artifacts.metrics import Score
from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import Ranking
from tasks.statistics.permutation import permutation_p_value
from tasks.statistics.resampling import (
    STIMULI,
    Resampling,
    Statistic,
    mean,
    median,
    own_values,
)
from tasks.statistics.verdicts import against_shuffled


def score(
    matrix: Float[np.ndarray, "n_trials n_stimuli"],
    resampling: Resampling,
    *,
    chance: float | None,
    ceiling: float | None = None,
    statistic: Statistic = mean,
    lower_is_better: bool = False,
    unit: str = "share",
) -> Score:
    """Score predictions against the stimuli that were shown, and against permuted stimuli.

    Permuting the stimuli is shuffling the EEG between them: each trial is predicted on its own.

    Parameters
    ----------
    matrix : Float[np.ndarray, "n_trials n_stimuli"]
        What the prediction of a trial would score if the stimulus had been that of the column.
    resampling : Resampling
        Own stimulus of each trial, bootstrap samples and permutations.
    chance, ceiling : float or None
        What guessing scores, and the best possible; None where unknown. Chance None: the mean over
        all permutations, which for the mean of trials is exact.
    statistic : Statistic
        Reduces trials to one number.
    lower_is_better, unit : bool, str
        As in `Score`.
    """
    limits = (float(matrix.min()), float(matrix.max()))
    observed = resampling.estimate(own_values(matrix, resampling.own), statistic, limits)
    permuted = resampling.permuted(matrix, statistic)
    p_value = permutation_p_value(observed.value, permuted, higher_is_better=not lower_is_better)
    control = resampling.control(permuted)
    if chance is None:
        chance = resampling.expected(matrix) if statistic is mean else float(permuted.mean())
    found = Score(
        value=observed.value,
        n=len(resampling.own),
        chance=chance,
        ceiling=ceiling,
        low=observed.low,
        high=observed.high,
        control=control.value,
        control_low=control.low,
        control_high=control.high,
        p_value=p_value,
        exchanged=STIMULI,
        lower_is_better=lower_is_better,
        unit=unit,
        resampled=resampling.resampled,
    )
    return found.model_copy(update={"verdict": against_shuffled(found)})


def ranking_scores(
    prefix: str,
    suffix: str,
    ranking: Ranking,
    n_items: int,
    ks: Sequence[int],
    resampling: Resampling,
    *,
    ceilings: Mapping[int, float] | None = None,
) -> dict[str, Score]:
    """Score a ranking: recall at each k below the number of items, and where the right one stands.

    Parameters
    ----------
    prefix, suffix : str
        Of the names: ``{prefix}_recall_at_{k}_of_{n_items}{suffix}``.
    ranking : Ranking
        One column per stimulus.
    ks : Sequence[int]
        How many of the nearest count; those that take in the whole gallery are left out.
    ceilings : Mapping[int, float] or None
        Best possible recall by k, where known.
    """
    scores = {
        f"{prefix}_recall_at_{k}_of_{n_items}{suffix}": score(
            ranking.recall(k),
            resampling,
            chance=k / n_items,
            ceiling=(ceilings or {}).get(k),
        )
        for k in ks
        if k < n_items
    }
    scores[f"{prefix}_mean_reciprocal_rank_of_{n_items}{suffix}"] = score(
        ranking.reciprocal(),
        resampling,
        chance=float(np.mean(1 / np.arange(1, n_items + 1))),
        unit="reciprocal rank",
    )
    scores[f"{prefix}_median_rank_of_{n_items}{suffix}"] = score(
        ranking.places(),
        resampling,
        chance=(n_items + 1) / 2,
        statistic=median,
        lower_is_better=True,
        unit="rank",
    )
    return scores


def agreement(
    judged: Sequence[str], actual: Sequence[str]
) -> Float[np.ndarray, "n_trials n_stimuli"]:
    """Return the score matrix of answers: 1 where a trial's answer is right for a stimulus."""
    right = np.asarray(judged)[:, None] == np.asarray(actual)[None]
    return np.asarray(right, np.float64)


def columns_of(
    items: Iterable[str], known: Iterable[str], where: str
) -> Int[np.ndarray, " n_items"]:
    """Return the position of each item among those known.

    Parameters
    ----------
    items, known : Iterable[str]
        Ids or names.
    where : str
        Where an error shall say that items are missing.

    Raises
    ------
    PerceptError
        If an item is not known.
    """
    position = {name: index for index, name in enumerate(known)}
    wanted = list(items)
    missing = sorted({item for item in wanted if item not in position})
    if missing:
        raise PerceptError(
            f"Everything scored must be in {where}; {len(missing)} are not, {missing[0]!r} first. "
            "Run `dvc repro`."
        )
    return np.array([position[item] for item in wanted], dtype=np.int64)
