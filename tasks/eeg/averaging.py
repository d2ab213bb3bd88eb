"""Repetitions of a picture, averaged after whitening, as most published THINGS-EEG2 scores have them.

An average takes the place of the first of its trials; the others are dropped with the reason that says
where they went. Nothing is averaged across subjects or parts of the split.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float32
from pydantic import Field, PositiveInt

from tasks.artifacts.contracts.trials import trial_ids_of
from tasks.artifacts.splits import UNUSED
from tasks.eeg.epochs import EPOCHS_AT_ONCE, epochs_writer, open_file, recording_of
from tasks.eeg.shards import Findings, ShardCache
from tasks.runtime.files import sha256_of
from tasks.runtime.params import Params


class RepetitionParams(Params):
    """How many kept trials of one picture and subject make an average, at most; 1 averages nothing."""

    train: PositiveInt = Field(description="of training trials")
    validation: PositiveInt = Field(description="of validation trials")
    test: PositiveInt = Field(description="of test trials")
    zero_shot: PositiveInt = Field(description="of trials of concepts that are not trained on")


@dataclass(frozen=True)
class Subject:
    """What is averaged together.

    Attributes
    ----------
    recordings
        Findings by recording, in order.
    picture_of
        Stimulus and part of the split of each trial, in order of presentation.
    """

    recordings: dict[str, Findings]
    picture_of: dict[str, tuple[str, str]]


def subjects_of(
    recordings: Sequence[Mapping[str, str]],
    findings: Mapping[str, Findings],
    shown: pa.Table,
    splits: Sequence[str],
) -> list[Subject]:
    """Return the subjects of a study.

    Parameters
    ----------
    findings
        After whitening, by recording.
    """
    subject_of = {row["recording_id"]: row["subject"] for row in recordings}
    groups: dict[str, Subject] = defaultdict(lambda: Subject({}, {}))
    for name, subject in subject_of.items():
        groups[subject].recordings[name] = findings[name]
    names = ("recording_id", "presentation_order", "stimulus_id")
    shown_in, orders, stimuli = (shown[name].to_pylist() for name in names)
    trial_ids, pictures = trial_ids_of(shown_in, orders), zip(stimuli, splits, strict=True)
    for name, trial_id, picture in zip(shown_in, trial_ids, pictures, strict=True):
        groups[subject_of[name]].picture_of[trial_id] = picture
    return list(groups.values())


def average_subject(
    cache: ShardCache, params: RepetitionParams, subject: Subject
) -> dict[str, Findings]:
    """Average the repetitions of one subject, or find that this was done before.

    Parameters
    ----------
    cache
        Where finished recordings are kept.

    Returns
    -------
    dict
        The findings with the averaged epochs, by recording.
    """
    first_of = group_trials(subject, params)
    inputs = [
        {name: sha256_of(found.epochs) for name, found in subject.recordings.items()},
        first_of,
    ]
    entries = {name: cache.entry(f"{name}-averaged", inputs) for name in subject.recordings}
    if all(entry.exists() for entry in entries.values()):
        return {name: entry.read() for name, entry in entries.items()}
    averages = _averages(subject, first_of)
    done = {}
    for name, found in subject.recordings.items():
        _, eeg, info = open_file(found.epochs)
        own = [trial for trial in averages if recording_of(trial) == name]
        with epochs_writer(entries[name].epochs, info, eeg.row_shape) as write:
            for start in range(0, len(own), EPOCHS_AT_ONCE):
                some = own[start : start + EPOCHS_AT_ONCE]
                write(some, np.stack([averages[trial] for trial in some]))
        reasons = {
            trial: reason or _where(trial, first_of)
            for trial, reason in found.reject_reasons.items()
        }
        done[name] = entries[name].finish(reasons, found.quality)
    return done


def group_trials(subject: Subject, params: RepetitionParams) -> dict[str, str]:
    """Return, for each kept trial, the first trial of its average."""
    sizes = params.model_dump() | {UNUSED: 1}
    kept = {
        t
        for f in subject.recordings.values()
        for t, reason in f.reject_reasons.items()
        if not reason
    }
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for trial, picture in subject.picture_of.items():
        if trial in kept:
            groups[picture].append(trial)
    first_of = {}
    for (_, split), trials in groups.items():
        for place, trial in enumerate(trials):
            first_of[trial] = trials[place - place % sizes[split]]
    return first_of


def _averages(
    subject: Subject, first_of: Mapping[str, str]
) -> dict[str, Float32[np.ndarray, "n_channels n_times"]]:
    """Return the averages by their first trial; a few epochs are held beside them at a time."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = defaultdict(int)
    for found in subject.recordings.values():
        trial_ids, eeg, _ = open_file(found.epochs)
        for start in range(0, len(eeg), EPOCHS_AT_ONCE):
            some = slice(start, start + EPOCHS_AT_ONCE)
            for trial, epoch in zip(trial_ids[some], eeg[some], strict=True):
                first = first_of[trial]
                sums[first] = sums[first] + epoch if first in sums else epoch.copy()
                counts[first] += 1
    return {first: total / np.float32(counts[first]) for first, total in sums.items()}


def _where(trial: str, first_of: Mapping[str, str]) -> str:
    return "" if first_of[trial] == trial else f"averaged into {first_of[trial]}"
