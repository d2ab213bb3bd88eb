"""How decoding fails: clean pictures of the wrong thing, few of them, a few captions for all, heads alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.sparse.csgraph import connected_components

from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import TRAIN
from tasks.scores.held_out import HeldOut
from tasks.scores.judged import CONCEPT, Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.ranking import Vectors
from tasks.scores.score import score
from tasks.statistics.corrections import holm
from tasks.statistics.permutation import SIGNIFICANCE, sign_flip_p_value
from tasks.statistics.resampling import STIMULI

SURE = 0.9
"""Probability from which a classifier is called sure."""
SAME_PICTURE_COSINE = 0.98
"""From this cosine in CLIP space, pictures count as one."""
N_EXAMPLES = 6
N_PICTURES = 400
"""Training pictures at most, among whose captions of all kinds the nearest is sought."""
MIN_KINDS = 2
SAME_CAPTION = 1e-5
"""Differences of cosines up to this are arithmetic: the captions of two kinds read the same."""
STRAYED = ["trial_id", "stimulus_id", "subject", "kind", "other_kind", "text", "own_text"]
STRAYED += ["margin", "true_margin"]
COLUMNS = ["signature", "trial_id", "note"]


def hallucinations(renders: Pictures, shown: Mapping[str, str], params: ScoreParams) -> Score:
    """Score semantic hallucination: renders in which the judge is sure of another concept than was shown."""
    stimulus_ids = sorted(set(renders.rows["stimulus_id"]))
    sure = renders.judgement.probabilities[CONCEPT].max(axis=1) >= SURE
    seen = np.asarray(renders.judgement.labels[CONCEPT])
    wrong = seen[:, None] != np.asarray([shown[s] for s in stimulus_ids])[None]
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    found = score(
        np.asarray(wrong & sure[:, None], float), resampling, chance=None, lower_is_better=True
    )
    n_sure = int(sure.sum())
    note = (
        f"The judge is sure (at least {SURE:.0%}) of {n_sure} of {len(sure)} pictures: a wrong one looks as "
        "good as a right one."
    )
    return found.model_copy(update={"verdict": note})


def distinct_pictures(renders: Pictures, shown: Vectors, params: ScoreParams) -> Score:
    """Score mode collapse: how many different pictures there are, for each picture that was drawn.

    Parameters
    ----------
    shown : Float[np.ndarray, "n dim"]
        Unit-norm CLIP vectors of the stimuli of the renders, in their order.
    """
    stimulus_ids = sorted(set(renders.rows["stimulus_id"]))
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    groups = same_pictures(renders.vectors)
    of_shown = float(_n_groups(same_pictures(shown)) / len(shown))
    samples = np.array([len(np.unique(groups[w > 0])) / (w > 0).sum() for w in resampling.weights])
    largest = int(np.bincount(groups).max())
    value = _n_groups(groups) / len(groups)
    spread = resampling.control(samples)
    low, high = min(spread.low, value), max(spread.high, value)
    return Score(
        value=value,
        n=len(groups),
        low=low,
        high=high,
        resampled=STIMULI,
        ceiling=of_shown,
        verdict=(
            f"{_n_groups(groups)} different pictures of {len(groups)} (alike: cosine of at least "
            f"{SAME_PICTURE_COSINE} in CLIP space); the most frequent one was drawn "
            f"{'once' if largest == 1 else f'{largest} times'}. Of the "
            f"pictures shown {of_shown:.0%} are different."
        ),
    )


def same_pictures(vectors: Vectors) -> np.ndarray:
    """Return a group for each picture: chains of pictures that are alike are one."""
    alike = vectors @ vectors.T >= SAME_PICTURE_COSINE
    groups: np.ndarray = connected_components(alike, directed=False)[1]
    return groups


def hubs(
    retrieved: pd.DataFrame, true: pd.DataFrame, n_resamples: int, seed: int
) -> dict[str, Score]:
    """Score hubs: the share of trials that one caption is nearest to, by kind.

    Parameters
    ----------
    retrieved, true : pandas.DataFrame
        Columns trial_id, stimulus_id, kind, text: the nearest caption of each trial, and the true one.
    n_resamples, seed : int
        Of the bootstrap over stimuli.
    """
    scores = {}
    for kind, own in retrieved.groupby("kind", sort=False):
        share = _largest_share(own["text"])
        wanted = _largest_share(true.loc[true["kind"] == kind, "text"])
        low, high = _interval(own, n_resamples, seed)
        commonest = own["text"].mode().iloc[0]
        scores[f"most_retrieved_caption_share_{kind}"] = Score(
            value=share,
            n=len(own),
            low=min(low, share),
            high=max(high, share),
            resampled=STIMULI,
            ceiling=wanted,
            lower_is_better=True,
            verdict=(
                f"One caption, “{commonest}”, is nearest to {share:.1%} of the trials; the most frequent "
                f"true caption belongs to {wanted:.1%}."
            ),
        )
    return scores


def failure_examples(
    renders: Pictures,
    shown: Mapping[str, str],
    retrieved: pd.DataFrame,
    true: pd.DataFrame,
    strayed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return trials that show each signature: columns signature, trial_id, note.

    Parameters
    ----------
    retrieved, true : pandas.DataFrame
        Columns trial_id, kind, text: the nearest caption of each trial, and the true one.
    strayed : pandas.DataFrame or None
        From `strayed_heads`.
    """
    rows: list[tuple[str, str, str]] = []
    trials = renders.rows["trial_id"].tolist()
    if CONCEPT in renders.judgement.labels and shown:
        probability = renders.judgement.probabilities[CONCEPT].max(axis=1)
        seen = np.asarray(renders.judgement.labels[CONCEPT])
        wrong = seen != np.asarray([shown[s] for s in renders.rows["stimulus_id"]])
        order = np.argsort(-np.where(wrong & (probability >= SURE), probability, 0), kind="stable")
        rows += [
            ("hallucination", trials[i], f"The judge is {probability[i]:.0%} sure of a {seen[i]}.")
            for i in order[:N_EXAMPLES]
            if wrong[i] and probability[i] >= SURE
        ]
    groups = same_pictures(renders.vectors)
    largest = np.flatnonzero(groups == np.bincount(groups).argmax())
    if len(largest) > 1:
        rows += [
            ("mode collapse", trials[i], f"One of {len(largest)} pictures that are alike.")
            for i in largest[:N_EXAMPLES]
        ]
    rows += _hub_examples(retrieved, true, trials) + _collapse_examples(strayed, trials)
    return pd.DataFrame(rows, columns=COLUMNS)


