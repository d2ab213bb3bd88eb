"""Controls: what a score would be if the EEG said nothing of the picture.

A decoder can name the right concept without having seen it in the EEG: from slow drift, where a concept
was shown in one stretch of the recording (Li et al. 2021, "The perils and pitfalls of block design for
EEG classification experiments"), or from how often concepts were shown. Each control takes away what the
EEG says of the picture and leaves such other sources of information in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tasks.artifacts.metrics import PERMUTATIONS, Score
from tasks.controls.answers import (
    Hits,
    concept_hits,
    in_words,
    score_hits,
)
from tasks.controls.evidence import Evidence, Finding
from tasks.controls.noise import gaussian_noise
from tasks.scores.ranking import Vectors
from tasks.statistics.verdicts import probability


def shuffled_eeg(evidence: Evidence) -> Finding:
    """Give each trial the EEG of a random trial of the same subject."""
    hits, n_shuffles = evidence.hits, evidence.params.n_shuffles
    subjects = evidence.held_out.trials["subject"].to_numpy(str)
    mean = np.zeros_like(hits)
    rng = np.random.default_rng(evidence.params.seed)
    for _ in range(n_shuffles):
        source = np.arange(len(hits))
        for subject in np.unique(subjects):
            rows = np.flatnonzero(subjects == subject)
            source[rows] = rng.permutation(rows)
        mean += hits[source] / n_shuffles
    return _judged_hits(
        evidence,
        mean,
        "Shuffled EEG scores",
        "part of the score does not need the trial's own EEG",
    )


def label_permutation(evidence: Evidence) -> Finding:
    """Report what the encoder's own answers score against permuted stimuli."""
    encoder = evidence.encoder
    value = encoder.value if encoder.control is None else encoder.control
    return Finding(
        Score(
            value=value,
            n=encoder.n,
            chance=encoder.chance,
            low=encoder.control_low,
            high=encoder.control_high,
            resampled=PERMUTATIONS,
            verdict=(
                f"With stimuli permuted the same answers score {value:.3f}; the true order scores "
                f"{encoder.value:.3f} ({probability(encoder)})."
            ),
        )
    )


def label_permutation_within_blocks(evidence: Evidence) -> Finding | None:
    """Give each trial the answers for other pictures of its block: what is left comes from the block.

    Returns
    -------
    Finding or None
        None where no block shows two audited pictures.
    """
    held_out, hits = evidence.held_out, evidence.hits
    stimuli = evidence.shown["stimulus_id"].to_numpy(str)
    others = np.zeros_like(hits)
    lonely = np.zeros(len(hits), bool)
    for rows in evidence.shown.groupby(["recording_id", "block"]).indices.values():
        other = stimuli[rows][:, None] != stimuli[rows][None]
        others[rows] = other @ hits[rows] / np.maximum(other.sum(axis=1, keepdims=True), 1)
        lonely[rows] = ~other.any(axis=1)
    if lonely.all():
        return None
    columns = np.isin(held_out.stimuli(), stimuli[~lonely])
    found = score_hits(held_out.trials[~lonely], others[~lonely][:, columns], evidence.params)
    return Finding.judged(
        found,
        f"Answers exchanged within a block score {in_words(found)}",
        "the block alone gives the concept away",
    )


def subject_only(evidence: Evidence) -> Finding:
    """Give the encoder the mean training epoch of the subject, and nothing of the trial."""
    known = evidence.training["subject"].to_numpy(str)
    subjects = evidence.held_out.trials["subject"].to_numpy(str)
    eeg = evidence.training_eeg
    of_all = eeg.mean(axis=0)
    names = np.unique(subjects)
    means = [eeg[known == s].mean(axis=0) if (known == s).any() else of_all for s in names]
    each = evidence.predict(np.stack(means).astype(np.float32), names.tolist())
    rows = np.searchsorted(names, subjects)
    return _heard(
        evidence,
        {kind: vectors[rows] for kind, vectors in each.items()},
        "The mean epoch of the subject scores",
        "knowing the subject is enough for part of the score",
    )


def noise_eeg(evidence: Evidence) -> Finding:
    """Give the encoder Gaussian noise with the mean and the covariance of the training epochs."""
    subjects = evidence.held_out.trials["subject"].tolist()
    known = evidence.training["subject"].tolist()
    noise = gaussian_noise(evidence.training_eeg, known, subjects, evidence.params.seed)
    return _heard(
        evidence,
        evidence.predict(noise, subjects),
        "Noise that looks like EEG scores",
        "part of the score comes from the encoder alone",
    )


def prestimulus(evidence: Evidence) -> Finding | None:
    """Give the encoder only the EEG before the picture; the rest is the mean training epoch.

    Parameters
    ----------
    evidence : Evidence
        Epochs, the times of their samples, and the end of the window.

    Returns
    -------
    Finding or None
        None where no sample lies in the window.
    """
    before = evidence.times_s < evidence.params.prestimulus_end_s
    if not before.any():
        return None
    blind = np.where(before, evidence.eeg, evidence.training_eeg.mean(axis=0)).astype(np.float32)
    return _heard(
        evidence,
        evidence.predict(blind, evidence.held_out.trials["subject"].tolist()),
        "EEG from before the picture scores",
        "the recording gives the concept away before it is shown",
    )


def _heard(
    evidence: Evidence,
    predicted: Mapping[str, Vectors],
    said: str,
    gives_away: str,
) -> Finding:
    """Score what the encoder predicts when it hears something else than the trial."""
    chosen = {kind: predicted[kind] for kind in evidence.held_out.predicted}
    hits = concept_hits(replace(evidence.held_out, predicted=chosen))
    return _judged_hits(evidence, hits, said, gives_away)


def _judged_hits(evidence: Evidence, hits: Hits, said: str, gives_away: str) -> Finding:
    found = score_hits(evidence.held_out.trials, hits, evidence.params)
    return Finding.judged(found, f"{said} {in_words(found)}", gives_away)
