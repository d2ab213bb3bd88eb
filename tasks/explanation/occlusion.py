"""Second opinions on saliency: regions taken away, the course over time, and which head wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.metrics import Score
from tasks.explanation.heads import Heads
from tasks.explanation.saliency import Explained, evidence
from tasks.explanation.scalp import REGIONS, rank_correlation
from tasks.language.prompts import TIER_OF
from tasks.scores.held_out import HeldOut
from tasks.statistics.resampling import (
    MIN_SUBJECTS,
    Resampling,
    correlation_interval,
    student,
)

MAP_WINDOW_S = 0.1
"""Length of the windows of scalp maps over time."""


def occlude(explained: Explained, heads: Heads, regions: Sequence[str]) -> pd.DataFrame:
    """Return what each head's score of the own caption loses when a region holds the mean epoch.

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


def occlusion_scores(
    drops: pd.DataFrame, shares: pd.DataFrame, confidence: float
) -> dict[str, Score]:
    """Score whether occlusion and saliency rank the regions alike, by tier.

    Parameters
    ----------
    drops : pandas.DataFrame
        From `occlude`.
    shares : pandas.DataFrame
        Columns tier, region, share: of saliency.
    confidence : float
        Of the interval over subjects, made with at least two of them.
    """
    scores = {}
    for tier, own in drops.groupby("tier", sort=False):
        lost = own.groupby("region")["drop"].mean()
        salient = shares[shares["tier"] == tier].set_index("region")["share"]
        target = salient.to_numpy()
        value = rank_correlation(lost.reindex(salient.index).to_numpy(), target)
        of_subjects = own.pivot_table(index="subject", columns="region", values="drop")
        each = of_subjects[salient.index].to_numpy()
        low, high = _over_subjects(each, target, confidence)
        orders = [rank_correlation(np.array(order), target) for order in permutations(target)]
        p_value = float(np.mean(np.array(orders) >= value - 1e-9))
        most = str(lost.idxmax())
        scores[f"saliency_agreement_with_occlusion_{tier}"] = Score(
            value=value,
            n=len(salient),
            chance=0.0,
            low=low,
            high=high,
            p_value=p_value,
            exchanged="regions",
            resampled="" if low is None else "subjects",
            unit="correlation",
            verdict=(
                f"Taking {most} channels away costs the {tier} heads most per channel; over "
                f"{len(salient)} regions occlusion and saliency have rank correlation {value:.2f} "
                f"(p = {p_value:.2g}, over all orders of the regions)."
            ),
        )
    return scores


def _over_subjects(
    drops: Float[np.ndarray, "n_subjects n_regions"],
    shares: Float[np.ndarray, " n_regions"],
    confidence: float,
) -> tuple[float | None, float | None]:
    if len(drops) < MIN_SUBJECTS:
        return None, None
    others = [np.delete(drops, subject, axis=0).mean(axis=0) for subject in range(len(drops))]
    left_out = np.array([rank_correlation(other, shares) for other in others])
    return correlation_interval(rank_correlation(drops.mean(axis=0), shares), left_out, confidence)


