"""A study of kind "factors": the factors of a scene each evoke a response of their own, and these add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tasks.simulation.brain import (
    RESPONSE_S,
    Brain,
    FactorBrainParams,
    levels_of,
    make_brain,
    make_subject,
)
from tasks.simulation.design import Study, StudyParams, study_rng
from tasks.simulation.noise import generate_noise, noise_sources
from tasks.simulation.scene import Scene
from tasks.simulation.schedule import Schedule


@dataclass(frozen=True)
class FactorStudy(Study):
    """A study whose best decoder is known.

    Attributes
    ----------
    stimuli : Mapping[str, Scene]
        Stimulus ID to scene.
    group : Brain
        The brain that the subjects vary.
    brain_params : FactorBrainParams
        Section ``brain`` of the params.
    """

    stimuli: Mapping[str, Scene]
    group: Brain
    brain_params: FactorBrainParams

    def subject(self, number: int) -> Brain:
        """Return the brain of subject 1, 2, ..."""
        return make_subject(self.group, self.brain_params, self.rng("subject", number))

    def levels(self, schedule: Schedule) -> np.ndarray:
        """Return the level of each factor (columns, in the order of `FACTORS`) at each event."""
        table = np.array([list(levels_of(scene).values()) for scene in self.stimuli.values()])
        levels: np.ndarray = table[schedule.stimuli]
        return levels

    def potentials(
        self, subject: int, session: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "n_channels n_times"]:
        """Return what good electrodes record, in uV: responses and stationary noise."""
        schedule = self.schedule(subject, session)
        sensor_uv = self.params.noise.sensor_uv
        eeg = generate_noise(self.noise, sensor_uv, schedule.n_times, self.params.sfreq_hz, rng)
        self._add_responses(eeg, self.subject(subject), schedule)
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


def make_factor_study(
    params: StudyParams, brain: FactorBrainParams, stimuli: Mapping[str, Scene]
) -> FactorStudy:
    """Draw the group's brain and the layout of the noise.

    Parameters
    ----------
    brain : FactorBrainParams
        Section ``brain`` of the params.
    """
    group = make_brain(brain, study_rng(params.seed, "brain"))
    noise = noise_sources(params.noise, group.head, study_rng(params.seed, "noise layout"))
    return FactorStudy(params, stimuli, noise, group, brain)


def response_times_s(sfreq_hz: float) -> Float[np.ndarray, " n_times"]:
    """Return the sampling times of an evoked response, in seconds from onset."""
    return np.arange(round(RESPONSE_S * sfreq_hz)) / sfreq_hz
