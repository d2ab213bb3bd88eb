"""Which trials are trained on and which are held out: decided once, by a named strategy."""

import logging
from collections.abc import Collection, Sequence

import pyarrow as pa

from tasks.artifacts.splits import TEST, TRAIN, UNUSED, ZERO_SHOT, Split
from tasks.eeg.split_params import (
    ConceptSplit,
    ImageSplit,
    OfficialSplit,
    SplitError,
    SplitParams,
    SubjectSplit,
    TimeChunkSplit,
)
from tasks.eeg.strategies import STRATEGIES

__all__ = [
    "ConceptSplit",
    "ImageSplit",
    "OfficialSplit",
    "SplitError",
    "SplitParams",
    "SubjectSplit",
    "TimeChunkSplit",
    "assign_splits",
    "fitted_on",
    "named_by_training",
]


logger = logging.getLogger(__name__)


def assign_splits(
    trials: pa.Table, stimuli: pa.Table, params: SplitParams, untimed: Collection[str] = ()
) -> list[Split]:
    """Return the split of every trial; no EEG is needed to know it.

    Parameters
    ----------
    trials
        One row per trial, with at least ``stimulus_id``; ``subject`` where a subject is left out,
        ``recording_id`` and ``onset_s`` for ``time_chunk``.
    stimuli
        Contract STIMULI; also those that were never shown.
    untimed
        Recordings whose order and onsets were not published.

    Returns
    -------
    list of str
        ``train``, ``validation``, ``test``, ``zero_shot`` (pictures of concepts that are trained on
        nowhere) or ``none`` (used nowhere), in the order of ``trials``.

    Raises
    ------
    SplitError
        If nothing is left to train on, or the study does not have what the strategy rests on.
    """
    if isinstance(params, TimeChunkSplit) and untimed:
        raise SplitError(
            "The split 'time_chunk' must know when each trial was recorded; the onsets of "
            f"{len(untimed)} recordings were not published: {', '.join(sorted(untimed)[:10])}. "
            "Choose another preprocess.split.strategy."
        )
    splits = STRATEGIES[params.strategy](trials, stimuli, params)
    if trials.num_rows and TRAIN not in splits:
        raise SplitError(
            f"The split {params.strategy!r} must leave trials to train on; it leaves none of "
            f"{trials.num_rows}. Change preprocess.split: smaller fractions, for instance."
        )
    return splits


def fitted_on(splits: Sequence[Split], subjects: Sequence[str]) -> list[bool]:
    """Tell which trials the steps that are fitted on EEG (ICA, autoreject, whitening) may look at.

    That is training trials and, of a subject without any, those that no part uses: where a subject is
    left out of an official split, its presentations of training pictures.

    Parameters
    ----------
    splits, subjects
        Of each trial: where it was put, and whose it is.
    """
    trained = {who for split, who in zip(splits, subjects, strict=True) if split == TRAIN}
    return [
        split == TRAIN or (split == UNUSED and who not in trained)
        for split, who in zip(splits, subjects, strict=True)
    ]


def named_by_training(
    splits: Sequence[Split], concepts: Sequence[str], kept: Sequence[bool]
) -> list[Split]:
    """Return the splits with every part named by what training saw.

    A concept whose only pictures were drawn into the test part, or whose training trials were all
    rejected, was never trained: its test trials are `zero_shot`.

    Parameters
    ----------
    splits, concepts, kept
        Of each trial: where it was put, what it shows, and whether it has an epoch.
    """
    rows = list(zip(splits, concepts, kept, strict=True))
    trained = {concept for split, concept, there in rows if split == TRAIN and there}
    untrained = {c for split, c, _ in rows if split == TEST and c not in trained}
    if untrained:
        logger.warning(
            "%d concepts are shown by test trials and by no kept training trial (%s); their test trials "
            "count as zero_shot.",
            len(untrained),
            ", ".join(sorted(untrained)[:10]),
        )
    return [ZERO_SHOT if s == TEST and c in untrained else s for s, c, _ in rows]
