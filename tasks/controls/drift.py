"""What can be guessed of the concept without any EEG, and whether that explains a score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tasks.artifacts.metrics import DERIVED, Score
from tasks.controls.answers import (
    ControlParams,
    beats_chance,
    in_words,
    judged,
    score_guesses,
)
from tasks.scores.held_out import HeldOut


def time_of_recording(held_out: HeldOut, trials: pd.DataFrame, params: ControlParams) -> Score:
    """Guess the concept of the training trial that is nearest in time, in the same recording.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    trials : pandas.DataFrame
        All trials of the study.
    params : ControlParams
        Intervals.
    """
    guesses = pd.Series("", index=held_out.trials["trial_id"])
    training = training_trials(trials)
    for recording, shown in _placed(held_out, trials).groupby("recording_id"):
        known = training[training["recording_id"] == recording]
        if len(known):
            gaps = np.abs(shown["onset_s"].to_numpy()[:, None] - known["onset_s"].to_numpy()[None])
            nearest = known["concept"].to_numpy(str)[gaps.argmin(axis=1)]
            guesses.loc[shown["trial_id"]] = nearest
    found = score_guesses(held_out, guesses.tolist(), params)
    return judged(
        found,
        f"The time of recording alone names the concept in {in_words(found)}: neighbours "
        "in time show the same concept.",
        f"The time of recording alone names the concept in {in_words(found)}: it gives "
        "nothing away.",
    )


def block_structure(held_out: HeldOut, trials: pd.DataFrame, params: ControlParams) -> Score:
    """Guess the concept that training trials of the same block show most often.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    trials : pandas.DataFrame
        All trials of the study.
    params : ControlParams
        Intervals.
    """
    found = score_guesses(held_out, _commonest(held_out, trials, ["recording_id", "block"]), params)
    return judged(
        found,
        f"The block alone names the concept in {in_words(found)}: concepts were shown "
        "in blocks, and whatever changes from block to block can pass for a concept.",
        f"The block alone names the concept in {in_words(found)}: concepts were not "
        "shown in blocks.",
    )


def subject_prior(held_out: HeldOut, trials: pd.DataFrame, params: ControlParams) -> Score:
    """Guess the concept that the subject was shown most often in training.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    trials : pandas.DataFrame
        All trials of the study.
    params : ControlParams
        Intervals.
    """
    found = score_guesses(held_out, _commonest(held_out, trials, ["subject"]), params)
    return judged(
        found,
        f"The commonest concept of each subject is right in {in_words(found)}: subjects "
        "were shown different concepts.",
        f"The commonest concept of each subject is right in {in_words(found)}: knowing "
        "the subject does not help.",
    )


def class_prior(held_out: HeldOut, trials: pd.DataFrame, params: ControlParams) -> Score:
    """Guess the concept that training shows most often, whoever the subject is.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    trials : pandas.DataFrame
        All trials of the study.
    params : ControlParams
        Intervals.
    """
    counts = training_trials(trials)["concept"].value_counts()
    commonest = min(counts.index[counts == counts.max()], default="")
    found = score_guesses(held_out, [commonest] * len(held_out.trials), params)
    return found.model_copy(
        update={
            "verdict": f"Always naming the commonest concept of training is right in {found.value:.3f}: "
            "what a score must beat where concepts are not shown equally often."
        }
    )


def explained_by_drift(encoder: Score, drift: Mapping[str, Score]) -> Score:
    """Say whether controls that know only the time could have made the encoder's score.

    The rule: a score that cannot be told from guessing leaves nothing to explain. It is *explained by
    drift* if a control that sees only time, block or EEG from before the picture beats chance and
    reaches the lower bound of the encoder's interval; *partly open to drift* if such a control beats
    chance but scores less; and *not explained by drift* if none beats chance.

    Parameters
    ----------
    encoder : Score
        From `encoder_score`.
    drift : Mapping[str, Score]
        Name to control; at least one.

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
        verdict=_drift_verdict(encoder, able.get(name), name.replace("_", " ")),
    )


def _drift_verdict(encoder: Score, strongest: Score | None, name: str) -> str:
    if not beats_chance(encoder):
        return f"Nothing to explain: the encoder scores {in_words(encoder)}, no more than guessing."
    if strongest is None:
        return (
            "Not explained by drift: no control that sees only time, block or EEG from before the "
            f"picture beats chance; the encoder scores {in_words(encoder)}."
        )
    alone = f"{name} alone scores {in_words(strongest)}"
    if strongest.value >= (encoder.value if encoder.low is None else encoder.low):
        return (
            f"Explained by drift: {alone}, as much as the encoder ({encoder.value:.3f}), whose score "
            "is therefore no evidence of vision."
        )
    return f"Partly open to drift: {alone}, and the encoder {encoder.value:.3f}."


def _gain(found: Score) -> float:
    return found.value - (found.chance or 0.0)


def _placed(held_out: HeldOut, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `trials` of the held-out trials, in their order."""
    return trials.set_index("trial_id", drop=False).loc[held_out.trials["trial_id"]]


def _commonest(held_out: HeldOut, trials: pd.DataFrame, by: list[str]) -> list[str]:
    """Return the commonest training concept of each trial's group; empty where it has none."""
    counts = training_trials(trials).groupby([*by, "concept"]).size().rename("n").reset_index()
    best = counts.sort_values([*by, "n", "concept"], ascending=[True] * len(by) + [False, True])
    first = best.drop_duplicates(by)[[*by, "concept"]].rename(columns={"concept": "guess"})
    placed = _placed(held_out, trials).reset_index(drop=True)
    return placed.merge(first, on=by, how="left")["guess"].fillna("").tolist()


def training_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the kept trials of the training split."""
    return trials[(trials["split"] == "train") & trials["kept"]]
