"""Scores of renders in the feature spaces of published work, where their weights lie here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import softmax

from tasks.artifacts.metrics import Score
from tasks.scores.distances import (
    HALVES,
    MIN_PICTURES,
    Halves,
    frechet_distance,
    inception_score,
    kernel_distance,
    score_over_splits,
)
from tasks.scores.feature_spaces import (
    NEEDED,
    PAIR_PX,
    Compare,
    Features,
    FeatureWeights,
    open_comparisons,
    open_spaces,
)
from tasks.scores.judged import Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.picture import conditions_of, with_ceiling, with_control
from tasks.scores.pixel import against_others
from tasks.scores.published import n_way, standardised
from tasks.scores.ranking import rank
from tasks.scores.score import columns_of, score
from tasks.statistics.resampling import Estimate

ByCondition = dict[str, dict[str, Score]]
"""Score to condition to its number."""


def feature_scores(
    renders: Pictures,
    stimuli: Pictures,
    training: Sequence[str],
    weights: FeatureWeights,
    params: ScoreParams,
    n_halves: int,
) -> dict[str, Score]:
    """Score renders in every feature space whose weights are named; nothing where none is.

    Parameters
    ----------
    renders, stimuli : Pictures
        Renders of all conditions, and all held-out stimuli.
    training : Sequence[str]
        Files of the training stimuli: as many of them as there are trials tell how far real pictures are
        from each other.
    n_halves : int
        Random halves behind each interval of a distance between sets.
    """
    scores: dict[str, Score] = {}
    shown = stimuli.rows["image_path"].tolist()
    for name, space in open_spaces(weights).items():
        held_out = dict(space.see(shown))
        drawn = {c: dict(space.see(_files(r))) for c, r in conditions_of(renders)}
        found: ByCondition = {}
        if name == "inception":
            n_trials = min(len(training), renders.rows["trial_id"].nunique())
            lot = np.random.default_rng(params.seed).choice(training, n_trials, replace=False)
            known = dict(space.see(lot.tolist()))["inception"]
            found |= _of_sets(renders, held_out, known, drawn, params, n_halves)
        for condition, chosen in conditions_of(renders):
            for score_name, one in _of_layers(
                chosen, stimuli, drawn[condition], held_out, params
            ).items():
                found.setdefault(score_name, {})[condition] = one
        scores |= _named(found, f"Weights: {space.source}.")
    for name, (source, compare) in open_comparisons(weights).items():
        pairs = {
            condition: _of_pairs(chosen, stimuli, compare, params)
            for condition, chosen in conditions_of(renders)
        }
        note = f"At {PAIR_PX} px. Weights: {source}."
        scores |= _named({name: {c: s for c, s in pairs.items() if s is not None}}, note)
    return scores


def spaces_table(weights: FeatureWeights) -> pd.DataFrame:
    """Return which networks have their weights here: columns param, network, scores, state."""
    rows = [
        (param, network, wanted, "used" if getattr(weights, param) else "not scored: no weights")
        for param, (network, wanted) in NEEDED.items()
    ]
    return pd.DataFrame(rows, columns=["param", "network", "scores", "state"])


def _files(pictures: Pictures) -> Sequence[str]:
    return pictures.rows["image_path"].tolist()


def _named(found: ByCondition, note: str) -> dict[str, Score]:
    best = {"two_way": 1.0, "feature": 0.0, "lpips": 0.0, "dists": 0.0}
    scores = {}
    for name, measured in found.items():
        ceiling = next((v for start, v in best.items() if name.startswith(start)), None)
        if ceiling is not None:
            measured = with_ceiling(measured, ceiling)
        for condition, one in with_control(measured).items():
            scores[f"{name}_{condition}"] = one.model_copy(
                update={"verdict": f"{one.verdict} {note}".strip()}
            )
    return scores


def _of_layers(
    chosen: Pictures,
    stimuli: Pictures,
    drawn: Features,
    held_out: Features,
    params: ScoreParams,
) -> dict[str, Score]:
    stimulus_ids = sorted(set(chosen.rows["stimulus_id"]))
    columns = columns_of(stimulus_ids, stimuli.rows["stimulus_id"], "`stimuli`")
    resampling = params.draw_rows(chosen.rows, stimulus_ids)
    scores = {}
    for layer, features in drawn.items():
        if layer == "logits":
            continue
        if layer == "classes":
            hits = n_way(features, held_out[layer][columns], n=50, k=1)
            scores["n_way_50_top1_vit_h_14"] = score(hits, resampling, chance=1 / 50)
            continue
        correlations = standardised(features) @ standardised(held_out[layer][columns]).T
        correlations = np.asarray(correlations, np.float64)
        if len(stimulus_ids) > 1:
            worse = (len(stimulus_ids) - rank(correlations).places()) / (len(stimulus_ids) - 1)
            scores[f"two_way_{layer}"] = score(worse, resampling, chance=0.5)
        scores[f"feature_distance_{layer}"] = score(
            1 - correlations, resampling, chance=None, lower_is_better=True, unit="distance"
        )
    return scores


def _of_sets(
    renders: Pictures,
    held_out: Features,
    known: Float[np.ndarray, "n_known dim"],
    drawn: Mapping[str, Features],
    params: ScoreParams,
    n_halves: int,
) -> ByCondition:
    """Score FID, KID and IS with Inception, one picture per trial."""
    halves = Halves(n_halves, params.confidence, params.seed)
    real, seen = held_out["inception"], held_out["logits"]
    firsts = {c: np.flatnonzero(r.rows["sample"] == 0) for c, r in conditions_of(renders)}
    if min(len(real), len(known), *map(len, firsts.values())) < MIN_PICTURES:
        return {}
    measures: dict[str, Callable[..., Estimate]] = {
        "fid_inception": frechet_distance,
        "kid_inception": partial(kernel_distance, gamma=None),
    }
    floors = {name: measure(real, known, halves).value for name, measure in measures.items()}
    clarity = inception_score(softmax(seen, axis=1), halves).value
    found: ByCondition = {"fid_inception": {}, "kid_inception": {}, "inception_score_inception": {}}
    for condition, rows in firsts.items():
        features, logits = drawn[condition]["inception"][rows], drawn[condition]["logits"][rows]
        for name, measure in measures.items():
            note = (
                f"{len(rows)} renders against {len(real)} held-out stimuli, from which {len(known)} "
                f"training stimuli are {floors[name]:.3g} away."
            )
            found[name][condition] = Score(
                **vars(measure(real, features, halves)),
                n=len(rows),
                ceiling=floors[name],
                lower_is_better=True,
                unit="distance",
                resampled=HALVES,
                verdict=note,
            )
        probabilities = softmax(logits, axis=1)
        mean, deviation, n_splits = score_over_splits(probabilities)
        found["inception_score_inception"][condition] = Score(
            **vars(inception_score(probabilities, halves)),
            n=len(rows),
            ceiling=clarity,
            unit="score",
            resampled=HALVES,
            verdict=f"Over {n_splits} splits {mean:.3g} ± {deviation:.2g}, as is usual.",
        )
    return found


def _of_pairs(
    chosen: Pictures, stimuli: Pictures, compare: Compare, params: ScoreParams
) -> Score | None:
    stimulus_ids = sorted(set(chosen.rows["stimulus_id"]))
    columns = columns_of(stimulus_ids, stimuli.rows["stimulus_id"], "`stimuli`")
    shown = stimuli.rows["image_path"].iloc[columns].to_numpy(str)
    drawn, resampling = _files(chosen), params.draw_rows(chosen.rows, stimulus_ids)
    return against_others(
        lambda own: compare(drawn, shown[own].tolist()),
        chosen.rows["stimulus_id"].tolist(),
        resampling,
        params,
        lower_is_better=True,
        unit="distance",
    )
