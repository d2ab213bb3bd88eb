"""Controls: what a score would be if the EEG said nothing of the picture.

A decoder can name the right concept without having seen it in the EEG: from slow drift, where a concept
was shown in one stretch of the recording (Li et al. 2021, "The perils and pitfalls of block design for
EEG classification experiments"), or from how often concepts were shown. Each control takes away what the
EEG says of the picture and leaves such other sources of information in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.metrics import PERMUTATIONS, Score
from tasks.controls.answers import (
    ControlParams,
    concept_hits,
    in_words,
    judged,
    score_hits,
)
from tasks.controls.evidence import Epochs, Predict
from tasks.controls.noise import gaussian_noise
from tasks.scores.held_out import HeldOut
from tasks.scores.ranking import Vectors


def shuffled_eeg(held_out: HeldOut, params: ControlParams) -> Score:
    """Give each trial the EEG of a random trial of the same subject.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    params : ControlParams
        Number of shuffles.
    """
    hits = concept_hits(held_out)
    subjects = held_out.trials["subject"].to_numpy(str)
    mean = np.zeros_like(hits)
    rng = np.random.default_rng(params.seed)
    for _ in range(params.n_shuffles):
        source = np.arange(len(hits))
        for subject in np.unique(subjects):
            rows = np.flatnonzero(subjects == subject)
            source[rows] = rng.permutation(rows)
        mean += hits[source] / params.n_shuffles
    found = score_hits(held_out.trials, mean, params)
    return judged(
        found,
        f"Shuffled EEG scores {in_words(found)}: part of the score does not need "
        "the trial's own EEG.",
        f"Shuffled EEG scores {in_words(found)}: the score needs the trial's own EEG.",
    )


def label_permutation(encoder: Score) -> Score:
    """Report what the encoder's own answers score against permuted stimuli.

    Parameters
    ----------
    encoder : Score
        From `encoder_score`.
    """
    value = encoder.value if encoder.control is None else encoder.control
    return Score(
        value=value,
        n=encoder.n,
        chance=encoder.chance,
        low=encoder.control_low,
        high=encoder.control_high,
        resampled=PERMUTATIONS,
        p_value=encoder.p_value,
        verdict=(
            f"With stimuli permuted the same answers score {value:.3f}; the true order scores "
            f"{encoder.value:.3f} (p = {encoder.p_value:.2g})."
        ),
    )


def label_permutation_within_blocks(
    held_out: HeldOut, shown: pd.DataFrame, params: ControlParams
) -> Score | None:
    """Give each trial the answers for other pictures of its block: what is left comes from the block.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    shown : pandas.DataFrame
        Rows of `trials` of the same trials, in their order.
    params : ControlParams
        Intervals and p-values.

    Returns
    -------
    Score or None
        None where no block shows two audited pictures.
    """
    hits = concept_hits(held_out)
    stimuli = shown["stimulus_id"].to_numpy(str)
    others = np.zeros_like(hits)
    lonely = np.zeros(len(hits), bool)
    for rows in shown.groupby(["recording_id", "block"]).indices.values():
        other = stimuli[rows][:, None] != stimuli[rows][None]
        others[rows] = other @ hits[rows] / np.maximum(other.sum(axis=1, keepdims=True), 1)
        lonely[rows] = ~other.any(axis=1)
    if lonely.all():
        return None
    columns = np.isin(held_out.stimuli(), stimuli[~lonely])
    found = score_hits(held_out.trials[~lonely], others[~lonely][:, columns], params)
    return judged(
        found,
        f"Answers exchanged within a block still score {in_words(found)}: the block alone gives the "
        "concept away.",
        f"Answers exchanged within a block score {in_words(found)}: the block alone gives nothing away.",
    )


def subject_only(
    held_out: HeldOut,
    predict: Predict,
    training_eeg: Epochs,
    training_subjects: Sequence[str],
    params: ControlParams,
) -> Score:
    """Give the encoder the mean training epoch of the subject, and nothing of the trial.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    predict : callable
        The encoder.
    training_eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        Training epochs.
    training_subjects : Sequence[str]
        Subject of each.
    params : ControlParams
        Intervals.
    """
    known = np.asarray(training_subjects)
    subjects = held_out.trials["subject"].to_numpy(str)
    of_all = training_eeg.mean(axis=0)
    names = np.unique(subjects)
    means = [training_eeg[known == s].mean(axis=0) if (known == s).any() else of_all for s in names]
    each = predict(np.stack(means).astype(np.float32), names.tolist())
    rows = np.searchsorted(names, subjects)
    predicted = {kind: vectors[rows] for kind, vectors in each.items()}
    found = score_hits(
        held_out.trials, concept_hits(_with_predictions(held_out, predicted)), params
    )
    return judged(
        found,
        f"The mean epoch of the subject scores {in_words(found)}: knowing the subject is enough for part "
        "of the score.",
        f"The mean epoch of the subject scores {in_words(found)}: knowing the subject is not enough.",
    )


def noise_eeg(
    held_out: HeldOut,
    predict: Predict,
    training_eeg: Epochs,
    training_subjects: Sequence[str],
    params: ControlParams,
) -> Score:
    """Give the encoder Gaussian noise with the mean and the covariance of the training epochs.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    predict : callable
        The encoder.
    training_eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        Training epochs.
    training_subjects : Sequence[str]
        Subject of each.
    params : ControlParams
        Seed of the noise.
    """
    subjects = held_out.trials["subject"].tolist()
    noise = gaussian_noise(training_eeg, training_subjects, subjects, params.seed)
    found = score_hits(
        held_out.trials, concept_hits(_with_predictions(held_out, predict(noise, subjects))), params
    )
    return judged(
        found,
        f"Noise that looks like EEG scores {in_words(found)}: part of the score "
        "comes from the encoder alone.",
        f"Noise that looks like EEG scores {in_words(found)}: the encoder alone knows nothing.",
    )


def prestimulus(
    held_out: HeldOut,
    predict: Predict,
    eeg: Epochs,
    times_s: Float[np.ndarray, " n_times"],
    training_mean: Float[np.ndarray, "n_channels n_times"],
    params: ControlParams,
) -> Score | None:
    """Give the encoder only the EEG before the picture; the rest is the mean training epoch.

    Parameters
    ----------
    held_out : HeldOut
        Trials of trained concepts.
    predict : callable
        The encoder.
    eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        Their epochs.
    times_s : Float[np.ndarray, "n_times"]
        Of the samples, relative to picture onset.
    training_mean : Float[np.ndarray, "n_channels n_times"]
        Mean training epoch.
    params : ControlParams
        End of the window.

    Returns
    -------
    Score or None
        None where no sample lies in the window.
    """
    before = times_s < params.prestimulus_end_s
    if not before.any():
        return None
    blind = np.where(before, eeg, training_mean).astype(np.float32)
    predicted = predict(blind, held_out.trials["subject"].tolist())
    found = score_hits(
        held_out.trials, concept_hits(_with_predictions(held_out, predicted)), params
    )
    return judged(
        found,
        f"EEG from before the picture scores {in_words(found)}: the recording gives "
        "the concept away before it is shown.",
        f"EEG from before the picture scores {in_words(found)}: the score needs what "
        "comes after the picture.",
    )


def _with_predictions(held_out: HeldOut, predicted: Mapping[str, Vectors]) -> HeldOut:
    chosen = {kind: predicted[kind] for kind in held_out.predicted}
    return replace(held_out, predicted=chosen)
