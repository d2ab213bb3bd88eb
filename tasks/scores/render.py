"""Scores of renders against their own stimuli, condition by condition, and how renders fail."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.artifacts.metrics import Score
from tasks.scores.failures import distinct_pictures, hallucinations, hubs
from tasks.scores.held_out import HeldOut
from tasks.scores.judged import CONCEPT, Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.picture import conditions_of, with_ceiling, with_control
from tasks.scores.pixel import clip_scores, n_way_scores, pixel_scores
from tasks.scores.score import columns_of


def render_scores(
    renders: Pictures,
    stimuli: Pictures,
    held_out: HeldOut,
    truth: Mapping[str, Mapping[str, str]],
    params: ScoreParams,
) -> dict[str, Score]:
    """Return likeness, classification and failures of renders, each condition beside its controls.

    Parameters
    ----------
    renders, stimuli : Pictures
        Renders of all conditions, and all held-out stimuli.
    held_out : HeldOut
        With the captions of the stimuli.
    truth : Mapping[str, Mapping[str, str]]
        Factor to stimulus to what it shows; without concepts the judge is not asked.
    """
    found: dict[str, dict[str, Score]] = {}
    for condition, chosen in conditions_of(renders):
        for name, score in _of_condition(chosen, stimuli, held_out, truth, params).items():
            found.setdefault(name, {})[condition] = score
    best = {"clipscore_of_100": 100.0}
    scores: dict[str, Score] = {}
    for name, measured in found.items():
        if name not in ("distinct_pictures", "semantic_hallucination_rate_judge"):
            measured = with_ceiling(measured, best.get(name, 1.0))
        scores |= {f"{name}_{c}": s for c, s in with_control(measured).items()}
    return scores


def _of_condition(
    chosen: Pictures,
    stimuli: Pictures,
    held_out: HeldOut,
    truth: Mapping[str, Mapping[str, str]],
    params: ScoreParams,
) -> dict[str, Score]:
    stimulus_ids = sorted(set(chosen.rows["stimulus_id"]))
    rows = columns_of(chosen.rows["stimulus_id"], stimuli.rows["stimulus_id"], "`stimuli`")
    captions = held_out.gallery(stimulus_ids).vectors
    scores = pixel_scores(chosen, stimuli, params)
    scores["clipscore_of_100"] = clip_scores(chosen, captions, stimulus_ids, params)
    scores["distinct_pictures"] = distinct_pictures(chosen, stimuli.vectors[rows], params)
    if CONCEPT in truth:
        for (n, k), score in n_way_scores(chosen, stimuli, params).items():
            scores[f"n_way_{n}_top{k}_judge"] = score
        scores["semantic_hallucination_rate_judge"] = hallucinations(chosen, truth[CONCEPT], params)
    return scores


def hub_scores(
    held_out: HeldOut, retrievals: pd.DataFrame, params: ScoreParams
) -> dict[str, Score]:
    """Score how many trials one caption is nearest to, beside how frequent true captions are.

    Parameters
    ----------
    retrievals : pandas.DataFrame
        Rows of the contract of `retrievals`.
    """
    nearest = nearest_captions(held_out, retrievals)
    return hubs(nearest, true_captions(held_out), params.n_resamples, params.seed)


def true_captions(held_out: HeldOut) -> pd.DataFrame:
    """Return the text of the true caption, by trial and kind."""
    captions = held_out.captions[["stimulus_id", "kind", "text"]]
    return held_out.trials.merge(captions, on="stimulus_id")


def nearest_captions(held_out: HeldOut, retrievals: pd.DataFrame) -> pd.DataFrame:
    """Return the text of the nearest caption of a training picture, by trial and kind.

    Parameters
    ----------
    retrievals : pandas.DataFrame
        Rows of the contract of `retrievals`.
    """
    first = retrievals[(retrievals["gallery"] == "train") & (retrievals["rank"] == 1)]
    texts = held_out.captions[["caption_id", "text"]]
    named = first[["trial_id", "kind", "caption_id"]].merge(texts, on="caption_id")
    return named.merge(held_out.trials[["trial_id", "stimulus_id"]], on="trial_id")
