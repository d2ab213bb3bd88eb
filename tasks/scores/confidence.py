"""A confidence that can be thresholded: how often a concept named with such cosines is right.

Cosines are no probabilities. A logistic regression (Platt scaling) from the nearest concept's cosine and
its margin over the next one, fitted on validation trials, which no weight was fitted on, gives one. On test
trials it is checked: do concepts that it is sure of to 70 % prove right in 70 %, and is an answer that is
kept back, "I do not know", one that would have been wrong?
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import VALIDATION
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER, ScoreParams
from tasks.scores.ranking import mean_cosines, prototypes
from tasks.statistics.resampling import Resampling, Statistic, Values, Weights

MIN_TRIALS = 30  # of validation, a tenth of them right or wrong, before anything is fitted
N_BINS = 10
COVERAGES = (50, 25, 10)  # per cent of the trials that are answered, the surest
THRESHOLD = 0.5

Cosines = Float[np.ndarray, "n_trials 2"]


def confidence_scores(
    held_out: HeldOut, validation: HeldOut | None, params: ScoreParams
) -> tuple[dict[str, Score], pd.DataFrame]:
    """Calibrate on validation trials and check on test trials.

    Parameters
    ----------
    held_out : HeldOut
        Held-out trials; those of `main_split` are checked.
    validation : HeldOut or None
        Validation trials; None where none was predicted.

    Returns
    -------
    scores : dict of str to Score
        Calibration error, accuracy by coverage, share and accuracy of answers above `THRESHOLD`. Empty
        where too little is known to calibrate.
    table : pandas.DataFrame
        One row per test trial: trial_id, confidence, correct.
    """
    test = held_out.main()
    kinds = held_out.kinds(OBJECT_TIER)
    nothing = pd.DataFrame({"trial_id": [], "confidence": [], "correct": []})
    if validation is None or not kinds or not len(test.trials):
        return {}, nothing
    names = test.candidates()
    known = names
    if names != test.concepts():  # none of them was ever trained: others are named in validation
        known = sorted(set(test.concepts()) & set(validation.trials["concept"]))
        validation = validation.of(validation.trials["concept"].isin(known))
    if len(known) < 2:
        return {}, nothing
    seen, right = _answers(validation, kinds, known)
    rarest = min(right.sum(), (~right).sum())
    if len(right) < MIN_TRIALS or rarest < MIN_TRIALS // 10:
        return {}, nothing
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(seen, right)
    cosines, correct = _answers(test, kinds, names)
    confidence = model.predict_proba(cosines)[:, 1].round(9)  # the same order on any machine
    stimuli = sorted(set(test.trials["stimulus_id"]))
    resampling = params.draw_rows(test.trials, stimuli)
    table = pd.DataFrame(
        {"trial_id": test.trials["trial_id"], "confidence": confidence, "correct": correct}
    )
    return _scores(confidence, correct.astype(np.float64), resampling), table


def validation_trials(
    trials: pa.Table, captions: pa.Table, text_vectors: pa.Table, predictions: pa.Table
) -> HeldOut | None:
    """Return the validation trials as `HeldOut` has the others; None where there are none.

    Parameters
    ----------
    trials, captions, text_vectors, predictions : pyarrow.Table
        As `HeldOut.join` takes them.
    """
    predicted = set(predictions["trial_id"].to_pylist())
    shown = trials.to_pandas()
    chosen = shown["kept"] & shown["split"].eq(VALIDATION) & shown["trial_id"].isin(predicted)
    if not chosen.any():
        return None
    return HeldOut.join(trials, captions, text_vectors, predictions, splits=(VALIDATION,))


def _answers(
    held_out: HeldOut, kinds: Sequence[str], names: Sequence[str]
) -> tuple[Cosines, Bool[np.ndarray, " n_trials"]]:
    """Return the nearest concept's cosine with its margin, and whether it is the one shown."""
    candidates = {kind: prototypes(*held_out.naming(kind), names) for kind in kinds}
    cosines = mean_cosines(held_out.predicted, candidates)
    first, second = np.partition(cosines, (-2, -1), axis=1)[:, [-1, -2]].T
    named = np.array(names)[cosines.argmax(axis=1)]
    return np.stack([first, first - second], axis=1), named == held_out.trials["concept"].to_numpy()


def _scores(
    confidence: Float[np.ndarray, " n"], correct: Float[np.ndarray, " n"], resampling: Resampling
) -> dict[str, Score]:
    """Return all scores, each with its bootstrap interval over stimuli."""
    accuracy = float(correct.mean())
    scores = {
        "concept_calibration_error": _score(
            resampling,
            confidence,
            lambda values, weights: calibration_error(values, correct, weights),
            verdict=f"Mean gap between confidence and accuracy; on average it is sure to "
            f"{confidence.mean():.2f} and right in {accuracy:.2f}.",
            lower_is_better=True,
        )
    }
    order = np.argsort(-confidence, kind="stable")
    for percent in COVERAGES:
        kept = np.zeros(len(correct))
        kept[order[: max(1, round(len(order) * percent / 100))]] = 1.0
        scores[f"concept_accuracy_of_surest_{percent}_percent"] = _score(
            resampling,
            correct,
            partial(_mean_of_kept, kept),
            chance=accuracy,
            verdict="Chance is what all answers get: confidence that knows nothing gains nothing.",
        )
    sure = (confidence >= THRESHOLD).astype(np.float64)
    scores["concept_share_answered_at_half"] = _score(
        resampling, sure, partial(_mean_of_kept, np.ones(len(sure)))
    )
    if sure.any():
        scores["concept_accuracy_answered_at_half"] = _score(
            resampling,
            correct,
            partial(_mean_of_kept, sure),
            chance=accuracy,
        )
    return scores


def calibration_error(
    confidence: Values, correct: Float[np.ndarray, " n"], weights: Weights | None = None
) -> Float[np.ndarray, " n_rows"]:
    """Return the expected calibration error: bins of equally many trials (Naeini et al., 2015).

    Parameters
    ----------
    confidence : numpy.ndarray
        Probability that each answer is right.
    weights : numpy.ndarray or None
        How often each trial counts, row by row.
    """
    rows = np.ones((1, len(correct))) if weights is None else weights
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(N_BINS, len(correct)))
    gaps = [np.abs(rows[:, own] @ (confidence - correct)[own]) for own in bins]
    return _squeezed(np.sum(gaps, axis=0) / rows.sum(axis=1), weights)


def _mean_of_kept(
    kept: Float[np.ndarray, " n"], values: Values, weights: Weights | None
) -> Float[np.ndarray, " n_rows"]:
    rows = kept[None] if weights is None else weights * kept
    return _squeezed(rows @ values / np.maximum(rows.sum(axis=1), 1e-12), weights)


def _squeezed(found: Values, weights: Weights | None) -> Float[np.ndarray, " n_rows"]:
    """Return a number where there are no weights, as `Statistic` says."""
    return np.asarray(found[0] if weights is None else found)


def _score(
    resampling: Resampling,
    values: Float[np.ndarray, " n"],
    statistic: Statistic,
    *,
    chance: float | None = None,
    verdict: str = "",
    lower_is_better: bool = False,
) -> Score:
    found = resampling.estimate(values, statistic, (0.0, 1.0))
    return Score(
        value=found.value,
        low=found.low,
        high=found.high,
        n=len(values),
        chance=chance,
        resampled=resampling.resampled,
        verdict=verdict,
        lower_is_better=lower_is_better,
    )
