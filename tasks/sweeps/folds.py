"""Which trials a cell is trained on: some subjects, some stimuli, labels as they are or permuted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int

from tasks.encoder.dataset import TrainingData, Trials
from tasks.sweeps.plan import Cell, SweepError


def training_data_of(cell: Cell, data: TrainingData) -> TrainingData:
    """Return what a cell may be trained on.

    Parameters
    ----------
    cell : Cell
        Protocol, fold and selection.
    data : TrainingData
        All train and validation trials of the study.

    Raises
    ------
    SweepError
        If nothing is left.
    """
    subjects = [s for s in data.subjects if _trains(cell, s)]
    data = _of_subjects(data, subjects)
    rng = np.random.default_rng(cell.seed)
    if cell.share_of_stimuli < 1:
        data = _of_stimuli(data, cell.share_of_stimuli, rng)
    if cell.n_presentations is not None:
        train = data.train
        data = replace(data, train=train.rows(_early(train) < cell.n_presentations))
    if cell.permuted_labels:
        data = replace(
            data,
            train=_permuted(data.train, rng),
            validation=_permuted(data.validation, rng),
        )
    if not len(data.train.eeg) or not len(data.validation.eeg):
        raise SweepError(
            f"Every cell needs training and validation trials; {cell.study}, {cell.protocol}, "
            f"{cell.fold} has {len(data.train.eeg)} and {len(data.validation.eeg)}. "
            "Enlarge the study, or take the protocol out of the sweep."
        )
    return data


def _trains(cell: Cell, subject: str) -> bool:
    if cell.protocol == "pooled":
        return True
    return (subject == cell.fold) == (cell.protocol == "within_subject")


def _of_subjects(data: TrainingData, subjects: list[str]) -> TrainingData:
    """Keep the trials of some subjects, counted anew from 0."""
    number = np.array([subjects.index(s) if s in subjects else -1 for s in data.subjects])

    def chosen(trials: Trials) -> Trials:
        index = number[trials.subject_index]
        kept = trials.rows(index >= 0)
        return replace(kept, subject_index=number[kept.subject_index].astype(np.int64))

    return replace(
        data,
        train=chosen(data.train),
        validation=chosen(data.validation),
        subjects=tuple(subjects),
    )


def _of_stimuli(data: TrainingData, share: float, rng: np.random.Generator) -> TrainingData:
    """Keep a share of the training stimuli of every concept, at least one of each."""
    shown = np.unique(data.train.stimulus_index)
    concepts = np.array(data.concepts)[shown]
    kept = [
        rng.permutation(shown[concepts == c])[: max(1, round(share * (concepts == c).sum()))]
        for c in np.unique(concepts)
    ]
    rows = np.isin(data.train.stimulus_index, np.concatenate(kept))
    return replace(data, train=data.train.rows(rows))


def _early(trials: Trials) -> Int[np.ndarray, " n_trials"]:
    """Return how many earlier trials showed the same stimulus to the same subject."""
    pairs = pd.DataFrame({"subject": trials.subject_index, "stimulus": trials.stimulus_index})
    return pairs.groupby(["subject", "stimulus"]).cumcount().to_numpy()


def _permuted(trials: Trials, rng: np.random.Generator) -> Trials:
    """Let the stimuli of these trials change places."""
    shown, index = np.unique(trials.stimulus_index, return_inverse=True)
    return replace(trials, stimulus_index=rng.permutation(shown)[index])
