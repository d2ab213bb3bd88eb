"""Controls: what else than the brain's answer to this very picture could give the concept away.

Eyes move towards what is seen (Mostert et al. 2018; Quax et al. 2019), muscles are heard above 55 Hz, and in a
rapid stream the response to the picture before runs into this one (Grootswagers et al. 2019).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from tasks.artifacts.metrics import Score
from tasks.controls.answers import in_words, score_guesses, score_labels
from tasks.controls.evidence import Evidence, Finding
from tasks.controls.noise import Epochs
from tasks.controls.small_decoder import binned, can_learn, fit_small_decoder
from tasks.statistics.verdicts import beats_chance, missed

_Features = Callable[[Epochs, Sequence[str]], Float[np.ndarray, "n_trials n_features"]]
"""Epochs and the subject of each to what a decoder reads."""
NEAR_EYES = re.compile(r"(Fp|AF|[HV]?EOG)", re.IGNORECASE)
"""How the names of channels near the eyes begin, in the 10-05 system."""
MUSCLE_HZ = 55.0
"""What EEGCVPR is often filtered to begin at; the muscles of the head are loud above."""
LEAST_POWER = 1e-4
"""Of the whole, above `MUSCLE_HZ`: with less a filter has taken it away."""
LAGS = (-2, -1, 1, 2)
"""Neighbours in the stream, in pictures."""


def frontal_channels(evidence: Evidence) -> Finding | None:
    """Train a small decoder on the channels near the eyes alone, and one on all the others.

    Returns
    -------
    Finding or None
        None where there are no such channels, or no others.
    """
    near = np.array([NEAR_EYES.match(name) is not None for name in evidence.channels])
    if not near.any() or near.all() or not can_learn(evidence.training["concept"].tolist()):
        return None
    own, others = (_named_from(evidence, _means(near == side)) for side in (True, False))
    names = ", ".join(np.array(evidence.channels)[near][:5])
    return _said(
        own,
        f"Channels near the eyes alone ({names}) name the concept in {in_words(own)} by a linear stand-in for the "
        f"encoder, the others in {in_words(others)}",
        "eye movements, or what spreads from the brain to these channels, tell pictures apart",
    )


def above_55_hz(evidence: Evidence) -> Finding | None:
    """Train a small decoder on the power above 55 Hz, which is muscle for the most part.

    Returns
    -------
    Finding or None
        None where the epochs hold nothing above 55 Hz.
    """
    step_s = float(np.diff(evidence.times_s).mean()) if len(evidence.times_s) > 1 else np.inf
    high = np.fft.rfftfreq(len(evidence.times_s), step_s) > MUSCLE_HZ
    power = (np.abs(np.fft.rfft(evidence.training_eeg, axis=-1)) ** 2).sum(axis=(0, 1))
    empty = not high.any() or power[high].sum() < LEAST_POWER * power[1:].sum()
    if empty or not can_learn(evidence.training["concept"].tolist()):
        return None

    def features(eeg: Epochs, subjects: Sequence[str]) -> Float[np.ndarray, "n_trials n_channels"]:
        spectrum = np.abs(np.fft.rfft(eeg, axis=-1)[..., high]) ** 2
        return binned(np.log(spectrum.sum(axis=-1, keepdims=True) + 1e-12), subjects)

    found = _named_from(evidence, features)
    return _said(
        found,
        f"Power above {MUSCLE_HZ:g} Hz alone names the concept in {in_words(found)} by a linear stand-in for the encoder",
        "muscles tell pictures apart, or the brain does by its fastest rhythms",
    )


def neighbours(evidence: Evidence) -> Finding | None:
    """Ask whether the concept that is named from a trial is that of a neighbour in the stream.

    Returns
    -------
    Finding or None
        None where no audited trial has a picture before it.
    """
    ordered = evidence.trials.sort_values(["recording_id", "presentation_order"])
    by_trial = ordered.set_index("trial_id")
    asked = evidence.shown["trial_id"]
    rows, scores = [], {}
    for lag in LAGS:
        concepts = (
            by_trial.groupby("recording_id")["concept"].shift(-lag).loc[asked].to_numpy(object)
        )
        there = pd.notna(concepts)
        if there.sum() < 2:
            continue
        trials = evidence.held_out.trials[there]
        scores[lag] = score_labels(
            trials,
            np.array(evidence.named)[there].tolist(),
            concepts[there].tolist(),
            evidence.params,
            level="trials",
            within=trials["subject"].tolist(),
        )
        found = scores[lag]
        rows.append(("named", lag, found.value, found.low, found.high))
    if -1 not in scores:
        return None
    before, after = scores[-1], scores.get(1)
    told = "" if after is None else f", that of the picture after in {in_words(after)}"
    return Finding.judged(
        before,
        f"The concept of the picture before is named in {in_words(before)}{told}",
        "responses run into each other, or pictures of a concept follow one another",
        pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"]),
        "place in the stream, relative to the picture",
        "share of trials whose neighbour's concept is named",
    )


def _means(chosen: Bool[np.ndarray, " n_channels"]) -> _Features:
    return lambda eeg, subjects: binned(eeg[:, chosen], subjects)


def _named_from(evidence: Evidence, features: _Features) -> Score:
    """Score a small decoder of concepts that was trained on some features of the training EEG."""
    training, asked = evidence.training, evidence.held_out.trials
    decoder = fit_small_decoder(
        features(evidence.training_eeg, training["subject"].tolist()),
        training["concept"].tolist(),
        evidence.params.seed,
    )
    guesses = decoder.predict(features(evidence.eeg, asked["subject"].tolist()))
    return score_guesses(evidence.held_out, guesses.tolist(), evidence.params)


def _said(found: Score, said: str, above: str) -> Finding:
    """Return a score that real brains may lift above chance, too: it is no alarm, and in no family of tests."""
    told = found.p_value is not None and beats_chance(found)
    verdict = f"{said}{f': {above}' if told else f'; {missed(found)}'}."
    return Finding(found.model_copy(update={"verdict": verdict}))
