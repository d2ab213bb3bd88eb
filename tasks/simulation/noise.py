"""Everything in a simulated recording that is not evoked by the pictures.

Each kind of noise is a set of sources with one power spectrum, mixed into the channels. That one
description both generates the noise and gives its exact covariance, which the oracle needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import fft

from tasks.runtime.params import Params
from tasks.simulation.head import CHANNELS, Head

Spectrum = Callable[[Float[np.ndarray, " n_freqs"]], Float[np.ndarray, " n_freqs"]]

N_FINE = 2**17
"""Samples of the grid on which autocovariances are computed."""

BLINK_S = 0.3
BLINK_REACH_M = 0.045
DRIFT_FLOOR_HZ = 1 / 600
PINK_FLOOR_HZ = 0.5


class NoiseParams(Params):
    """How strong each kind of noise is; amplitudes are RMS over channels, in uV, unless said otherwise.

    Attributes
    ----------
    background_uv, n_background_sources : float, int
        Pink activity of cortical dipoles all over the head.
    alpha_uv, alpha_hz : float
        Occipital rhythm, not locked to the pictures.
    blink_uv, blinks_per_minute : float
        Peak of an eye blink at the strongest channel, and how often.
    line_uv, line_hz : float
        Mains hum.
    sensor_uv : float
        White noise of each channel.
    block_drift_uv : float
        Slow drift over minutes: with a block design it tells the block, and so the concept, without
        any response of the brain.
    n_bad_channels : int
        Channels per recording that are flat or very noisy.
    bad_channel_uv : float
        White noise of a noisy bad channel.
    """

    background_uv: NonNegativeFloat
    n_background_sources: PositiveInt
    alpha_uv: NonNegativeFloat
    alpha_hz: PositiveFloat
    blink_uv: NonNegativeFloat
    blinks_per_minute: NonNegativeFloat
    line_uv: NonNegativeFloat
    line_hz: PositiveFloat
    sensor_uv: NonNegativeFloat
    block_drift_uv: NonNegativeFloat
    n_bad_channels: int = Field(ge=0, lt=len(CHANNELS))
    bad_channel_uv: PositiveFloat


@runtime_checkable
class NoiseSource(Protocol):
    """Noise of one kind: independent courses of one spectrum, mixed into the channels."""

    @property
    def mixing(self) -> Float[np.ndarray, "n_channels n_sources"]:
        """Amplitude of each course in each channel, in uV."""
        ...

    def courses(
        self, n_times: int, sfreq_hz: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "n_sources n_times"]:
        """Draw the courses of one recording."""
        ...

    def autocovariance(self, n_lags: int, sfreq_hz: float) -> Float[np.ndarray, " n_lags"]:
        """Return the autocovariance of a course at lags of 0, 1, ... samples."""
        ...


@dataclass(frozen=True)
class Coloured:
    """Stationary Gaussian noise; its courses have unit variance.

    Attributes
    ----------
    mixing : numpy.ndarray
        Amplitude of each course in each channel, in uV.
    power : Spectrum
        Frequency in Hz to relative power.
    """

    mixing: Float[np.ndarray, "n_channels n_sources"]
    power: Spectrum

    def courses(
        self, n_times: int, sfreq_hz: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "n_sources n_times"]:
        """Draw the courses of one recording."""
        n_padded = fft.next_fast_len(n_times, real=True)
        drawn = white(self.mixing.shape[1], n_padded, rng)
        shape = np.sqrt(_normalised(self.power, n_padded, sfreq_hz))
        coloured: np.ndarray = fft.irfft(fft.rfft(drawn, axis=1) * shape, n_padded, axis=1)
        return coloured[:, :n_times]

    def autocovariance(self, n_lags: int, sfreq_hz: float) -> Float[np.ndarray, " n_lags"]:
        """Return the autocovariance of a course at lags of 0, 1, ... samples."""
        series: np.ndarray = fft.irfft(_normalised(self.power, N_FINE, sfreq_hz) + 0j, N_FINE)
        return series[:n_lags]


@dataclass(frozen=True)
class Blinks:
    """A train of equal pulses at random times, less its mean.

    Attributes
    ----------
    mixing : numpy.ndarray
        Peak of a pulse in each channel, in uV; one column.
    per_minute : float
        Mean rate.
    """

    mixing: Float[np.ndarray, "n_channels 1"]
    per_minute: float

    def courses(
        self, n_times: int, sfreq_hz: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "1 n_times"]:
        """Draw the course of one recording."""
        rate = self.per_minute / 60 / sfreq_hz
        pulse = _pulse(sfreq_hz)
        train = np.zeros(n_times)
        np.add.at(train, rng.integers(0, n_times, rng.poisson(rate * n_times)), 1.0)
        course: np.ndarray = np.convolve(train, pulse)[:n_times] - rate * pulse.sum()
        return course[None]

    def autocovariance(self, n_lags: int, sfreq_hz: float) -> Float[np.ndarray, " n_lags"]:
        """Return the autocovariance of the course at lags of 0, 1, ... samples."""
        pulse = _pulse(sfreq_hz)
        overlap = np.correlate(pulse, pulse, mode="full")[len(pulse) - 1 :][:n_lags]
        rate = self.per_minute / 60 / sfreq_hz
        return np.pad(overlap, (0, n_lags - len(overlap))) * rate


def noise_sources(
    params: NoiseParams, head: Head, rng: np.random.Generator
) -> dict[str, NoiseSource]:
    """Lay out the noise of a study, by kind; kinds of amplitude 0 are left out.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; the order of draws does not depend on the amplitudes.
    """
    everywhere = np.arange(len(head.sources_m))
    background = _dipoles(head, everywhere, params.n_background_sources, rng)
    alpha = _dipoles(head, head.region("occipital"), 6, rng)
    drift = _dipoles(head, everywhere, 8, rng)
    line = 1 + 0.3 * rng.standard_normal((len(CHANNELS), 1))
    sources: dict[str, NoiseSource] = {
        "background": Coloured(params.background_uv * _unit_rms(background), _pink),
        "alpha": Coloured(params.alpha_uv * _unit_rms(alpha), _peak(params.alpha_hz, 0.8)),
        "line": Coloured(params.line_uv * _unit_rms(line), _peak(params.line_hz, 0.05)),
        "blinks": Blinks(params.blink_uv * eye_pattern(head)[:, None], params.blinks_per_minute),
        "drift": Coloured(params.block_drift_uv * _unit_rms(drift), _brown),
    }
    return {kind: source for kind, source in sources.items() if source.mixing.any()}


def generate_noise(
    sources: Mapping[str, NoiseSource],
    sensor_uv: float,
    n_times: int,
    sfreq_hz: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n_channels n_times"]:
    """Draw the noise of one recording, in uV."""
    noise = sensor_uv * white(len(CHANNELS), n_times, rng)
    for source in sources.values():
        noise += source.mixing @ source.courses(n_times, sfreq_hz, rng)
    return noise


def white(
    n_courses: int, n_times: int, rng: np.random.Generator
) -> Float[np.ndarray, "n_courses n_times"]:
    """Draw white noise in single precision, which is fast, to be reckoned with in double."""
    return rng.standard_normal((n_courses, n_times), dtype=np.float32).astype(np.float64)


def _dipoles(head: Head, among: np.ndarray, n_dipoles: int, rng: np.random.Generator) -> np.ndarray:
    chosen = rng.choice(among, n_dipoles, replace=n_dipoles > len(among))
    orientations = rng.standard_normal((n_dipoles, 3))
    orientations /= np.linalg.norm(orientations, axis=1, keepdims=True)
    return head.project(chosen, orientations)


def _unit_rms(mixing: np.ndarray) -> np.ndarray:
    """Scale a mixing matrix so that unit sources give channels of unit RMS on average."""
    scaled: np.ndarray = mixing / np.sqrt((mixing**2).sum(axis=1).mean())
    return scaled


def eye_pattern(head: Head) -> Float[np.ndarray, " n_channels"]:
    """Return how strongly a blink shows at each electrode, at most 1."""
    eyes = head.electrodes_m[[CHANNELS.index("Fp1"), CHANNELS.index("Fp2")]] * 1.02
    eyes = eyes - [0.0, 0.0, 0.02]
    distance = np.linalg.norm(head.electrodes_m[:, None] - eyes, axis=2).min(axis=1)
    pattern = np.exp(-((distance / BLINK_REACH_M) ** 2))
    scaled: np.ndarray = pattern / pattern.max()
    return scaled


def gaze_pattern(head: Head) -> Float[np.ndarray, " n_channels"]:
    """Return how a glance to the right shows at each electrode: positive there, at most 1, negative on the left."""
    right, left = (
        np.exp(-((np.linalg.norm(head.electrodes_m - eye, axis=1) / BLINK_REACH_M) ** 2))
        for eye in (head.electrodes_m[CHANNELS.index(c)] - [0.0, 0.0, 0.02] for c in ("F10", "F9"))
    )
    pattern = right - left
    scaled: np.ndarray = pattern / np.abs(pattern).max()
    return scaled


def _pink(freqs: Float[np.ndarray, " n_freqs"]) -> Float[np.ndarray, " n_freqs"]:
    power: np.ndarray = 1 / np.maximum(freqs, PINK_FLOOR_HZ)
    return power


def _brown(freqs: Float[np.ndarray, " n_freqs"]) -> Float[np.ndarray, " n_freqs"]:
    power: np.ndarray = 1 / np.maximum(freqs, DRIFT_FLOOR_HZ) ** 2
    return power


def _peak(middle_hz: float, width_hz: float) -> Spectrum:
    return lambda freqs: np.exp(-0.5 * ((freqs - middle_hz) / width_hz) ** 2)


def _normalised(power: Spectrum, n_times: int, sfreq_hz: float) -> np.ndarray:
    """Return the power of each bin of an rfft, such that the series has unit variance."""
    freqs = fft.rfftfreq(n_times, 1 / sfreq_hz)
    density = power(freqs)
    density[0] = 0.0
    total = 2 * density.sum() - (density[-1] if n_times % 2 == 0 else 0.0)
    scaled: np.ndarray = density * (n_times / total)
    return scaled


def _pulse(sfreq_hz: float) -> np.ndarray:
    return np.hanning(round(BLINK_S * sfreq_hz)) ** 2
