"""What the controls look at, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.metrics import Score
from tasks.artifacts.splits import TRAIN
from tasks.controls.answers import (
    ControlParams,
    Hits,
    concept_hits,
    encoder_score,
    judged,
)
from tasks.controls.noise import Epochs
from tasks.scores.concept import concept_ranking
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER
from tasks.scores.ranking import Vectors

Predict = Callable[[Epochs, Sequence[str]], Mapping[str, Vectors]]
"""EEG and the subject of each trial to the vectors of each head."""


@dataclass(frozen=True)
class Evidence:
    """Audited trials with all that a control may ask of them.

    Attributes
    ----------
    held_out : HeldOut
        Audited trials: unseen pictures of trained concepts.
    trials, stimuli, retrievals : pandas.DataFrame
        Rows of the contracts of these names, of the whole study.
    timed : bool
        Whether order and onsets of all trials are the experiment's.
    image_vectors : Mapping[str, Float[np.ndarray, "dim"]]
        Stimulus to its unit-norm vector.
    eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        Epochs of the audited trials.
    channels : tuple[str, ...]
        Names, in the order of the rows of an epoch.
    times_s : Float[np.ndarray, "n_times"]
        Of the samples, relative to picture onset.
    training : pandas.DataFrame
        A sample of the training trials.
    training_eeg : Float32[np.ndarray, "n_training n_channels n_times"]
        Their epochs.
    read : callable
        Ids of trials to their epochs.
    predict : callable
        The encoder.
    params : ControlParams
        Intervals, p-values, sizes.
    """

    held_out: HeldOut
    trials: pd.DataFrame
    timed: bool
    stimuli: pd.DataFrame
    retrievals: pd.DataFrame
    image_vectors: Mapping[str, Vectors]
    eeg: Epochs
    channels: tuple[str, ...]
    times_s: Float[np.ndarray, " n_times"]
    training: pd.DataFrame
    training_eeg: Epochs
    read: Callable[[Sequence[str]], Epochs]
    predict: Predict
    params: ControlParams

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The rows of `trials` of the audited trials, in their order."""
        rows = self.trials.set_index("trial_id", drop=False)
        return rows.loc[self.held_out.trials["trial_id"]].reset_index(drop=True)

    @cached_property
    def trained(self) -> pd.DataFrame:
        """The rows of `trials` that training saw: kept ones of its split."""
        return self.trials[(self.trials["split"] == TRAIN) & self.trials["kept"]]

    @cached_property
    def named(self) -> list[str]:
        """The concept that is named from each audited trial."""
        names = self.held_out.candidates()
        first = concept_ranking(self.held_out, self.held_out.kinds(OBJECT_TIER), names).first
        return [names[index] for index in first.argmin(axis=1)]

    @cached_property
    def hits(self) -> Hits:
        """Whether the concept named from a trial is that of a stimulus."""
        return concept_hits(self.held_out)

    @cached_property
    def own_hits(self) -> Float[np.ndarray, " n_trials"]:
        """Whether the concept named from a trial is the one that was shown."""
        stimuli = self.held_out.stimuli()
        columns = np.searchsorted(stimuli, self.held_out.trials["stimulus_id"].to_numpy(str))
        return np.asarray(self.hits[np.arange(len(columns)), columns])

    @cached_property
    def encoder(self) -> Score:
        """The score under audit."""
        return encoder_score(self.held_out, self.params)

    @cached_property
    def features(self) -> Vectors:
        """What all heads say of each audited trial, side by side."""
        return np.concatenate(list(self.held_out.predicted.values()), axis=1)


@dataclass(frozen=True)
class Finding:
    """What a control found.

    Attributes
    ----------
    score : Score
        With a verdict in plain words.
    curve : pandas.DataFrame or None
        The numbers behind it, one point per row: columns series, x, value and, where known, low, high.
    x_label, y_label : str
        What the curve is drawn against, and what it shows.
    said, above : str
        Of a score that is expected at chance: what was found, and what it means if it is above.
    """

    score: Score
    curve: pd.DataFrame | None = None
    x_label: str = ""
    y_label: str = ""
    said: str = ""
    above: str = ""

    @classmethod
    def judged(
        cls,
        score: Score,
        said: str,
        above: str,
        curve: pd.DataFrame | None = None,
        x_label: str = "",
        y_label: str = "",
    ) -> Self:
        """Return a score that is expected at chance, with the sentence that fits."""
        return cls(judged(score, said, above), curve, x_label, y_label, said, above)

    def corrected(self, score: Score) -> Self:
        """Return the finding with a score whose p-value was corrected, and the sentence that now fits."""
        return replace(self, score=judged(score, self.said, self.above))
