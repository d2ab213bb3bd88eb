"""Epochs straight from a simulated study, without files: for developing and testing encoders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from scipy import fft

from tasks.simulation.brain import FACTORS
from tasks.simulation.scene import VOCABULARY
from tasks.simulation.study import Study, StudyParams, make_study

SFREQ_HZ = 100.0
PASSBAND_HZ = (0.5, 40.0)
BASELINE_S = 0.2


@dataclass(frozen=True)
class SimulatedEpochs:
    """Trials of a simulated study, about as `preprocess` makes them.

    Attributes
    ----------
    eeg : numpy.ndarray
        Band-passed, average-referenced and baseline-corrected potential at 100 Hz, in uV.
    levels : dict of str to numpy.ndarray
        Factor to the level of each trial, an index into its `VOCABULARY`.
    labels : dict of str to tuple of str
        The same as names.
    subjects, stimulus_ids : tuple of str
        Of each trial.
    tmin_s : float
        Time of the first sample from onset.
    """

    eeg: Float32[np.ndarray, "n_trials n_channels n_times"]
    levels: dict[str, Int[np.ndarray, " n_trials"]]
    labels: dict[str, tuple[str, ...]]
    subjects: tuple[str, ...]
    stimulus_ids: tuple[str, ...]
    tmin_s: float


def simulate_epochs(params: StudyParams, tmin_s: float, tmax_s: float) -> SimulatedEpochs:
    """Simulate a study and cut its trials, without writing a recording.

    Parameters
    ----------
    params : StudyParams
        The study; bad channels are left out of it, blinks are not rejected.
    tmin_s, tmax_s : float
        Window around onset; `tmax_s` is excluded.
    """
    noise = params.noise.model_copy(update={"n_bad_channels": 0})
    study = make_study(params.model_copy(update={"noise": noise}))
    recordings = [
        (subject, session)
        for subject in range(1, params.n_subjects + 1)
        for session in range(1, params.n_sessions + 1)
    ]
    eeg = np.concatenate([_cut(study, *r, tmin_s, tmax_s) for r in recordings])
    schedules = [study.schedule(*r) for r in recordings]
    levels = np.concatenate([study.levels(s) for s in schedules])
    by_factor = {name: levels[:, i] for i, name in enumerate(FACTORS)}
    ids = list(study.stimuli)
    return SimulatedEpochs(
        eeg,
        by_factor,
        {name: tuple(VOCABULARY[name][i] for i in column) for name, column in by_factor.items()},
        tuple(
            f"sub-{r[0]:02d}" for r, s in zip(recordings, schedules, strict=True) for _ in s.stimuli
        ),
        tuple(ids[i] for s in schedules for i in s.stimuli),
        tmin_s,
    )


def _cut(study: Study, subject: int, session: int, tmin_s: float, tmax_s: float) -> np.ndarray:
    eeg = _filter(study.record(subject, session), study.params.sfreq_hz)
    eeg -= eeg.mean(axis=0)
    onsets = np.round(study.schedule(subject, session).onsets * SFREQ_HZ / study.params.sfreq_hz)
    around = np.arange(round(tmin_s * SFREQ_HZ), round(tmax_s * SFREQ_HZ))
    epochs = eeg[:, onsets.astype(int)[:, None] + around].transpose(1, 0, 2)
    before = eeg[:, onsets.astype(int)[:, None] + np.arange(-round(BASELINE_S * SFREQ_HZ), 0)]
    return np.ascontiguousarray(epochs - before.mean(axis=2).T[:, :, None])


def _filter(
    eeg: Float32[np.ndarray, "n_channels n_times"], sfreq_hz: float
) -> Float32[np.ndarray, "n_channels n_resampled"]:
    """Band-pass without phase shift and resample to `SFREQ_HZ`."""
    n_resampled = int(np.ceil(eeg.shape[1] / sfreq_hz)) * round(SFREQ_HZ)
    n_times = round(n_resampled * sfreq_hz / SFREQ_HZ)
    freqs = fft.rfftfreq(n_times, 1 / sfreq_hz)[: n_resampled // 2 + 1]
    low = 1 - 1 / (1 + (freqs / PASSBAND_HZ[0]) ** 8)
    high = 1 / (1 + (freqs / PASSBAND_HZ[1]) ** 16)
    gain = (low * high * n_resampled / n_times).astype(np.float32)
    spectrum = fft.rfft(eeg, n_times, axis=1)[:, : len(gain)]
    filtered: np.ndarray = fft.irfft(spectrum * gain, n_resampled, axis=1)
    return filtered