def over_time(
    explained: Explained,
    times_s: Float[np.ndarray, " n_times"],
    confidence: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return when the evidence for the own caption is in the EEG, by tier and by head.

    Parameters
    ----------
    times_s : Float[np.ndarray, "n_times"]
        Of the samples, relative to picture onset.
    confidence : float
        Of the interval over subjects, made with at least two of them.

    Returns
    -------
    pandas.DataFrame, pandas.DataFrame
        Columns series (the tier; the kind), x (s), value (share of the strongest sample), low and high (its
        interval over subjects, where there are enough); of heads also tier.
    """
    heads: dict[str, list[np.ndarray]] = {kind: [] for kind in explained.predicted}
    for trials in explained.by_subject().values():
        for kind, own in heads.items():
            found = evidence(trials.eeg, trials.predicted[kind], trials.directions[kind])
            course = np.clip(found.sum(axis=0), 0, None)
            own.append(course / (np.abs(found).sum() or 1.0))
    of_heads = {kind: np.array(own) for kind, own in heads.items()}
    tiers: dict[str, list[np.ndarray]] = {}
    for kind, courses in of_heads.items():
        tiers.setdefault(TIER_OF[kind].value, []).append(courses)
    by_tier = [_course(t, times_s, np.mean(c, axis=0), confidence) for t, c in tiers.items()]
    by_head = [
        _course(kind, times_s, courses, confidence).assign(tier=TIER_OF[kind].value)
        for kind, courses in of_heads.items()
    ]
    return pd.concat(by_tier, ignore_index=True), pd.concat(by_head, ignore_index=True)


def maps_over_time(
    explained: Explained, times_s: Float[np.ndarray, " n_times"]
) -> dict[str, dict[str, Float[np.ndarray, " n_channels"]]]:
    """Return where the evidence for the own caption is, window by window, by tier.

    Parameters
    ----------
    times_s : Float[np.ndarray, "n_times"]
        Of the samples, relative to picture onset; what comes before it is left out.

    Returns
    -------
    dict[str, dict[str, Float[np.ndarray, "n_channels"]]]
        Tier to window, such as "100 to 200 ms", to the amplitude at each channel: the root of the evidence, mean over
        subjects and heads.
    """
    after = times_s >= 0
    edges = np.unique(np.append(np.arange(0, times_s[-1], MAP_WINDOW_S), times_s[-1] + 1e-9))
    windows = {
        f"{1000 * start:.0f} to {1000 * end:.0f}": after & (times_s >= start) & (times_s < end)
        for start, end in pairwise(edges)
    }
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for trials in explained.by_subject().values():
        for kind in explained.predicted:
            own = evidence(trials.eeg, trials.predicted[kind], trials.directions[kind])
            scale = np.abs(own).sum() or 1.0
            of_tier = found.setdefault(TIER_OF[kind].value, {name: [] for name in windows})
            for name, window in windows.items():
                of_tier[name].append(np.sqrt(np.clip(own[:, window].sum(axis=1) / scale, 0, None)))
    return {
        tier: {f"{name} ms": np.mean(maps, axis=0) for name, maps in of_tier.items()}
        for tier, of_tier in found.items()
    }


def _course(
    name: str,
    times_s: Float[np.ndarray, " n_times"],
    courses: Float[np.ndarray, "n_subjects n_times"],
    confidence: float,
) -> pd.DataFrame:
    scale = courses.mean(axis=0).max() or 1.0
    frame = pd.DataFrame({"series": name, "x": times_s, "value": courses.mean(axis=0) / scale})
    if len(courses) < MIN_SUBJECTS:
        return frame
    error = courses.std(axis=0, ddof=1) / np.sqrt(len(courses)) / scale
    reach = student(confidence, len(courses)) * error
    return frame.assign(low=frame["value"] - reach, high=frame["value"] + reach)


def dominance(
    held_out: HeldOut, n_resamples: int, confidence: float, seed: int
) -> tuple[pd.DataFrame, dict[str, Score]]:
    """Tell which head places the shown picture best, by concept.

    Returns
    -------
    pandas.DataFrame
        Columns concept, kind, share: of the concept's trials that the head wins; ties are shared.
    dict[str, Score]
        Share of all trials that the most frequent winner wins.
    """
    stimuli = held_out.stimuli()
    gallery = held_out.gallery(stimuli)
    own = np.searchsorted(stimuli, held_out.trials["stimulus_id"].to_numpy(str))
    kinds = list(gallery.vectors)
    rows = np.arange(len(own))
    places = np.stack(
        [gallery.stimulus_ranking([k], held_out.predicted).places()[rows, own] for k in kinds],
        axis=1,
    )
    best = places == places.min(axis=1, keepdims=True)
    wins = pd.DataFrame(best / best.sum(axis=1, keepdims=True), columns=kinds)
    shares = wins.mean()
    winner = str(shares.idxmax())
    table = wins.groupby(held_out.trials["concept"].to_numpy(str)).mean()
    table = table.rename_axis("concept").reset_index()
    table = table.melt("concept", var_name="kind", value_name="share")
    resampling = Resampling.draw(
        own,
        len(stimuli),
        n_resamples=n_resamples,
        n_permutations=0,
        confidence=confidence,
        seed=seed,
        subjects=held_out.trials["subject"].tolist(),
    )
    estimate = resampling.estimate(wins[winner].to_numpy())
    score = Score(
        **vars(estimate),
        n=len(own),
        chance=1 / len(kinds),
        resampled=resampling.resampled,
        verdict=(
            f"{winner} places the shown picture best in {shares.max():.0%} of the trials, and is best for "
            f"{int((table.loc[table.groupby('concept')['share'].idxmax(), 'kind'] == winner).sum())} of "
            f"{table['concept'].nunique()} concepts; with all heads alike each would win {1 / len(kinds):.0%}."
        ),
    )
    return table, {"dominance_of_the_strongest_head": score}
