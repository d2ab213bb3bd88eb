"""Whether what is tested was in training: the same pictures, the same captions, the same people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool
from scipy.stats import binomtest, fisher_exact

from tasks.artifacts.metrics import COUNTED, Score
from tasks.artifacts.splits import HELD_OUT, TRAIN
from tasks.controls.answers import in_words, score_correlation, score_hits
from tasks.controls.drift_probes import curve_of_parts
from tasks.controls.evidence import Evidence, Finding
from tasks.statistics.permutation import SIGNIFICANCE
from tasks.statistics.verdicts import beats_chance


def stimulus_overlap(evidence: Evidence) -> Finding:
    """Count audited trials whose picture, by its id or its bytes, was in training."""
    leaked = _shown_in_training(evidence)
    return Finding(
        _leak_score(
            evidence,
            leaked,
            f"{leaked.mean():.1%} of the audited trials show a picture that is in training, by its id or its bytes",
            "No audited picture is in training, by its id or its bytes.",
        )
    )


def caption_overlap(evidence: Evidence) -> Finding:
    """Count held-out pictures whose captions are all word for word those of one training picture.

    Short captions of different pictures are equal now and then. How often is told by the training
    pictures among themselves; held-out pictures that do so more often were copied.
    """
    rate, usual, p_value = _copied(evidence)
    n_pictures = sum(part in HELD_OUT for part in _splits(evidence).values())
    copied = p_value < SIGNIFICANCE and rate > usual
    counts = (
        f"{rate:.1%} of the held-out pictures have, word for word, all captions of one training picture; "
        f"training pictures among themselves {usual:.1%} (p = {p_value:.2g})"
    )
    verdict = (
        f"Leaked captions: {counts}. What is retrieved for them need not come from the EEG."
        if copied
        else f"No leaked captions are found: {counts}, at most {_at_most(evidence):.1%} (95 % upper bound)."
    )
    shown = _shown_in_training(evidence)
    if shown.all():
        rate, n_pictures = 1.0, evidence.shown["stimulus_id"].nunique()
        verdict = (
            "Every audited picture is a training picture, and its captions are training captions."
        )
    score = Score(
        value=rate,
        n=n_pictures,
        chance=usual,
        p_value=p_value,
        exchanged="pictures",
        lower_is_better=True,
        verdict=verdict,
    )
    return Finding(score)


def gallery_overlap(evidence: Evidence) -> Finding | None:
    """Count captions retrieved from the train gallery that were written about held-out pictures."""
    retrieved = evidence.retrievals[evidence.retrievals["gallery"] == "train"]
    if retrieved.empty:
        return None
    captions = evidence.held_out.captions
    unseen = set(captions.loc[captions["split"] != TRAIN, "caption_id"])
    leaked = retrieved["caption_id"].isin(unseen).to_numpy()
    verdict = (
        f"{leaked.mean():.1%} of the captions retrieved as decoded were written about pictures outside "
        "the training set: identification, not decoding."
        if leaked.any()
        else "Every caption retrieved as decoded was written about a training picture."
    )
    value = float(leaked.mean())
    score = Score(
        value=value,
        n=len(leaked),
        chance=0.0,
        resampled=COUNTED,
        lower_is_better=True,
        verdict=verdict,
    )
    return Finding(score)


def picture_similarity(evidence: Evidence) -> Finding | None:
    """Ask whether pictures that are like a training picture are named better."""
    training = evidence.trained
    known = sorted(set(training["stimulus_id"]) & set(evidence.image_vectors))
    asked = evidence.shown["stimulus_id"].tolist()
    if not known or not set(asked) <= set(evidence.image_vectors):
        return None
    gallery = np.stack([evidence.image_vectors[stimulus] for stimulus in known])
    nearest = {s: float((gallery @ evidence.image_vectors[s]).max()) for s in sorted(set(asked))}
    cosines = np.array([nearest[stimulus] for stimulus in asked])
    score = score_correlation(
        evidence.shown,
        evidence.own_hits,
        cosines,
        evidence.params,
        "concepts",  # pictures of one concept are alike, and some concepts are easy
        ["all"] * len(asked),
    )
    curve = curve_of_parts("test trials", cosines, evidence.own_hits)
    least, most = curve["value"].iloc[0], curve["value"].iloc[-1]
    found = (
        f"named in {least:.3f} of the trials with pictures least like any training picture, in "
        f"{most:.3f} of those most like one"
    )
    return Finding.judged(
        score,
        f"Likeness of a picture to its nearest training picture and its being named have rank correlation "
        f"{score.value:.2f} ({found})",
        "pictures like training pictures are named better",
        curve,
        "cosine with the nearest training picture",
        "share named",
    )


def shared_context(evidence: Evidence) -> Finding:
    """Count audited trials from a block in which training trials lie too."""
    training = evidence.trained
    shares = {
        what: _shared(evidence.shown, training, columns).mean()
        for what, columns in _CONTEXTS.items()
    }
    parts = ", ".join(f"{share:.0%} from {what}" for what, share in shares.items())
    return Finding(
        Score(
            value=float(shares["a block"]),
            n=len(evidence.shown),
            resampled=COUNTED,
            lower_is_better=True,
            verdict=(
                f"Of the audited trials {parts} that training has met. What holds for other people or "
                "other days needs a split that leaves them out: preprocess.split.strategy subject or "
                "time_chunk."
            ),
        )
    )


def explained_by_leakage(evidence: Evidence) -> Finding:
    """Say whether pictures or captions that leaked from training could have made the score.

    The rule: *no leak* if no audited picture is in training and captions are copied no more often
    than among training pictures. Otherwise the trials without a leak are scored alone: *explained by
    leakage* if they cannot be told from guessing or there are none, else *not explained*.
    """
    leaked = _shown_in_training(evidence)
    rate, usual, p_value = _copied(evidence)
    if p_value < SIGNIFICANCE and rate > usual:
        leaked |= _described_in_training(evidence)
    score = Score(
        value=float(leaked.mean()),
        n=len(leaked),
        chance=0.0,
        resampled=COUNTED,
        lower_is_better=True,
    )
    if not leaked.any():
        return _said(
            score,
            "No leak is found: no audited picture was in training, and captions are not told from those "
            "that agree by chance.",
        )
    share = f"{leaked.mean():.1%} of the audited trials leaked from training"
    if leaked.all():
        return _said(score, f"Explained by leakage: {share}, so that none is left to judge by.")
    clean = evidence.held_out.of(pd.Series(~leaked))
    stimuli = np.isin(evidence.held_out.stimuli(), clean.stimuli())
    without = score_hits(clean.trials, evidence.hits[~leaked][:, stimuli], evidence.params)
    rest = f"without them the encoder scores {in_words(without)}, with them {evidence.encoder.value:.3f}"
    if beats_chance(without):
        return _said(score, f"Not explained by leakage: {share}; {rest}.")
    return _said(score, f"Explained by leakage: {share}; {rest}, not told from guessing.")


def _said(score: Score, verdict: str) -> Finding:
    return Finding(score.model_copy(update={"verdict": verdict}))


def _leak_score(
    evidence: Evidence, leaked: Bool[np.ndarray, " n_trials"], found: str, clean: str
) -> Score:
    verdict = f"Leaked pictures: {found}. Their score measures memory." if leaked.any() else clean
    return Score(
        value=float(leaked.mean()),
        n=len(evidence.shown),
        chance=0.0,
        resampled=COUNTED,
        lower_is_better=True,
        verdict=verdict,
    )


_CONTEXTS: Mapping[str, list[str]] = {
    "a subject": ["subject"],
    "a session": ["subject", "session"],
    "a block": ["recording_id", "block"],
}


def _shared(
    shown: pd.DataFrame, training: pd.DataFrame, columns: list[str]
) -> Bool[np.ndarray, " n_trials"]:
    known = set(training[columns].itertuples(index=False, name=None))
    return np.array([row in known for row in shown[columns].itertuples(index=False, name=None)])


def _shown_in_training(evidence: Evidence) -> Bool[np.ndarray, " n_trials"]:
    digest = dict(zip(evidence.stimuli["stimulus_id"], evidence.stimuli["sha256"], strict=True))
    training = evidence.trained
    known = set(training["stimulus_id"])
    known_bytes = {digest[stimulus] for stimulus in known}
    asked = evidence.shown["stimulus_id"]
    return np.array([s in known or digest[s] in known_bytes for s in asked])


def _descriptions(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """Return all captions of each stimulus, in the order of their kinds."""
    captions = evidence.held_out.captions.sort_values(["stimulus_id", "kind"])
    return {str(s): tuple(own) for s, own in captions.groupby("stimulus_id")["text"]}


def _splits(evidence: Evidence) -> dict[str, str]:
    captions = evidence.held_out.captions.drop_duplicates("stimulus_id")
    return dict(zip(captions["stimulus_id"], captions["split"], strict=True))


def _described_in_training(evidence: Evidence) -> Bool[np.ndarray, " n_trials"]:
    texts, split = _descriptions(evidence), _splits(evidence)
    known = {texts[s] for s in texts if split[s] == TRAIN}
    return np.array([texts.get(s) in known for s in evidence.shown["stimulus_id"]])


def _at_most(evidence: Evidence) -> float:
    """Return the share of held-out pictures that are described as a training picture at most."""
    texts, split = _descriptions(evidence), _splits(evidence)
    known = {texts[s] for s in texts if split[s] == TRAIN}
    unseen = [texts[s] in known for s in texts if split[s] in HELD_OUT]
    return float(binomtest(sum(unseen), len(unseen)).proportion_ci(0.95, "exact").high)


def _copied(evidence: Evidence) -> tuple[float, float, float]:
    """Return how often held-out and training pictures are described as a training picture, and a p-value."""
    texts, split = _descriptions(evidence), _splits(evidence)
    training = pd.Series([texts[s] for s in texts if split[s] == TRAIN])
    unseen = pd.Series([texts[s] for s in texts if split[s] in HELD_OUT])
    own = int(training.duplicated(keep=False).sum())
    found = int(unseen.isin(set(training)).sum())
    table = [[found, len(unseen) - found], [own, len(training) - own]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    return found / max(1, len(unseen)), own / max(1, len(training)), p_value
