"""Second opinions on saliency: regions taken away, the course over time, and which head wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.analysis.galleries import rank
from tasks.analysis.heads import Heads
from tasks.analysis.held_out import HeldOut
from tasks.analysis.saliency import Explained, evidence
from tasks.analysis.scalp import REGIONS, rank_correlation
from tasks.artifacts.metrics import Score
from tasks.language.prompts import TIER_OF


def occlude(explained: Explained, heads: Heads, regions: Sequence[str]) -> pd.DataFrame:
    """Return what each head's score of the own caption loses when a region holds the mean epoch.

    Parameters
    ----------
    explained : Explained
        Held-out trials.
    heads : Heads
        The trained network.
    regions : Sequence[str]
        Region of each channel.

    Returns
    -------
    pandas.DataFrame
        Columns subject, tier, kind, region, drop: the mean loss per channel of the region.
    """
    of, usual = np.asarray(regions), explained.eeg.mean(axis=0)
    subjects = np.asarray(explained.subjects)
    whole = _scores(explained, heads.predict(explained.eeg, explained.subjects))
    rows = []
    for region in (name for name in REGIONS if (of == name).any()):
        eeg = np.where((of == region)[:, None], usual, explained.eeg).astype(np.float32)
        left = _scores(explained, heads.predict(eeg, explained.subjects))
        for kind in whole:
            drops = (whole[kind] - left[kind]) / (of == region).sum()
            rows += [
                (str(s), TIER_OF[kind].value, kind, region, float(drops[subjects == s].mean()))
                for s in np.unique(subjects)
            ]
    return pd.DataFrame(rows, columns=["subject", "tier", "kind", "region", "drop"])


def _scores(
    explained: Explained, predicted: Mapping[str, np.ndarray]
) -> dict[str, Float[np.ndarray, " n_trials"]]:
    return {
        kind: (predicted[kind] * toward).sum(axis=1)
        for kind, toward in explained.directions.items()
    }


def occlusion_scores(drops: pd.DataFrame, shares: pd.DataFrame) -> dict[str, Score]:
    """Score whether occlusion and saliency rank the regions alike, by tier.

    Parameters
    ----------
    drops : pandas.DataFrame
        From `occlude`.
    shares : pandas.DataFrame
        Columns tier, region, share: of saliency.
    """
    scores = {}
    for tier, own in drops.groupby("tier", sort=False):
        lost = own.groupby("region")["drop"].mean()
        salient = shares[shares["tier"] == tier].set_index("region")["share"]
        value = rank_correlation(lost.reindex(salient.index).to_numpy(), salient.to_numpy())
        most = str(lost.idxmax())
        scores[f"saliency_agreement_with_occlusion_{tier}"] = Score(
            value=value,
            n=len(salient),
            chance=0.0,
            unit="correlation",
            verdict=(
                f"Taking {most} channels away costs the {tier} heads most per channel; over "
                f"{len(salient)} regions occlusion and saliency have rank correlation {value:.2f}."
            ),
        )
    return scores


def over_time(explained: Explained, times_s: Float[np.ndarray, " n_times"]) -> pd.DataFrame:
    """Return when the evidence for the own caption is in the EEG, by tier.

    Parameters
    ----------
    explained : Explained
        Held-out trials.
    times_s : Float[np.ndarray, "n_times"]
        Of the samples, relative to picture onset.

    Returns
    -------
    pandas.DataFrame
        Columns series (the tier), x (s) and value (share of the strongest sample).
    """
    parts = []
    tiers = dict.fromkeys(TIER_OF[kind].value for kind in explained.predicted)
    for tier in tiers:
        course = np.zeros(len(times_s))
        for trials in explained.by_subject().values():
            for kind in (k for k in explained.predicted if TIER_OF[k].value == tier):
                found = evidence(trials.eeg, trials.predicted[kind], trials.directions[kind])
                course += np.clip(found.sum(axis=0), 0, None) / (np.abs(found).sum() or 1.0)
        value = course / (course.max() or 1.0)
        parts.append(pd.DataFrame({"series": tier, "x": times_s, "value": value}))
    return pd.concat(parts, ignore_index=True)


def dominance(held_out: HeldOut) -> tuple[pd.DataFrame, dict[str, Score]]:
    """Tell which head places the shown picture best, by concept.

    Parameters
    ----------
    held_out : HeldOut
        The trials.

    Returns
    -------
    pandas.DataFrame
        Columns concept, kind, share: of the concept's trials that the head wins; ties are shared.
    dict[str, Score]
        Share of all trials that the most frequent winner wins.
    """
    stimuli = held_out.stimuli()
    vectors = held_out.gallery(stimuli).vectors
    own = np.searchsorted(stimuli, held_out.trials["stimulus_id"].to_numpy(str))
    kinds = list(vectors)
    rows = np.arange(len(own))
    places = np.stack(
        [rank(held_out.predicted[k] @ vectors[k].T).places()[rows, own] for k in kinds], axis=1
    )
    best = places == places.min(axis=1, keepdims=True)
    wins = pd.DataFrame(best / best.sum(axis=1, keepdims=True), columns=kinds)
    shares = wins.mean()
    winner = str(shares.idxmax())
    table = wins.groupby(held_out.trials["concept"].to_numpy(str)).mean()
    table = table.rename_axis("concept").reset_index()
    table = table.melt("concept", var_name="kind", value_name="share")
    score = Score(
        value=float(shares.max()),
        n=len(own),
        chance=1 / len(kinds),
        verdict=(
            f"{winner} places the shown picture best in {shares.max():.0%} of the trials, and is best for "
            f"{int((table.loc[table.groupby('concept')['share'].idxmax(), 'kind'] == winner).sum())} of "
            f"{table['concept'].nunique()} concepts; with all heads alike each would win {1 / len(kinds):.0%}."
        ),
    )
    return table, {"dominance_of_the_strongest_head": score}
