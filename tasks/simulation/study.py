"""A simulated study: its stimuli, its subjects and what a recording of one of them holds.

Every part is drawn from a seed of its own, so any recording can be made alone, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tasks.runtime.params import Params
from tasks.simulation.brain import (
    RESPONSE_S,
    Brain,
    BrainParams,
    levels_of,
    make_brain,
    make_subject,
)
from tasks.simulation.head import CHANNELS
from tasks.simulation.noise import NoiseParams, NoiseSource, generate_noise, noise_sources
from tasks.simulation.scene import VOCABULARY, Scene, sample_scene
from tasks.simulation.schedule import Schedule, ScheduleParams, make_schedule


class StudyParams(Params):
    """Size and design of a study, its brains and its noise.

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
    picture_px : int
        Side of the pictures.
    oracle_bin_s : float
        Width of the bins over which the oracle averages a trial.
    schedule, brain, noise : ScheduleParams, BrainParams, NoiseParams
        See there.
    """

    seed: int = Field(ge=0, lt=1_000_000)
    n_subjects: PositiveInt
    n_stimuli: PositiveInt
    n_presentations: PositiveInt
    n_sessions: PositiveInt
    sfreq_hz: PositiveFloat
    picture_px: PositiveInt
    oracle_bin_s: PositiveFloat
    schedule: ScheduleParams
    brain: BrainParams
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
class Study:
    """All that the recordings of a study share.

    Attributes
    ----------
    params : StudyParams
        What was asked for.
    stimuli : dict of str to Scene
        Stimulus ID to scene.
    group : Brain
        The brain that the subjects vary.
    noise : tuple of NoiseSource
        The noise beside that of the sensors.
    """

    params: StudyParams
    stimuli: dict[str, Scene]
    group: Brain
    noise: tuple[NoiseSource, ...]

    def subject(self, number: int) -> Brain:
        """Return the brain of subject 1, 2, ..."""
        return make_subject(self.group, self.params.brain, self._rng("subject", number))

    def schedule(self, subject: int, session: int) -> Schedule:
        """Return the trial order of a recording; repetitions count over the subject's sessions."""
        n_shown = self.params.n_presentations // self.params.n_sessions
        concepts = [scene.concept for scene in self.stimuli.values()]
        rng = self._rng("schedule", subject, session)
        schedule = make_schedule(self.params.schedule, concepts, n_shown, self.params.sfreq_hz, rng)
        return replace(schedule, repetitions=schedule.repetitions + (session - 1) * n_shown)

    def levels(self, schedule: Schedule) -> np.ndarray:
        """Return the level of each factor (columns, in the order of `FACTORS`) at each event."""
        table = np.array([list(levels_of(scene).values()) for scene in self.stimuli.values()])
        levels: np.ndarray = table[schedule.stimuli]
        return levels

    def bad_channels(self, subject: int, session: int) -> dict[str, str]:
        """Return the bad channels of a recording and what is wrong with each: flat or noisy."""
        rng = self._rng("bad", subject, session)
        chosen = rng.choice(len(CHANNELS), self.params.noise.n_bad_channels, replace=False)
        return {CHANNELS[c]: ("flat", "noisy")[i % 2] for i, c in enumerate(chosen)}

    def record(self, subject: int, session: int) -> Float[np.ndarray, "n_channels n_times"]:
        """Return the continuous EEG of a recording, in uV."""
        schedule = self.schedule(subject, session)
        noise = self.params.noise
        rng = self._rng("noise", subject, session)
        eeg = generate_noise(
            self.noise, noise.sensor_uv, schedule.n_times, self.params.sfreq_hz, rng
        )
        self._add_responses(eeg, self.subject(subject), schedule)
        for channel, fault in self.bad_channels(subject, session).items():
            row = eeg[CHANNELS.index(channel)]
            if fault == "flat":
                row[:] = 0.0
            else:
                row += noise.bad_channel_uv * rng.standard_normal(len(row), dtype=np.float32)
        return eeg

    def _add_responses(self, eeg: np.ndarray, brain: Brain, schedule: Schedule) -> None:
        times_s = response_times_s(self.params.sfreq_hz)
        templates = list(brain.templates(times_s).values())
        common = brain.common.response(brain.head, times_s)[0]
        for onset, levels in zip(schedule.onsets, self.levels(schedule), strict=True):
            window = eeg[:, onset : onset + len(times_s)]
            window += common
            for template, level in zip(templates, levels, strict=True):
                window += template[level]

    def _rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        return _rng(self.params.seed, purpose, *numbers)


def make_study(params: StudyParams) -> Study:
    """Draw the stimuli, the group's brain and the layout of the noise."""
    group = make_brain(params.brain, _rng(params.seed, "brain"))
    noise = noise_sources(params.noise, group.head, _rng(params.seed, "noise layout"))
    return Study(params, _draw_stimuli(params), group, noise)


def response_times_s(sfreq_hz: float) -> Float[np.ndarray, " n_times"]:
    """Return the sampling times of an evoked response, in seconds from onset."""
    return np.arange(round(RESPONSE_S * sfreq_hz)) / sfreq_hz


def recording_id(subject: int, session: int) -> str:
    """Return the name of a recording, such as ``sub-01_ses-02``."""
    return f"sub-{subject:02d}_ses-{session:02d}"


def _draw_stimuli(params: StudyParams) -> dict[str, Scene]:
    """Draw the scenes, with concepts as balanced as their number allows."""
    rng = _rng(params.seed, "stimuli")
    concepts = VOCABULARY["concept"]
    return {
        f"stim-{i + 1:04d}": sample_scene(rng, concepts[i % len(concepts)])
        for i in range(params.n_stimuli)
    }


PURPOSES = ("stimuli", "brain", "noise layout", "subject", "schedule", "noise", "bad")


def _rng(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([seed, PURPOSES.index(purpose), *numbers])
