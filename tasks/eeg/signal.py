"""The continuous signal: zero-phase filters, resampling and cutting, one channel at a time.

Filters are MNE's own designs. FIR filters are applied to the whole recording in the frequency domain,
together with the resampling: one forward transform per channel, and one backward transform per
position of the events between two samples of the new rate, so that no epoch is shifted against
its stimulus by the resampling. IIR filters run over the samples, forth and back, before that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import mne
import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex128, Float32, Float64, Int64
from numpy.lib.stride_tricks import sliding_window_view

from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

BLOCK_S = 60.0  # read at a time
RESAMPLING_PAD_S = 1.0  # mirrored at both ends, where the filters have run over the samples before


class FilterParams(Params):
    """Filters of the continuous signal; null leaves one out."""

    method: Literal[
        "fir", "iir"
    ]  # MNE's windowed FIR, or its Butterworth filter of order 4 forth and back
    high_pass_hz: float | None
    low_pass_hz: float | None
    notch_hz: tuple[float, ...]


class WindowParams(Params):
    """Where an epoch lies around its onset, and at which rate it is sampled."""

    tmin_s: float
    tmax_s: float  # exclusive
    sfreq_hz: float | None  # null keeps the recording's rate
    onset_step_s: float  # onsets are rounded to multiples of this


class SignalError(PerceptError):
    """A recording cannot be filtered, resampled or cut as the params say."""


@dataclass(frozen=True)
class Grid:
    """The samples of an epoch at the new rate.

    Attributes
    ----------
    sfreq_hz
        The new rate: the old one times ``up / down``.
    up, down
        Whole numbers without a common factor.
    start
        First sample of an epoch, relative to its onset.
    n_times
        Samples of an epoch.
    n_phases
        Positions between two samples on which an onset may lie.
    """

    sfreq_hz: float
    up: int
    down: int
    start: int
    n_times: int
    n_phases: int

    def place(
        self, onsets_s: Float64[np.ndarray, "n"]
    ) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
        """Return the first sample and the phase of the epoch of each onset."""
        steps = np.rint(onsets_s * self.sfreq_hz * self.n_phases).astype(np.int64)
        return steps // self.n_phases + self.start, steps % self.n_phases


def make_grid(sfreq_hz: float, params: WindowParams) -> Grid:
    """Return the samples of an epoch cut from a recording.

    Parameters
    ----------
    sfreq_hz
        The recording's rate.
    params
        The window and the wanted rate.

    Raises
    ------
    SignalError
        If the rates are in no simple ratio, or the window is empty.
    """
    wanted_hz = sfreq_hz if params.sfreq_hz is None else params.sfreq_hz
    ratio = Fraction(wanted_hz / sfreq_hz).limit_denominator(10_000)
    if not math.isclose(float(ratio) * sfreq_hz, wanted_hz, rel_tol=1e-9) or ratio > 1:
        raise SignalError(
            f"preprocess.window.sfreq_hz must be at most the recording's {sfreq_hz:g} Hz and in a "
            f"ratio of whole numbers to it; it is {wanted_hz:g} Hz. Change it, or set it to null."
        )
    start, stop = round(params.tmin_s * wanted_hz), round(params.tmax_s * wanted_hz)
    if stop <= start:
        raise SignalError(
            f"preprocess.window must hold a sample at {wanted_hz:g} Hz; "
            f"{params.tmin_s:g} to {params.tmax_s:g} s holds none. Raise tmax_s."
        )
    n_phases = max(1, round(1 / (wanted_hz * params.onset_step_s)))
    return Grid(wanted_hz, ratio.numerator, ratio.denominator, start, stop - start, n_phases)


def read_signal(raw: mne.io.BaseRaw) -> Float32[np.ndarray, "n_channels n_samples"]:
    """Return a whole recording in microvolt, read in blocks of a minute."""
    signal = np.empty((len(raw.ch_names), raw.n_times), np.float32)
    step = max(1, round(BLOCK_S * raw.info["sfreq"]))
    for start in range(0, raw.n_times, step):
        stop = min(start + step, raw.n_times)
        signal[:, start:stop] = raw.get_data(start=start, stop=stop) * 1e6
    return signal


def cut_epochs(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    sfreq_hz: float,
    onsets_s: Float64[np.ndarray, "n_events"],
    grid: Grid,
    filters: FilterParams,
    after: Float32[np.ndarray, "n_cut n_times"] | None = None,
) -> tuple[
    Float32[np.ndarray, "n_events n_channels n_times"],
    Bool[np.ndarray, "n_events"],
]:
    """Filter and resample a recording, and cut an epoch around each onset.

    Parameters
    ----------
    signal
        The raw recording, finite.
    grid
        From `make_grid`.
    after
        What each epoch is multiplied by once it is cut, for instance to resample it.

    Returns
    -------
    epochs
        In the unit of ``signal``; zeros where an epoch does not lie inside.
    inside
        Whether the whole epoch lies inside the recording.

    Raises
    ------
    SignalError
        If the low-pass lets frequencies through that the new rate cannot hold.
    """
    _refuse_aliases(sfreq_hz, filters, grid.sfreq_hz)
    recursive = filters.method == "iir"
    kernels = [] if recursive else design_kernels(sfreq_hz, filters)
    plan = _plan(signal.shape[1], kernels, grid, _reach(sfreq_hz, filters, grid))
    starts, phases = grid.place(onsets_s)
    inside = (starts >= 0) & (starts + grid.n_times <= signal.shape[1] * grid.up // grid.down)
    groups = [(p, np.flatnonzero(inside & (phases == p))) for p in np.unique(phases[inside])]
    shifts = {p: plan.shift(int(p), grid) for p, _ in groups}
    n_times = grid.n_times if after is None else after.shape[1]
    epochs = np.zeros((len(onsets_s), len(signal), n_times), np.float32)
    untouched = not kernels and grid.sfreq_hz == sfreq_hz and grid.n_phases == 1
    for channel, recorded in enumerate(signal):
        samples = _filter_recursively(recorded, sfreq_hz, filters) if recursive else recorded
        spectrum = None if untouched else plan.filtered_spectrum(samples)
        for phase, events in groups:
            resampled = samples
            if spectrum is not None:
                resampled = scipy.fft.irfft(spectrum * shifts[phase], plan.n_out)[plan.pad_out :]
            cut = sliding_window_view(resampled, grid.n_times)[starts[events]]
            epochs[events, channel] = cut if after is None else cut.astype(np.float32) @ after
    return epochs, inside


def cut_parts(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    sfreq_hz: float,
    onsets_s: Float64[np.ndarray, "n_events"],
    grid: Grid,
    filters: FilterParams,
    parts: Sequence[tuple[int, int]],
    after: Float32[np.ndarray, "n_cut n_times"] | None = None,
) -> tuple[
    Float32[np.ndarray, "n_events n_channels n_times"],
    Bool[np.ndarray, "n_events"],
]:
    """Filter each part of a recording by itself, and cut as `cut_epochs` does.

    Parameters
    ----------
    parts
        First sample of each, and the one after its last. Where there are several, those that are too short
        for the filters hold no epoch.

    Returns
    -------
    epochs
        In the unit of ``signal``; zeros where an epoch does not lie inside a part.
    inside
        Whether the whole epoch lies inside one part.

    Raises
    ------
    SignalError
        As `cut_epochs` does.
    """
    if len(parts) == 1:
        (start, stop) = parts[0]
        return cut_epochs(
            signal[:, start:stop], sfreq_hz, onsets_s - start / sfreq_hz, grid, filters, after
        )
    n_times = grid.n_times if after is None else after.shape[1]
    epochs = np.zeros((len(onsets_s), len(signal), n_times), np.float32)
    inside = np.zeros(len(onsets_s), bool)
    reach = _reach(sfreq_hz, filters, grid)
    for start, stop in parts:
        own = (onsets_s >= start / sfreq_hz) & (onsets_s < stop / sfreq_hz)
        if own.any() and stop - start > reach:
            part, shifted = signal[:, start:stop], onsets_s[own] - start / sfreq_hz
            epochs[own], inside[own] = cut_epochs(part, sfreq_hz, shifted, grid, filters, after)
    return epochs, inside


def design_kernels(sfreq_hz: float, filters: FilterParams) -> list[Float64[np.ndarray, "_"]]:
    """Return MNE's symmetric FIR kernels for the band-pass and for all notches."""
    notches = _notches(sfreq_hz, filters)
    kernels = []
    if filters.high_pass_hz is not None or filters.low_pass_hz is not None:
        kernels.append(_kernel(sfreq_hz, filters.high_pass_hz, filters.low_pass_hz))
    if notches:  # widths as in mne.filter.notch_filter
        half_widths = [hz / 400 + 0.5 for hz in notches]
        lows = [hz - half for hz, half in zip(notches, half_widths, strict=True)]
        highs = [hz + half for hz, half in zip(notches, half_widths, strict=True)]
        kernels.append(_kernel(sfreq_hz, highs, lows, l_trans_bandwidth=0.5, h_trans_bandwidth=0.5))
    return kernels


