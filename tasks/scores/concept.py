"""How well the words that were decoded fit what was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.artifacts.contracts.oracle import CONCEPT_BOUND
from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import TEST, ZERO_SHOT
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER, TIERS, ScoreParams
from tasks.scores.ranking import Ranking, mean_cosines, prototypes, rank
from tasks.scores.retrieval import caption_scores, stimulus_scores
from tasks.scores.score import agreement, columns_of, ranking_scores, score
from tasks.statistics.resampling import own_values

BOUND = "The ceiling is a Monte Carlo bound, not exact: no decoder may reach it."


def decoding_scores(
    held_out: HeldOut, retrievals: pd.DataFrame, oracle: pd.DataFrame, params: ScoreParams
) -> dict[str, Score]:
    """Return all scores of the decoded words.

    Parameters
    ----------
    retrievals : pandas.DataFrame
        Rows of the contract of `retrievals`.
    oracle : pandas.DataFrame
        Answers of the best possible decoder; no rows where the truth is unknown.
    params : ScoreParams
        Ranks, intervals and p-values.
    """
    scores = stimulus_scores(held_out, "", params) | caption_scores(held_out, params)
    test = held_out.of(held_out.trials["split"] == TEST)
    zero_shot = held_out.of(held_out.trials["split"] == ZERO_SHOT)
    if len(test.trials):
        scores |= concept_scores(test, test.concepts(), "", "", oracle, params)
        scores |= concept_details(test, oracle, params)
        scores |= retrieved_concept_scores(test, retrievals, params)
    if len(zero_shot.trials):
        prefix, everything = f"{ZERO_SHOT}_", zero_shot.concepts()
        scores |= concept_scores(zero_shot, zero_shot.candidates(), prefix, "", None, params)
        scores |= concept_scores(zero_shot, everything, prefix, "_all_concepts", oracle, params)
        scores |= stimulus_scores(zero_shot, prefix, params)
    return scores


def concept_ranking(held_out: HeldOut, kinds: Sequence[str], names: Sequence[str]) -> Ranking:
    """Rank concepts for each trial by the mean cosine with their prototypes over some kinds."""
    naming = {kind: held_out.naming(kind) for kind in kinds}
    candidates = {kind: prototypes(*naming[kind], names) for kind in kinds}
    return rank(mean_cosines(held_out.predicted, candidates))


def concept_scores(
    held_out: HeldOut,
    names: Sequence[str],
    prefix: str,
    suffix: str,
    oracle: pd.DataFrame | None,
    params: ScoreParams,
    kinds: Sequence[str] | None = None,
) -> dict[str, Score]:
    """Score the naming of concepts on trials of one split.

    Parameters
    ----------
    prefix, suffix : str
        Of the names of the scores.
    oracle : pandas.DataFrame or None
        Answers of the best possible decoder among the same candidates.
    params : ScoreParams
        Ranks, intervals and p-values.
    kinds : Sequence[str] or None
        Heads to fuse; None: those of the object tier.
    """
    kinds = held_out.kinds(OBJECT_TIER) if kinds is None else kinds
    shown = held_out.trials.drop_duplicates("stimulus_id").sort_values("stimulus_id")
    columns = columns_of(shown["concept"].tolist(), names, "the candidate concepts")
    ceilings, is_bound = _ceilings(oracle, held_out)
    scores = ranking_scores(
        f"{prefix}concept",
        suffix,
        concept_ranking(held_out, kinds, names).for_stimuli(columns),
        len(names),
        params.ks,
        params.draw_rows(held_out.trials, shown["stimulus_id"].tolist()),
        ceilings=ceilings,
    )
    if not is_bound:
        return scores
    return {
        name: found if found.ceiling is None else _with_bound(found)
        for name, found in scores.items()
    }


def concept_details(
    held_out: HeldOut, oracle: pd.DataFrame, params: ScoreParams
) -> dict[str, Score]:
    """Score the naming of concepts by each head of the object tier, by all heads, by subject."""
    subjects = sorted(set(held_out.trials["subject"]))
    fused = held_out.kinds(OBJECT_TIER)
    groups: dict[str, tuple[HeldOut, Sequence[str]]] = {
        **{kind: (held_out, [kind]) for kind in fused},
        "all_kinds": (held_out, list(held_out.predicted)),
        **{name: (held_out.of(held_out.trials["subject"] == name), fused) for name in subjects},
    }
    scores: dict[str, Score] = {}
    for name, (trials, kinds) in groups.items():
        names = held_out.concepts()
        scores |= concept_scores(trials, names, "", f"_{name}", oracle, params, kinds)
    return scores


def retrieved_concept_scores(
    held_out: HeldOut, retrievals: pd.DataFrame, params: ScoreParams
) -> dict[str, Score]:
    """Score the concept of the training stimulus whose caption is nearest, by kind.

    This is what rendering is given; captions of kinds that name no object can hardly score.
    """
    nearest = retrievals[(retrievals["gallery"] == "train") & (retrievals["rank"] == 1)]
    nearest = nearest.merge(held_out.captions[["caption_id", "concept"]], on="caption_id")
    shown = held_out.trials.drop_duplicates("stimulus_id").sort_values("stimulus_id")
    resampling = params.draw_rows(held_out.trials, shown["stimulus_id"].tolist())
    scores = {}
    for kind in held_out.predicted:
        retrieved = nearest[nearest["kind"] == kind].set_index("trial_id")["concept"]
        rows = columns_of(held_out.trials["trial_id"].tolist(), retrieved.index, "`retrievals`")
        matrix = agreement(retrieved.iloc[rows].tolist(), shown["concept"].tolist())
        scores[f"retrieved_concept_accuracy_{kind}"] = score(matrix, resampling, chance=None)
    return scores


def oracle_accuracy(oracle: pd.DataFrame, trial_ids: Sequence[str], factor: str) -> float | None:
    """Return the oracle's accuracy on exactly these trials, or None where it did not see them all.

    Parameters
    ----------
    oracle : pandas.DataFrame
        Columns trial_id, factor, predicted, actual; no rows where the truth is unknown.
    """
    answers = oracle[(oracle["factor"] == factor) & oracle["trial_id"].isin(list(trial_ids))]
    if answers.empty or len(answers) < len(trial_ids):
        return None
    return float((answers["predicted"] == answers["actual"]).mean())


def _ceilings(oracle: pd.DataFrame | None, held_out: HeldOut) -> tuple[Mapping[int, float], bool]:
    """Return the best possible recall by k, where known, and whether it is a bound, which nobody may reach."""
    if oracle is None:
        return {}, False
    trial_ids = held_out.trials["trial_id"].tolist()
    for factor in ("concept", CONCEPT_BOUND):
        accuracy = oracle_accuracy(oracle, trial_ids, factor)
        if accuracy is not None:
            return {1: accuracy}, factor == CONCEPT_BOUND
    return {}, False


def _with_bound(found: Score) -> Score:
    return found.model_copy(update={"verdict": f"{found.verdict} {BOUND}".strip()})


def concept_confusion(held_out: HeldOut) -> pd.DataFrame:
    """Return the actual and the predicted concept of each trial, fused over the object tier."""
    names = held_out.candidates()
    nearest = concept_ranking(held_out, held_out.kinds(OBJECT_TIER), names).first.argmin(axis=1)
    predicted = [names[index] for index in nearest]
    return pd.DataFrame({"actual": held_out.trials["concept"], "predicted": predicted})


def recall_curves(held_out: HeldOut, largest_k: int) -> pd.DataFrame:
    """Return recall at every k with its chance, for concepts and for stimuli by tier and fused.

    Parameters
    ----------
    held_out : HeldOut
        Trials of both splits; concepts are scored on those of `main_split`.
    largest_k : int
        Last k of a curve.
    """
    stimulus_ids = held_out.stimuli()
    gallery = held_out.gallery(stimulus_ids)
    own = columns_of(held_out.trials["stimulus_id"].tolist(), stimulus_ids, "the scored stimuli")
    rankings = {"stimulus": gallery.stimulus_ranking(list(held_out.predicted), held_out.predicted)}
    for tier in TIERS:
        if kinds := held_out.kinds(tier):
            rankings[f"stimulus_{tier}"] = gallery.stimulus_ranking(kinds, held_out.predicted)
    curves = [_curve(name, ranking, own, largest_k) for name, ranking in rankings.items()]
    main = held_out.main()
    names = main.candidates()
    ranking = concept_ranking(main, main.kinds(OBJECT_TIER), names)
    own = columns_of(main.trials["concept"].tolist(), names, "the candidate concepts")
    curves.insert(0, _curve("concept", ranking, own, largest_k))
    return pd.concat(curves, ignore_index=True)


def _curve(name: str, ranking: Ranking, own: np.ndarray, largest_k: int) -> pd.DataFrame:
    n_items = ranking.first.shape[1]
    ks = np.arange(1, min(largest_k, n_items) + 1)
    values = [own_values(ranking.recall(int(k)), own).mean() for k in ks]
    return pd.DataFrame(
        {"score": name, "n_items": n_items, "k": ks, "value": values, "chance": ks / n_items}
    )