def strayed_heads(held_out: HeldOut, seed: int) -> pd.DataFrame:
    """Return whether each head answers with a caption of another head's kind, trial by trial.

    The nearest of the captions of training pictures is sought among all kinds. A head that has collapsed
    upon another says what that one should say.

    Parameters
    ----------
    seed : int
        Of the choice of training pictures, where there are more than `N_PICTURES`.

    Returns
    -------
    pandas.DataFrame
        Columns trial_id, stimulus_id, subject, kind, other_kind, text (nearest of another kind), own_text
        (nearest of the own), margin (cosine of the first less that of the second) and true_margin (the same
        for the true caption of the trial's picture in place of the prediction).
    """
    captions, kinds = held_out.captions, list(held_out.predicted)
    training = np.unique(captions.loc[captions["split"] == TRAIN, "stimulus_id"].to_numpy(str))
    if not len(training) or len(kinds) < MIN_KINDS:
        return pd.DataFrame(columns=STRAYED)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(training, min(N_PICTURES, len(training)), replace=False)
    gallery = held_out.gallery(np.sort(chosen).tolist())
    stimuli = held_out.stimuli()
    own = np.searchsorted(stimuli, held_out.trials["stimulus_id"].to_numpy(str))
    truth = held_out.gallery(stimuli).vectors
    parts = []
    for kind in kinds:
        found = {k: held_out.predicted[kind] @ gallery.vectors[k].T for k in kinds}
        true = {k: (truth[kind] @ gallery.vectors[k].T).max(axis=1) for k in kinds}
        best = np.stack([found[k].max(axis=1) for k in kinds if k != kind])
        others = [k for k in kinds if k != kind]
        which = best.argmax(axis=0)
        wanted = np.max([true[k] for k in others], axis=0) - true[kind]
        said = {k: found[k].argmax(axis=1) for k in kinds}
        texts = [gallery.texts[others[w]][said[others[w]][row]] for row, w in enumerate(which)]
        parts.append(
            held_out.trials[["trial_id", "stimulus_id", "subject"]].assign(
                kind=kind,
                other_kind=[others[w] for w in which],
                text=texts,
                own_text=[gallery.texts[kind][place] for place in said[kind]],
                margin=best.max(axis=0) - found[kind].max(axis=1),
                true_margin=wanted[own],
            )
        )
    return pd.concat(parts, ignore_index=True)


