"""What every simulated study has, whatever its brains are: its size, its stimuli, its schedule, its bad channels.

Every part is drawn from a seed of its own, so any recording can be made alone, in any process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tasks.runtime.params import Params
from tasks.simulation.brain import FactorBrainParams
from tasks.simulation.features import FeatureBrainParams
from tasks.simulation.head import CHANNELS
from tasks.simulation.noise import NoiseParams, NoiseSource
from tasks.simulation.pictures import Stimulus
from tasks.simulation.schedule import Schedule, ScheduleParams, make_schedule


class StudyParams(Params):
    """Size and design of a study, its pictures, its brains and its noise.

    Attributes
    ----------
    seed : int
        Below 1,000,000: seeds above belong to the pretraining of the shipped models.
    n_subjects, n_stimuli : int
        Concepts are balanced over stimuli.
    n_presentations, n_sessions : int
        How often a subject sees each stimulus, spread evenly over sessions.
    sfreq_hz : float
        Sampling rate of the recordings.
    pictures : str
        "glyphs", "textured", or the folder of photographs: see `pictures.draw_stimuli`.
    picture_px : int
        Side of the pictures.
    oracle_bin_s : float
        Width of the bins over which the oracle, or its bound, averages a trial.
    schedule, noise : ScheduleParams, NoiseParams
        See there.
    brain : FactorBrainParams or FeatureBrainParams
        See there.
    """

    seed: int = Field(ge=0, lt=1_000_000)
    n_subjects: PositiveInt
    n_stimuli: PositiveInt
    n_presentations: PositiveInt
    n_sessions: PositiveInt
    sfreq_hz: PositiveFloat
    pictures: str
    picture_px: PositiveInt
    oracle_bin_s: PositiveFloat
    schedule: ScheduleParams
    brain: Annotated[FactorBrainParams | FeatureBrainParams, Field(discriminator="kind")]
    noise: NoiseParams

    @model_validator(mode="after")
    def _sessions_divide_presentations(self) -> StudyParams:
        if self.n_presentations % self.n_sessions:
            raise ValueError(
                f"n_presentations must be a multiple of n_sessions; found {self.n_presentations} "
                f"and {self.n_sessions}"
            )
        return self


@dataclass(frozen=True)
class Study(ABC):
    """All that the recordings of a study share.

    Attributes
    ----------
    params : StudyParams
        What was asked for.
    stimuli : Mapping[str, Stimulus]
        Stimulus ID to scene or photograph.
    noise : Mapping[str, NoiseSource]
        Kind of noise, beside that of the sensors, to its sources.
    """

    params: StudyParams
    stimuli: Mapping[str, Stimulus]
    noise: Mapping[str, NoiseSource]

    def schedule(self, subject: int, session: int) -> Schedule:
        """Return the trial order of a recording; repetitions count over the subject's sessions."""
        n_shown = self.params.n_presentations // self.params.n_sessions
        concepts = [stimulus.concept for stimulus in self.stimuli.values()]
        rng = self.rng("schedule", subject, session)
        schedule = make_schedule(self.params.schedule, concepts, n_shown, self.params.sfreq_hz, rng)
        return replace(schedule, repetitions=schedule.repetitions + (session - 1) * n_shown)

    def bad_channels(self, subject: int, session: int) -> dict[str, str]:
        """Return the bad channels of a recording and what is wrong with each: flat or noisy."""
        rng = self.rng("bad", subject, session)
        chosen = rng.choice(len(CHANNELS), self.params.noise.n_bad_channels, replace=False)
        return {CHANNELS[c]: ("flat", "noisy")[i % 2] for i, c in enumerate(chosen)}

    def record(self, subject: int, session: int) -> Float[np.ndarray, "n_channels n_times"]:
        """Return the continuous EEG of a recording, in uV."""
        rng = self.rng("noise", subject, session)
        eeg = self.potentials(subject, session, rng)
        for channel, fault in self.bad_channels(subject, session).items():
            row = eeg[CHANNELS.index(channel)]
            if fault == "flat":
                row[:] = 0.0
            else:
                white = rng.standard_normal(len(row), dtype=np.float32)
                row += self.params.noise.bad_channel_uv * white
        return eeg

    @abstractmethod
    def potentials(
        self, subject: int, session: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "n_channels n_times"]:
        """Return what good electrodes record, in uV: responses and noise."""

    def rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        """Return the randomness of one part of the study, one of `PURPOSES`."""
        return study_rng(self.params.seed, purpose, *numbers)


def recording_id(subject: int, session: int) -> str:
    """Return the name of a recording, such as ``sub-01_ses-02``."""
    return f"sub-{subject:02d}_ses-{session:02d}"


PURPOSES = (
    "stimuli",
    "brain",
    "noise layout",
    "subject",
    "schedule",
    "noise",
    "bad",
    "trials",
    "captions",
    "oracle",
)


def study_rng(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return the randomness of one of `PURPOSES`: of a subject, a recording or the whole study."""
    return np.random.default_rng([seed, PURPOSES.index(purpose), *numbers])
