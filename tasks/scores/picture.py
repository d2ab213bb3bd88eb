"""What rendered pictures show, how much they resemble what was shown, and how real they look."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import TEST, ZERO_SHOT
from tasks.scores.distances import (
    HALVES,
    MIN_PICTURES,
    Halves,
    frechet_distance,
    inception_score,
    kernel_distance,
    score_over_splits,
)
from tasks.scores.judged import CONCEPT, Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.ranking import Vectors, rank
from tasks.scores.score import agreement, columns_of, score

logger = logging.getLogger(__name__)

TRUE_CAPTIONS = "true_captions"
SHUFFLED_EEG = "shuffled_eeg"


def picture_scores(
    renders: Pictures,
    held_out: Pictures,
    training: Vectors,
    truth: Mapping[str, Mapping[str, str]],
    params: ScoreParams,
    n_halves: int,
) -> dict[str, Score]:
    """Return all scores of the rendered pictures; those of sets only where the sets are large enough.

    Parameters
    ----------
    renders, held_out : Pictures
        Renders of all conditions, and all held-out stimuli.
    training : Float[np.ndarray, "n dim"]
        Unit-norm CLIP vectors of the training stimuli.
    truth : Mapping[str, Mapping[str, str]]
        Factor to stimulus_id to what it shows; factors that the judge cannot name are left out.
    n_halves : int
        Random halves behind each interval of a distance.
    """
    scores = similarity_scores(renders, held_out, params)
    n_pictures = min(len(held_out.rows), len(training), renders.rows["trial_id"].nunique())
    if n_pictures < MIN_PICTURES:
        text = "Distances between sets need %d pictures; there are %d, so none is scored."
        logger.warning(text, MIN_PICTURES, n_pictures)
    else:
        scores |= distance_scores(renders, held_out.vectors, training, params, n_halves)
    if CONCEPT in truth and n_pictures >= MIN_PICTURES:
        scores |= clarity_scores(renders, held_out, params, n_halves)
    for split, prefix in ((TEST, ""), (ZERO_SHOT, f"{ZERO_SHOT}_")):
        drawn, shown = renders.where(split=split), held_out.where(split=split)
        if len(drawn.rows):
            scores |= judged_scores(drawn, shown, truth, prefix, params)
    return scores


def judged_scores(
    renders: Pictures,
    stimuli: Pictures,
    truth: Mapping[str, Mapping[str, str]],
    prefix: str,
    params: ScoreParams,
) -> dict[str, Score]:
    """Score what the judge sees in renders of each condition, and in the stimuli themselves.

    Parameters
    ----------
    renders, stimuli : Pictures
        Of the trials of one split.
    truth : Mapping[str, Mapping[str, str]]
        Factor to stimulus_id to what it shows.
    prefix : str
        Of the names: ``{prefix}judged_{factor}_accuracy_{condition}``.
    """
    scores: dict[str, Score] = {}
    for factor, shown in truth.items():
        name = f"{prefix}judged_{factor}_accuracy"
        of_stimuli = _judged_score(stimuli, factor, shown, params)
        measured = {
            condition: _judged_score(chosen, factor, shown, params)
            for condition, chosen in conditions_of(renders)
        }
        measured = with_control(with_ceiling(measured, of_stimuli.value))
        scores[f"{name}_stimuli"] = of_stimuli
        scores |= {f"{name}_{condition}": found for condition, found in measured.items()}
    return scores


def similarity_scores(
    renders: Pictures, stimuli: Pictures, params: ScoreParams
) -> dict[str, Score]:
    """Score the likeness in CLIP space of a render and its stimulus, also against other stimuli.

    Two-way identification is the share of other rendered stimuli that a render is less like than its
    own.

    Parameters
    ----------
    renders, stimuli : Pictures
        Of all conditions; `stimuli` at least those rendered.
    """
    stimulus_ids = sorted(set(renders.rows["stimulus_id"]))
    columns = columns_of(stimulus_ids, stimuli.rows["stimulus_id"], "`stimuli`")
    likeness: dict[str, Score] = {}
    two_way: dict[str, Score] = {}
    for condition, chosen in conditions_of(renders):
        resampling = params.draw_rows(chosen.rows, stimulus_ids)
        cosines = chosen.vectors @ stimuli.vectors[columns].T
        likeness[condition] = score(cosines, resampling, chance=None, unit="cosine")
        if len(stimulus_ids) > 1:
            worse = (len(stimulus_ids) - rank(cosines).places()) / (len(stimulus_ids) - 1)
            two_way[condition] = score(worse, resampling, chance=0.5)
    return {
        f"{name}_{condition}": found
        for name, measured in (("clip_image_similarity", likeness), ("two_way_clip", two_way))
        for condition, found in with_control(with_ceiling(measured, 1.0)).items()
    }


def distance_scores(
    renders: Pictures, held_out: Vectors, training: Vectors, params: ScoreParams, n_halves: int
) -> dict[str, Score]:
    """Score the distance in CLIP space between the sets of renders and of held-out stimuli.

    One picture per trial counts. As many training stimuli tell how far real pictures are from each
    other: the floor of a distance, which stands as its ceiling.

    Parameters
    ----------
    held_out, training : Float[np.ndarray, "n dim"]
        Unit-norm CLIP vectors of real pictures; of `training`, as many as there are trials are drawn.
    n_halves : int
        Random halves behind each interval.
    """
    halves = Halves(n_halves, params.confidence, params.seed)
    first = renders.where(sample=0)
    n_trials = min(len(training), first.rows["trial_id"].nunique())
    training = np.random.default_rng(params.seed).choice(training, n_trials, replace=False)
    scores: dict[str, Score] = {}
    for name, distance in (("kid_clip", kernel_distance), ("fid_clip", frechet_distance)):
        floor = distance(held_out, training, halves).value
        note = (
            f"Against {len(held_out)} held-out stimuli, from which {n_trials} training stimuli are "
            f"{floor:.3g} away."
        )
        measured = {
            condition: Score(
                **vars(distance(held_out, chosen.vectors, halves)),
                n=len(chosen.rows),
                ceiling=floor,
                lower_is_better=True,
                unit="distance",
                resampled=HALVES,
                verdict=note,
            )
            for condition, chosen in conditions_of(first)
        }
        scores |= {f"{name}_{c}": s for c, s in with_control(measured).items()}
    return scores


def clarity_scores(
    renders: Pictures, held_out: Pictures, params: ScoreParams, n_halves: int
) -> dict[str, Score]:
    """Score how clear and varied renders are to the judge, which stands in for Inception.

    Parameters
    ----------
    renders, held_out : Pictures
        Renders of all conditions, and as many held-out stimuli.
    n_halves : int
        Random halves behind each interval.
    """
    halves = Halves(n_halves, params.confidence, params.seed)
    real = inception_score(held_out.judgement.probabilities[CONCEPT], halves).value
    measured = {
        condition: Score(
            **vars(inception_score(chosen.judgement.probabilities[CONCEPT], halves)),
            n=len(chosen.rows),
            ceiling=real,
            unit="score",
            resampled=HALVES,
            verdict=(
                f"{_over_splits(chosen)} {len(held_out.rows)} held-out stimuli score {real:.3g}; no EEG "
                "is needed."
            ),
        )
        for condition, chosen in conditions_of(renders.where(sample=0))
    }
    return {f"inception_score_judge_{c}": s for c, s in with_control(measured).items()}


def _over_splits(pictures: Pictures) -> str:
    mean, deviation, n_splits = score_over_splits(pictures.judgement.probabilities[CONCEPT])
    return f"Over {n_splits} splits {mean:.3g} ± {deviation:.2g}, as is usual."


def _judged_score(
    pictures: Pictures, factor: str, shown: Mapping[str, str], params: ScoreParams
) -> Score:
    stimulus_ids = sorted(set(pictures.rows["stimulus_id"]))
    matrix = agreement(
        pictures.judgement.labels[factor], [shown[stimulus] for stimulus in stimulus_ids]
    )
    n_values = pictures.judgement.probabilities[factor].shape[1]
    resampling = params.draw_rows(pictures.rows, stimulus_ids)
    return score(matrix, resampling, chance=1 / n_values)


def conditions_of(renders: Pictures) -> Iterator[tuple[str, Pictures]]:
    """Yield each condition with its renders."""
    for condition in renders.rows["condition"].unique():
        yield condition, renders.where(condition=condition)


def with_ceiling(measured: Mapping[str, Score], best: float) -> dict[str, Score]:
    """Set true captions as the ceiling of decoded ones, and `best` as their own."""
    true = measured.get(TRUE_CAPTIONS)
    return {
        condition: found.model_copy(
            update={"ceiling": best if condition == TRUE_CAPTIONS else true and true.value}
        )
        for condition, found in measured.items()
    }


def with_control(measured: Mapping[str, Score]) -> dict[str, Score]:
    """Set the measurement on shuffled EEG as the control of the other conditions."""
    control = measured.get(SHUFFLED_EEG)
    if control is None:
        return dict(measured)
    update = {
        "control": control.value,
        "control_low": control.low,
        "control_high": control.high,
    }
    return {
        condition: found if condition == SHUFFLED_EEG else found.model_copy(update=update)
        for condition, found in measured.items()
    }
