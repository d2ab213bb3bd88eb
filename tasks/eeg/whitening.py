"""Multivariate noise normalisation: channels made of equal and uncorrelated noise.

Guggenmos, Sterzer & Cichy, NeuroImage 173 (2018). The noise is what differs between trials of one
stimulus, or what varies within an epoch; it is measured on training trials alone, per subject and
session, and every epoch of the session is multiplied by the inverse square root of its covariance.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field
from sklearn.covariance import ledoit_wolf

from tasks.eeg.epochs import EPOCHS_AT_ONCE, epochs_writer, open_file
from tasks.eeg.shards import Findings, ShardCache
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of
from tasks.runtime.params import Params

logger = logging.getLogger(__name__)

Epochs = Float32[np.ndarray, "n_trials n_channels n_times"]
Matrix = Float64[np.ndarray, "n_channels n_channels"]


class WhiteningParams(Params):
    """How the covariance of the noise is measured."""

    covariance_of: Literal["time", "epochs"] = Field(
        description="over trials at each time, or over times in each epoch"
    )
    shrinkage: Literal["auto", "ledoit_wolf"] = Field(
        description="auto: Ledoit-Wolf on channels of unit variance"
    )


class WhiteningError(PerceptError):
    """The noise of a session cannot be measured."""


@dataclass(frozen=True)
class Session:
    """One session of one subject: what is whitened with one matrix.

    Attributes
    ----------
    name
        For messages.
    recordings
        Their findings after cleaning, by recording.
    stimulus_of
        Stimulus of each training trial.
    """

    name: str
    recordings: dict[str, Findings]
    stimulus_of: dict[str, str]


def sessions_of(
    recordings: Sequence[Mapping[str, str]],
    findings: Mapping[str, Findings],
    stimulus_of: Mapping[str, str],
) -> list[Session]:
    """Return the sessions of a study.

    Parameters
    ----------
    findings
        After cleaning, by recording.
    stimulus_of
        Stimulus of each training trial.
    """
    groups: dict[str, dict[str, Findings]] = defaultdict(dict)
    for row in recordings:
        name = row["recording_id"]
        groups[f"{row['subject']} {row['session']}"][name] = findings[name]
    return [
        Session(
            name,
            group,
            {
                t: stimulus_of[t]
                for f in group.values()
                for t in f.reject_reasons
                if t in stimulus_of
            },
        )
        for name, group in groups.items()
    ]


def whiten_session(
    cache: ShardCache, params: WhiteningParams, session: Session
) -> dict[str, Findings]:
    """Whiten the recordings of a session, or find that this was done before.

    Parameters
    ----------
    cache
        Where finished recordings are kept.

    Returns
    -------
    dict
        The findings of cleaning, with the whitened epochs, by recording.

    Raises
    ------
    WhiteningError
        If there are too few training trials.
    """
    recordings = session.recordings
    inputs = [
        {name: sha256_of(found.epochs) for name, found in recordings.items()},
        session.stimulus_of,
        params.model_dump(mode="json"),
    ]
    entries = {name: cache.entry(f"{name}-whitened", inputs) for name in recordings}
    if all(entry.exists() for entry in entries.values()):
        logger.info("%s: whitened epochs taken from the cache", session.name)
        return {name: entry.read() for name, entry in entries.items()}
    whitener = fit_session(session, params).astype(np.float32)
    whitened = {}
    for name, found in recordings.items():
        trial_ids, eeg, info = open_file(found.epochs)
        whole = replace(info, unit="whitened")
        with epochs_writer(entries[name].epochs, whole, eeg.row_shape) as write:
            for start in range(0, len(eeg), EPOCHS_AT_ONCE):
                some = slice(start, start + EPOCHS_AT_ONCE)
                write(trial_ids[some], whitener @ eeg[some])
        whitened[name] = entries[name].finish(found.reject_reasons, found.quality)
    logger.info("%s: %d recordings whitened", session.name, len(recordings))
    return whitened


def fit_session(session: Session, params: WhiteningParams) -> Matrix:
    """Return the matrix that whitens a session, from its kept training trials alone.

    Raises
    ------
    WhiteningError
        If there are too few of them.
    """
    parts, stimuli = [], []
    for found in session.recordings.values():
        trial_ids, eeg, _ = open_file(found.epochs)
        rows = [row for row, trial_id in enumerate(trial_ids) if trial_id in session.stimulus_of]
        parts.append(eeg[np.array(rows, np.int64)])
        stimuli += [session.stimulus_of[trial_ids[row]] for row in rows]
    if not stimuli:
        raise WhiteningError(
            f"Each session must have kept training trials to be whitened; {session.name} has none. "
            "Set preprocess.whitening to null, or change preprocess.split."
        )
    try:
        return fit_whitener(np.concatenate(parts), stimuli, params)
    except WhiteningError as error:
        raise WhiteningError(f"{session.name}: {error}") from error


def fit_whitener(eeg: Epochs, stimuli: Sequence[str], params: WhiteningParams) -> Matrix:
    """Return the inverse square root of the covariance of the noise.

    With ``covariance_of: time`` it is measured over trials at each time and averaged over times.
    Guggenmos et al. measure it per stimulus and average; here the stimuli's means are subtracted and
    the deviations pooled before they are shrunk, which a handful of trials per stimulus allows.
    With ``epochs`` it is measured over the times of each epoch and averaged over epochs.

    Raises
    ------
    WhiteningError
        If the deviations of trials are asked for and no stimulus was shown twice.
    """
    if params.covariance_of == "epochs":
        samples, scale = eeg.transpose(0, 2, 1), 1.0
    else:
        deviations, scale = _deviations(eeg, stimuli)
        samples = deviations.transpose(2, 0, 1)
    total = np.zeros((eeg.shape[1],) * 2)
    for block in samples:
        total += _shrunk_covariance(block.astype(np.float64), params.shrinkage)
    return inverse_square_root(total * (scale / len(samples)))


def inverse_square_root(covariance: Matrix) -> Matrix:
    """Return the symmetric inverse square root, with zeros for directions without variance.

    Parameters
    ----------
    covariance
        Symmetric, positive semidefinite.
    """
    values, vectors = np.linalg.eigh(covariance)
    some = values > values.max() * len(values) * np.finfo(np.float32).eps
    scales = np.where(some, values, np.inf) ** -0.5
    return np.asarray((vectors * scales) @ vectors.T, np.float64)


def _deviations(eeg: Epochs, stimuli: Sequence[str]) -> tuple[Epochs, float]:
    """Return trials less the mean of their stimulus, and what undoes the lost degrees of freedom."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, stimulus in enumerate(stimuli):
        rows_of[stimulus].append(row)
    groups: Collection[list[int]] = [rows for rows in rows_of.values() if len(rows) > 1]
    if not groups:
        raise WhiteningError(
            "preprocess.whitening.covariance_of can be time only where a training stimulus was "
            f"shown twice in a session; {len(rows_of)} stimuli were shown once. Set it to epochs."
        )
    n = sum(map(len, groups))
    deviations = np.empty((n, *eeg.shape[1:]), np.float32)
    start = 0
    for rows in groups:
        deviations[start : start + len(rows)] = eeg[rows] - eeg[rows].mean(axis=0)
        start += len(rows)
    return deviations, n / (n - len(groups))


def _shrunk_covariance(
    samples: Float64[np.ndarray, "n_samples n_channels"], shrinkage: str
) -> Matrix:
    if shrinkage == "ledoit_wolf":
        return np.asarray(ledoit_wolf(samples)[0], np.float64)
    sd = samples.std(axis=0)
    sd[sd == 0] = 1
    return np.asarray(ledoit_wolf(samples / sd)[0] * np.outer(sd, sd), np.float64)