def _filter_recursively(
    samples: Float32[np.ndarray, "n_samples"], sfreq_hz: float, filters: FilterParams
) -> Float64[np.ndarray, "n_samples"]:
    """Return a channel after MNE's IIR filters, as `mne.io.Raw.filter` and `notch_filter` do it."""
    filtered = samples.astype(np.float64)
    high_pass_hz, low_pass_hz = filters.high_pass_hz, filters.low_pass_hz
    if high_pass_hz is not None or low_pass_hz is not None:
        filtered = mne.filter.filter_data(
            filtered, sfreq_hz, high_pass_hz, low_pass_hz, method="iir", verbose="ERROR"
        )
    for hz in _notches(sfreq_hz, filters):
        filtered = mne.filter.notch_filter(filtered, sfreq_hz, hz, method="iir", verbose="ERROR")
    return np.asarray(filtered, np.float64)


def _notches(sfreq_hz: float, filters: FilterParams) -> list[float]:
    """Return the notches that the recording's rate can hold."""
    return [hz for hz in filters.notch_hz if hz < sfreq_hz / 2 - 1]


def _refuse_aliases(sfreq_hz: float, filters: FilterParams, new_sfreq_hz: float) -> None:
    low_pass_hz = filters.low_pass_hz
    if new_sfreq_hz < sfreq_hz and (low_pass_hz is None or low_pass_hz > new_sfreq_hz / 2):
        raise SignalError(
            f"preprocess.filters.low_pass_hz must be at most half of the new rate of "
            f"{new_sfreq_hz:g} Hz; it is {low_pass_hz}. Lower it, or raise preprocess.window.sfreq_hz."
        )


