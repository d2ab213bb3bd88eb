"""Which trials are trained on and which are held out: decided once, by a named strategy."""

from collections.abc import Collection

import pyarrow as pa

from tasks.eeg.split_params import (
    ConceptSplit,
    ImageSplit,
    OfficialSplit,
    Split,
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
    "Split",
    "SplitError",
    "SplitParams",
    "SubjectSplit",
    "TimeChunkSplit",
    "assign_splits",
]


def assign_splits(
    trials: pa.Table, stimuli: pa.Table, params: SplitParams, untimed: Collection[str] = ()
) -> list[Split]:
    """Return the split of every trial; no EEG is needed to know it.

    Parameters
    ----------
    trials
        One row per trial, with at least ``stimulus_id``; ``subject`` for the strategy ``subject``,
        ``recording_id`` and ``onset_s`` for ``time_chunk``.
    stimuli
        Contract STIMULI; also those that were never shown.
    params
        Names the strategy.
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
    if trials.num_rows and "train" not in splits:
        raise SplitError(
            f"The split {params.strategy!r} must leave trials to train on; it leaves none of "
            f"{trials.num_rows}. Change preprocess.split: smaller fractions, for instance."
        )
    return splits