def answers_of_another_kind(strayed: pd.DataFrame, params: ScoreParams) -> dict[str, Score]:
    """Score head collapse: how often a head answers with a caption of another head's kind.

    Parameters
    ----------
    strayed : pandas.DataFrame
        From `strayed_heads`.
    """
    parts = []
    for kind, rows in strayed.groupby("kind", sort=False):
        wrong, usual = (
            (rows[column].to_numpy() > SAME_CAPTION).astype(float)
            for column in ("margin", "true_margin")
        )
        resampling = params.draw_rows(rows, sorted(set(rows["stimulus_id"])))
        p_value = sign_flip_p_value(
            wrong - usual, rows, "stimuli", params.n_permutations, params.seed
        )
        parts.append((kind, rows, wrong, usual, resampling, p_value))
    scores = {}
    adjusted = holm([part[-1] for part in parts])
    for (kind, rows, wrong, usual, resampling, p_value), p_holm in zip(
        parts, adjusted, strict=True
    ):
        away = rows.loc[wrong > 0, "other_kind"]
        most = f", most often {away.mode().iloc[0]}" if len(away) else ""
        more = "more often than" if p_holm < SIGNIFICANCE else "not told from how often"
        scores[f"answers_of_another_kind_{kind}"] = Score(
            **vars(resampling.estimate(wrong, limits=(0.0, 1.0))),
            n=len(rows),
            ceiling=float(usual.mean()),
            p_value=p_value,
            exchanged="stimuli",
            resampled=resampling.resampled,
            lower_is_better=True,
            verdict=(
                f"The {kind} head answers with a caption of another kind in {wrong.mean():.1%} of the trials"
                f"{most}: {more} the true captions lie nearer to another kind ({usual.mean():.1%}, p = {p_holm:.2g} by Holm "
                f"over {len(parts)} heads)."
            ),
        )
    return scores


def _collapse_examples(
    strayed: pd.DataFrame | None, trials: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return the trials in which a head strays furthest, one head after another."""
    if strayed is None:
        return []
    known = strayed[
        strayed["trial_id"].isin(list(trials))
        & (strayed["margin"] > SAME_CAPTION)
        & (strayed["true_margin"] <= SAME_CAPTION)
    ]
    order = known.sort_values(["margin", "trial_id"], ascending=[False, True])
    chosen = order.drop_duplicates("kind").head(N_EXAMPLES)
    return [
        (
            "head collapse",
            row["trial_id"],
            f"The {row['kind']} head is nearest to a {row['other_kind']} caption, “{row['text']}”, and not to "
            f"one of its own kind, “{row['own_text']}”.",
        )
        for row in chosen.to_dict("records")
    ]


def _hub_examples(
    retrieved: pd.DataFrame, true: pd.DataFrame, trials: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Return trials of the caption that is nearest to more trials than any caption of its kind is true of."""
    known = retrieved[retrieved["trial_id"].isin(list(trials))]
    if known.empty:
        return []
    counts = known.groupby(["kind", "text"]).size() / known.groupby("kind").size()
    wanted = true[true["trial_id"].isin(list(trials))].groupby("kind")["text"].agg(_largest_share)
    excess = counts - wanted.reindex(counts.index.get_level_values("kind")).fillna(0).to_numpy()
    kind, text = excess.index[int(excess.to_numpy().argmax())]
    if excess[kind, text] <= 0:
        return []
    own = known[(known["kind"] == kind) & (known["text"] == text)]["trial_id"].sort_values()
    note = (
        f"“{text}” ({kind}) is nearest to {counts[kind, text]:.0%} of the trials; the most frequent true "
        f"caption of its kind belongs to {wanted.get(kind, 0.0):.0%}."
    )
    return [("hub", trial_id, note) for trial_id in own.head(N_EXAMPLES)]


def _n_groups(groups: np.ndarray) -> int:
    return len(np.unique(groups))


def _largest_share(texts: pd.Series[str]) -> float:
    return float(texts.value_counts(normalize=True).iloc[0])


def _interval(own: pd.DataFrame, n_resamples: int, seed: int) -> tuple[float, float]:
    """Return the bootstrap interval over stimuli of the share of the most frequent caption."""
    stimuli, column = np.unique(own["stimulus_id"].to_numpy(str), return_inverse=True)
    text = np.unique(own["text"].to_numpy(str), return_inverse=True)[1]
    counts = np.zeros((len(stimuli), int(text.max()) + 1))
    np.add.at(counts, (column, text), 1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(stimuli), np.full(len(stimuli), 1 / len(stimuli)), n_resamples)
    totals: Float[np.ndarray, "n n_texts"] = drawn @ counts
    shares = totals.max(axis=1) / totals.sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)