def _kernel(
    sfreq_hz: float,
    l_freq: float | list[float] | None,
    h_freq: float | list[float] | None,
    **widths_hz: float,
) -> Float64[np.ndarray, "_"]:
    kernel: np.ndarray = mne.filter.create_filter(
        None, sfreq_hz, l_freq, h_freq, verbose="ERROR", **widths_hz
    )
    return kernel


@dataclass(frozen=True)
class _Plan:
    """How one channel goes through the frequency domain."""

    pad: int  # at each end, before resampling
    pad_out: int  # at the start, after it
    n_fft: int
    n_out: int
    response: Float64[np.ndarray, "n_bins"]

    def filtered_spectrum(
        self, samples: Float32[np.ndarray, "n_samples"]
    ) -> Complex128[np.ndarray, "n_bins"]:
        """Return the spectrum of a channel at the new rate, mirrored at both ends."""
        padded = np.pad(samples.astype(np.float64), self.pad, mode="reflect", reflect_type="odd")
        spectrum = scipy.fft.rfft(padded, self.n_fft)[: len(self.response)]
        return np.asarray(spectrum * self.response, np.complex128)

    def shift(self, phase: int, grid: Grid) -> Complex128[np.ndarray, "n_bins"]:
        """Return the factors that advance a signal by ``phase`` steps between two samples."""
        cycles = np.arange(len(self.response)) * (phase / grid.n_phases / self.n_out)
        return np.asarray(np.exp(2j * np.pi * cycles), np.complex128)


def _reach(sfreq_hz: float, filters: FilterParams, grid: Grid) -> int:
    """Return how many samples are mirrored at each end: as far as the filters reach."""
    if filters.method == "iir":
        half = round(sfreq_hz * RESAMPLING_PAD_S)
    else:
        half = sum(len(kernel) // 2 for kernel in design_kernels(sfreq_hz, filters))
    return math.ceil(half / grid.down) * grid.down


def _plan(n_samples: int, kernels: list[Float64[np.ndarray, "_"]], grid: Grid, pad: int) -> _Plan:
    if pad >= n_samples:
        raise SignalError(
            f"A recording must be longer than its filters' {pad} samples; it has {n_samples}. "
            "Leave it out, or raise preprocess.filters.high_pass_hz."
        )
    n_blocks = scipy.fft.next_fast_len(math.ceil((n_samples + 2 * pad) / grid.down), real=True)
    n_fft, n_out = n_blocks * grid.down, n_blocks * grid.up
    response = np.full(n_out // 2 + 1, n_out / n_fft)
    for kernel in kernels:
        response *= _zero_phase_response(kernel, n_fft)[: len(response)]
    return _Plan(pad, pad // grid.down * grid.up, n_fft, n_out, response)


def _zero_phase_response(
    kernel: Float64[np.ndarray, "_"], n_fft: int
) -> Float64[np.ndarray, "n_bins"]:
    """Return the real response of a symmetric kernel centred on zero."""
    centred = np.zeros(n_fft)
    centred[: len(kernel)] = kernel
    response: np.ndarray = scipy.fft.rfft(np.roll(centred, -(len(kernel) // 2))).real
    return response
