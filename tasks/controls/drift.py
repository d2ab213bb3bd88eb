"""What can be guessed of the concept without any EEG, and whether that explains a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.artifacts.metrics import DERIVED, Score
from tasks.controls.answers import in_words, score_guesses
from tasks.controls.evidence import Evidence, Finding
from tasks.statistics.verdicts import beats_chance


def time_of_recording(evidence: Evidence) -> Finding:
    """Guess the concept of the training trial that is nearest in time, in the same recording."""
    guesses = pd.Series("", index=evidence.shown["trial_id"])
    training = evidence.trained
    for recording, shown in evidence.shown.groupby("recording_id"):
        known = training[training["recording_id"] == recording]
        if len(known):
            gaps = np.abs(shown["onset_s"].to_numpy()[:, None] - known["onset_s"].to_numpy()[None])
            nearest = known["concept"].to_numpy(str)[gaps.argmin(axis=1)]
            guesses.loc[shown["trial_id"]] = nearest
    return _guessed(
        evidence,
        guesses.tolist(),
        "The time of recording alone names the concept in",
        "neighbours in time show the same concept",
    )


def block_structure(evidence: Evidence) -> Finding:
    """Guess the concept that training trials of the same block show most often."""
    return _guessed(
        evidence,
        _commonest(evidence, ["recording_id", "block"]),
        "The block alone names the concept in",
        "concepts were shown in blocks, and whatever changes from block to block can pass for a concept",
    )


def subject_prior(evidence: Evidence) -> Finding:
    """Guess the concept that the subject was shown most often in training."""
    return _guessed(
        evidence,
        _commonest(evidence, ["subject"]),
        "The commonest concept of each subject is right in",
        "subjects were shown different concepts",
    )


def class_prior(evidence: Evidence) -> Finding:
    """Guess the concept that training shows most often, whoever the subject is."""
    counts = evidence.trained["concept"].value_counts()
    commonest = min(counts.index[counts == counts.max()], default="")
    guesses = [commonest] * len(evidence.shown)
    found = score_guesses(evidence.held_out, guesses, evidence.params)
    verdict = (
        f"Always naming the commonest concept of training is right in {found.value:.3f}: "
        "what a score must beat where concepts are not shown equally often."
    )
    return Finding(found.model_copy(update={"verdict": verdict}))


def _guessed(evidence: Evidence, guesses: Sequence[str], said: str, gives_away: str) -> Finding:
    """Score guesses, which are expected at chance."""
    found = score_guesses(evidence.held_out, guesses, evidence.params)
    return Finding.judged(found, f"{said} {in_words(found)}", gives_away)


def explained_by_drift(encoder: Score, drift: Mapping[str, Score], timed: bool = True) -> Score:
    """Say whether controls that know only the time could have made the encoder's score.

    The rule: a score that cannot be told from guessing leaves nothing to explain. It is *explained by
    drift* if a control that sees only time, block or EEG from before the picture beats chance and
    reaches the lower bound of the encoder's interval; *partly open to drift* if such a control beats
    chance but scores less; and *not explained by drift* if none beats chance. A missed test is no proof:
    the sentence then says which share of the encoder's margin drift could explain at most, by the upper
    bound of the strongest control over the lower bound of the encoder. Where the order of presentation was
    not published, the last cannot be told.

    Parameters
    ----------
    encoder : Score
        From `encoder_score`.
    drift : Mapping[str, Score]
        Name to control; at least one.
    timed : bool
        Whether the order of presentation is known.

    Returns
    -------
    Score
        The share of the score above chance that the strongest such control reaches, at most 1.
    """
    able = {name: found for name, found in drift.items() if beats_chance(found, len(drift))}
    name = max(able, key=lambda control: _gain(able[control]), default="")
    share = float(np.clip(_gain(able[name]) / _gain(encoder), 0, 1)) if name else 0.0
    return Score(
        value=share if beats_chance(encoder) else 0.0,
        n=encoder.n,
        chance=0.0,
        resampled=DERIVED,
        lower_is_better=True,
        verdict=_drift_verdict(
            encoder,
            able.get(name),
            name.replace("_", " "),
            at_most(encoder, drift) if timed else None,
        ),
    )


def at_most(encoder: Score, drift: Mapping[str, Score]) -> float:
    """Return the share of the encoder's margin over chance that the strongest control reaches at most."""
    margin = (encoder.value if encoder.low is None else encoder.low) - (encoder.chance or 0.0)
    highest = max(
        (found.value if found.high is None else found.high) - (found.chance or 0.0)
        for found in drift.values()
    )
    return float(np.clip(highest / margin, 0, 1)) if margin > 0 else 1.0


def _drift_verdict(encoder: Score, strongest: Score | None, name: str, bound: float | None) -> str:
    """Put the outcome in words; without a bound, the order of presentation is not known."""
    if not beats_chance(encoder):
        return f"Nothing to explain: the encoder's {in_words(encoder)} is not told from guessing."
    if strongest is None and bound is None:
        return (
            "Whether drift explains the score cannot be told: the order of presentation was not published. The "
            f"encoder scores {in_words(encoder)}."
        )
    if strongest is None:
        return (
            "Not explained by drift: no control that sees only time, block or EEG from before the "
            f"picture is told from chance, and what they see could explain at most {bound:.1%} of the margin of "
            f"the encoder, which scores {in_words(encoder)}."
        )
    alone = f"{name} alone scores {in_words(strongest)}"
    if strongest.value >= (encoder.value if encoder.low is None else encoder.low):
        return (
            f"Explained by drift: {alone}, as much as the encoder ({encoder.value:.3f}), whose score "
            "is therefore no evidence of vision."
        )
    limit = "" if bound is None else f"; drift could explain at most {bound:.1%} of its margin"
    return f"Partly open to drift: {alone}, and the encoder {encoder.value:.3f}{limit}."


def _gain(found: Score) -> float:
    return found.value - (found.chance or 0.0)


def _commonest(evidence: Evidence, by: list[str]) -> list[str]:
    """Return the commonest training concept of each trial's group; empty where it has none."""
    counts = evidence.trained.groupby([*by, "concept"]).size().rename("n").reset_index()
    best = counts.sort_values([*by, "n", "concept"], ascending=[True] * len(by) + [False, True])
    first = best.drop_duplicates(by)[[*by, "concept"]].rename(columns={"concept": "guess"})
    return evidence.shown.merge(first, on=by, how="left")["guess"].fillna("").tolist()
