"""When which stimulus is shown: the trial order of one recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import NonNegativeFloat, PositiveFloat

from tasks.runtime.params import Params

Design = Literal["randomised", "block", "rsvp", "none"]
Rounds = list[Int[np.ndarray, " n_shown"]]


class ScheduleParams(Params):
    """The design of the experiment.

    Attributes
    ----------
    design : str
        "randomised": all stimuli in random order, once per round. "block": all presentations of a
        concept in a row, as in EEGCVPR. "rsvp": random order so fast that responses overlap, as in
        THINGS-EEG2. "none": no study is simulated.
    soa_s, rsvp_soa_s : float
        Time from onset to onset, for "randomised" and "block", and for "rsvp".
    soa_jitter_s : float
        Uniform extra time from onset to onset, at most.
    duration_s, rsvp_duration_s : float
        How long a picture is shown.
    gap_s : float
        Blank time before the first block, between blocks and after the last.
    """

    design: Design
    soa_s: PositiveFloat
    rsvp_soa_s: PositiveFloat
    soa_jitter_s: NonNegativeFloat
    duration_s: PositiveFloat
    rsvp_duration_s: PositiveFloat
    gap_s: PositiveFloat


@dataclass(frozen=True)
class Schedule:
    """The presentations of one recording, in order of time.

    Attributes
    ----------
    stimuli : numpy.ndarray
        Index of the stimulus.
    onsets : numpy.ndarray
        First sample of the picture.
    blocks : numpy.ndarray
        Number of the block: a concept in the block design, a round of all stimuli otherwise.
    repetitions : numpy.ndarray
        How often the recording has shown the stimulus before.
    duration_s : float
        How long each picture is shown.
    n_times : int
        Length of the recording in samples.
    """

    stimuli: Int[np.ndarray, " n_events"]
    onsets: Int[np.ndarray, " n_events"]
    blocks: Int[np.ndarray, " n_events"]
    repetitions: Int[np.ndarray, " n_events"]
    duration_s: float
    n_times: int


def make_schedule(
    params: ScheduleParams,
    concepts: Sequence[str],
    n_presentations: int,
    sfreq_hz: float,
    rng: np.random.Generator,
) -> Schedule:
    """Draw the trial order of one recording.

    Parameters
    ----------
    params : ScheduleParams
        The design, not "none".
    n_presentations : int
        How often the recording shows each stimulus.
    """
    rounds = ORDERS[params.design](concepts, n_presentations, rng)
    stimuli = np.concatenate(rounds)
    blocks = np.repeat(np.arange(len(rounds)), [len(r) for r in rounds])
    rapid = params.design == "rsvp"
    soa_s = params.rsvp_soa_s if rapid else params.soa_s
    steps = soa_s + rng.uniform(0, params.soa_jitter_s, len(stimuli))
    steps += np.where(np.diff(blocks, append=blocks[-1]), params.gap_s, 0.0)
    onsets = np.round((params.gap_s + np.cumsum(steps) - steps) * sfreq_hz).astype(int)
    return Schedule(
        stimuli,
        onsets,
        blocks,
        _count_before(stimuli),
        params.rsvp_duration_s if rapid else params.duration_s,
        int(np.ceil((params.gap_s * 2 + steps.sum()) * sfreq_hz)),
    )


def _randomised(concepts: Sequence[str], n_rounds: int, rng: np.random.Generator) -> Rounds:
    """Show all stimuli once per round; the last of a round never opens the next."""
    rounds: Rounds = []
    for _ in range(n_rounds):
        order = rng.permutation(len(concepts))
        if rounds and len(order) > 1 and order[0] == rounds[-1][-1]:
            order = np.roll(order, -1)
        rounds.append(order)
    return rounds


def _blocked(concepts: Sequence[str], n_presentations: int, rng: np.random.Generator) -> Rounds:
    """Show one concept per block, its stimuli in random order without immediate repetition."""
    of_concept = np.asarray(concepts)
    blocks: Rounds = []
    for concept in rng.permutation(np.unique(of_concept)):
        members = np.flatnonzero(of_concept == concept)
        rounds = _randomised([concept] * len(members), n_presentations, rng)
        blocks.append(members[np.concatenate(rounds)])
    return blocks


ORDERS: Mapping[str, Callable[[Sequence[str], int, np.random.Generator], Rounds]] = (
    MappingProxyType({"randomised": _randomised, "rsvp": _randomised, "block": _blocked})
)


def _count_before(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return for each entry how often its value occurs before it."""
    counts = np.zeros(values.max() + 1, dtype=int)
    before = np.empty(len(values), dtype=int)
    for position, value in enumerate(values):
        before[position] = counts[value]
        counts[value] += 1
    return before
