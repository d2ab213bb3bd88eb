"""A study of kind "features": nobody can invert it on paper, and its noise does not stand still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import signal

from tasks.runtime.files import atomic_path
from tasks.simulation.design import Study, StudyParams, study_rng
from tasks.simulation.features import (
    GROUPS,
    FeatureBrain,
    FeatureBrainParams,
    Layout,
    make_layout,
    make_subject,
    response_times_s,
)
from tasks.simulation.head import CHANNELS, make_head
from tasks.simulation.noise import eye_pattern, gaze_pattern, noise_sources, white
from tasks.simulation.pictures import Stimulus, picture_of, salient_side
from tasks.simulation.vision import read_activity

SUPPRESSED_S = (0.3, 0.6)
EDGE_S = 0.05
"""When a picture takes the occipital rhythm away, and how long that takes to set in and to end."""

WANDER_S, BURST_S = 10.0, 0.5
"""Time in which the amplitude of the background, and of the rhythm, forgets itself to 1/e."""

SACCADE_S, SACCADE_SD_S, GAZE_S, SPIKE_S = 0.22, 0.04, 0.25, 0.012
"""When the eyes move, on average and by how much that varies, how long they stay away, and their spike."""

SPIKE = 0.3
"""Peak of the spike in units of the movement."""


@dataclass(frozen=True)
class Trials:
    """What each presentation has of its own, beside its picture.

    Attributes
    ----------
    shifts_s : numpy.ndarray
        By how much each group of sources is late.
    group_gains : numpy.ndarray
        Gain of each group.
    expected_gains : numpy.ndarray
        The part of it that follows from the schedule: adaptation and masking.
    saccades : numpy.ndarray
        Size of the eye movement, to the right, in units of its RMS.
    saccades_s : numpy.ndarray
        Its time after the onset.
    """

    shifts_s: Float[np.ndarray, "n_events n_groups"]
    group_gains: Float[np.ndarray, "n_events n_groups"]
    expected_gains: Float[np.ndarray, "n_events n_groups"]
    saccades: Float[np.ndarray, " n_events"]
    saccades_s: Float[np.ndarray, " n_events"]


@dataclass(frozen=True)
class FeatureStudy(Study):
    """A study whose brains see pictures through a trained network.

    Attributes
    ----------
    layout : Layout
        The brain that the subjects vary.
    brain_params : FeatureBrainParams
        Section ``brain`` of the params.
    sides : numpy.ndarray
        The side of each picture on which more is to be seen, standardised over pictures.
    """

    layout: Layout
    brain_params: FeatureBrainParams
    sides: Float[np.ndarray, " n_pictures"]

    def subject(self, number: int) -> FeatureBrain:
        """Return the brain of subject 1, 2, ..."""
        return make_subject(self.layout, self.brain_params, self.rng("subject", number))

    def trials(self, subject: int, session: int) -> Trials:
        """Return what each presentation of a recording has of its own."""
        brain, schedule = self.brain_params, self.schedule(subject, session)
        rng, n = self.rng("trials", subject, session), len(schedule.onsets)
        shifts_s = rng.standard_normal((n, len(GROUPS))) * list(
            brain.jitter_sd_s.model_dump().values()
        )
        own = np.exp(brain.gain_sd * rng.standard_normal(n))
        own *= rng.random(n) >= brain.lapse_share
        gaps_s = np.diff(schedule.onsets, prepend=-np.inf) / self.params.sfreq_hz
        adapted = 1 - brain.adaptation * np.exp(-gaps_s / brain.adaptation_s)
        masking = brain.masking if self.params.schedule.design == "rsvp" else 1.0
        expected = adapted[:, None] * np.where(np.array(list(GROUPS)) == "late", masking, 1.0)
        r = brain.saccade_side
        saccades = r * self.sides[schedule.stimuli] + np.sqrt(1 - r**2) * rng.standard_normal(n)
        saccades_s = SACCADE_S + SACCADE_SD_S * rng.standard_normal(n)
        return Trials(shifts_s, own[:, None] * expected, expected, saccades, saccades_s)

    def background(
        self, subject: int, session: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "n_channels n_times"], Float[np.ndarray, " n_times"]]:
        """Return the noise of sensors and cortex, in uV, and the factor on the latter's amplitude.

        Parameters
        ----------
        rng : numpy.random.Generator
            As `potentials` has it: the background is what is drawn first.
        """
        n_times, sfreq_hz = self.schedule(subject, session).n_times, self.params.sfreq_hz
        brain = self.brain_params
        eeg = self.params.noise.sensor_uv * white(len(CHANNELS), n_times, rng)
        drift = brain.noise_drift_sd * rng.standard_normal()
        wander = brain.noise_wander_sd * _slow(n_times, WANDER_S, sfreq_hz, rng)
        amplitude = np.exp(drift + wander)
        if "background" in self.noise:
            source = self.noise["background"]
            eeg += source.mixing @ (source.courses(n_times, sfreq_hz, rng) * amplitude)
        return eeg, amplitude

    def potentials(
        self, subject: int, session: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "n_channels n_times"]:
        """Return what good electrodes record, in uV: responses, unsteady noise, rhythm and eyes."""
        eeg, _ = self.background(subject, session, rng)
        n_times, sfreq_hz = eeg.shape[1], self.params.sfreq_hz
        trials = self.trials(subject, session)
        for kind, source in self.noise.items():
            if kind == "background":
                continue
            courses = source.courses(n_times, sfreq_hz, rng)
            if kind == "alpha":
                courses = courses * self._rhythm(subject, session, rng)
            eeg += source.mixing @ courses
        self._add_saccades(eeg, subject, session, trials)
        self._add_responses(eeg, subject, session, trials)
        return eeg

    def suppression(self) -> dict[str, float]:
        """Return how much of the occipital rhythm each concept takes away."""
        brain = self.brain_params
        rng = self.rng("brain", 1)
        concepts = sorted({stimulus.concept for stimulus in self.stimuli.values()})
        depths = brain.alpha_suppression + brain.alpha_suppression_sd * rng.standard_normal(
            len(concepts)
        )
        return dict(zip(concepts, np.clip(depths, 0.0, 0.95).tolist(), strict=True))

    def _rhythm(
        self, subject: int, session: int, rng: np.random.Generator
    ) -> Float[np.ndarray, " n_times"]:
        """Return the amplitude of the occipital rhythm: bursts, and what pictures take away of it."""
        schedule, sfreq_hz = self.schedule(subject, session), self.params.sfreq_hz
        sd = self.brain_params.alpha_burst_sd
        amplitude = np.exp(sd * _slow(schedule.n_times, BURST_S, sfreq_hz, rng) - sd**2)
        times_s = response_times_s(sfreq_hz)
        begin, end = ((times_s - edge) / EDGE_S for edge in SUPPRESSED_S)
        window = 1 / (1 + np.exp(-4 * begin)) - 1 / (1 + np.exp(-4 * end))
        depths = self.suppression()
        depth = np.array([depths[stimulus.concept] for stimulus in self.stimuli.values()])
        for onset, picture in zip(schedule.onsets, schedule.stimuli, strict=True):
            here = amplitude[onset : onset + len(window)]
            here *= 1 - depth[picture] * window[: len(here)]
        return amplitude

    def _add_saccades(self, eeg: np.ndarray, subject: int, session: int, trials: Trials) -> None:
        sfreq_hz, unit_uv = self.params.sfreq_hz, self.brain_params.saccade_uv
        gaze, spikes = np.zeros(eeg.shape[1]), np.zeros(eeg.shape[1])
        stay, spike = round(GAZE_S * sfreq_hz), max(2, round(SPIKE_S * sfreq_hz))
        onsets = self.schedule(subject, session).onsets
        starts = onsets + np.round(trials.saccades_s * sfreq_hz).astype(int)
        for start, size in zip(starts, trials.saccades, strict=True):
            gaze[start : start + stay] += size
            spikes[start : start + spike] += SPIKE * abs(size)
        head = self.layout.head
        eeg += unit_uv * gaze_pattern(head)[:, None] * gaze
        eeg -= unit_uv * eye_pattern(head)[:, None] * spikes

    def _add_responses(self, eeg: np.ndarray, subject: int, session: int, trials: Trials) -> None:
        schedule, brain = self.schedule(subject, session), self.subject(subject)
        times_s = response_times_s(self.params.sfreq_hz)
        for event, (onset, picture) in enumerate(
            zip(schedule.onsets, schedule.stimuli, strict=True)
        ):
            window = eeg[:, onset : onset + len(times_s)]
            window += brain.response(
                picture, times_s, trials.shifts_s[event], trials.group_gains[event]
            )


def make_feature_study(
    params: StudyParams,
    brain: FeatureBrainParams,
    stimuli: Mapping[str, Stimulus],
    cache: Path | None = None,
) -> FeatureStudy:
    """Let the network look at the pictures, and draw the group's brain and the layout of the noise.

    Parameters
    ----------
    brain : FeatureBrainParams
        Section ``brain`` of the params.
    cache : pathlib.Path or None
        Folder in which what the network saw is kept for the next call.

    Raises
    ------
    WeightsError
        If the weights of the network are missing or are others.
    """
    seen = _see(params, stimuli, cache)
    sides = seen.pop("side")
    head = make_head()
    layout = make_layout(brain, seen, head, study_rng(params.seed, "brain"))
    noise = noise_sources(params.noise, head, study_rng(params.seed, "noise layout"))
    spread = sides.std()
    standard = (sides - sides.mean()) / (spread if spread > 0 else 1.0)
    return FeatureStudy(params, stimuli, noise, layout, brain, standard)


def _see(
    params: StudyParams, stimuli: Mapping[str, Stimulus], cache: Path | None
) -> dict[str, np.ndarray]:
    """Return the network's activity for each picture, by group, and the side of its contrast."""
    path = cache / "seen.npz" if cache else None
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return dict(kept)
    shown = [picture_of(s, params.pictures, params.picture_px) for s in stimuli.values()]
    seen = read_activity(shown) | {"side": np.array([salient_side(p) for p in shown])}
    if path is not None:
        with atomic_path(path) as partial:
            np.savez(partial, **seen)  # type: ignore[arg-type]
    return seen


def _slow(
    n_times: int, memory_s: float, sfreq_hz: float, rng: np.random.Generator
) -> Float[np.ndarray, " n_times"]:
    """Draw an autoregressive course of unit variance, in ten steps per `memory_s`, joined by lines."""
    step_s = memory_s / 10
    n_steps = int(np.ceil(n_times / sfreq_hz / step_s)) + 2
    kept = np.exp(-step_s / memory_s)
    shocks = np.sqrt(1 - kept**2) * rng.standard_normal(n_steps)
    shocks[0] /= np.sqrt(1 - kept**2)
    steps = signal.lfilter([1.0], [1.0, -kept], shocks)
    course: np.ndarray = np.interp(
        np.arange(n_times) / sfreq_hz, np.arange(n_steps) * step_s, steps
    )
    return course
