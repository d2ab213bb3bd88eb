"""Epochs once they are cut: detrended, repaired, re-referenced, rejected; the same for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import mne
import numpy as np
import scipy.signal
from jaxtyping import Bool, Float, Float32, Float64

from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.quality import QualityError, interpolation_matrix, reject_reasons
from tasks.eeg.repair import remove_ocular_components, repair_trials
from tasks.eeg.signal import Grid

BLOCK = 64  # epochs; what is held beside the result
STEP = 2.0**-13
"""Epochs are rounded to multiples of it, in their unit: far below what an amplifier resolves, and far
above what the sums of another processor differ by, so that all processors write the same epochs."""


@dataclass(frozen=True)
class Trials:
    """Epochs that are cut, and what is known of them.

    Attributes
    ----------
    epochs
        Not yet re-referenced; changed in place.
    inside, flat, training
        Which lie inside the recording, stood still in a good channel, are trained on.
    ruled_out
        What rules out those that do not lie inside; empty where they lie outside the recording.
    grid
        Their samples.
    """

    epochs: Float32[np.ndarray, "n_trials n_channels n_times"]
    inside: Bool[np.ndarray, "n_trials"]
    flat: Bool[np.ndarray, "n_trials"]
    training: Bool[np.ndarray, "n_trials"]
    ruled_out: Sequence[str]
    grid: Grid


def repair(
    trials: Trials, info: mne.Info, bad: dict[str, str], params: CleaningParams
) -> tuple[Float32[np.ndarray, "n_kept n_channels n_times"], list[str], int]:
    """Detrend, take out components, interpolate, re-reference, subtract the baseline and reject.

    Parameters
    ----------
    trials
        Their epochs are changed in place.

    Returns
    -------
    eeg
        Epochs of the kept trials.
    reasons
        Why a trial is dropped; empty where it is kept.
    n_removed
        Independent components that were taken out.
    """
    epochs, inside, channels = trials.epochs, trials.inside, info["ch_names"]
    fitted_on = trials.training & inside & ~trials.flat
    if params.detrend is not None:
        for block in blocks_of(epochs):
            block[:] = scipy.signal.detrend(block, type=params.detrend)
    n_removed = 0
    if params.ica is not None:
        good = [row for row, channel in enumerate(channels) if channel not in bad]
        epochs[:, good], n_removed = remove_ocular_components(
            epochs[:, good],
            _at_rate(mne.pick_info(info, good), trials.grid.sfreq_hz),
            fitted_on,
            params.filters.high_pass_hz,
            params.ica,
        )
    mixing = spatial_matrix(info, list(bad), params.reference)
    for block in blocks_of(epochs):
        clean = np.matmul(mixing, block.astype(np.float64))
        subtract_baseline(clean, trials.grid, params.baseline_s)
        block[:] = np.round(clean / STEP) * STEP
    found = [""] * len(epochs)
    if params.reject.autoreject is not None:
        at_rate = _at_rate(info, trials.grid.sfreq_hz)
        epochs, found = repair_trials(epochs, at_rate, inside, fitted_on, params.reject.autoreject)
    limit_uv = params.reject.peak_to_peak_uv
    by_threshold = reject_reasons(epochs, inside, trials.ruled_out, trials.flat, channels, limit_uv)
    reasons = [first or second for first, second in zip(by_threshold, found, strict=True)]
    return compact(epochs, [not reason for reason in reasons]), reasons, n_removed


def blocks_of(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"],
) -> Iterator[Float32[np.ndarray, "n_block n_channels n_times"]]:
    """Yield views of a few epochs each."""
    return (epochs[start : start + BLOCK] for start in range(0, len(epochs), BLOCK))


def compact(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"], kept: Sequence[bool]
) -> Float32[np.ndarray, "n_kept n_channels n_times"]:
    """Move the kept epochs to the front, in place, and return them."""
    rows = np.flatnonzero(kept)
    for target, row in enumerate(rows):
        if target != row:
            epochs[target] = epochs[row]
    return epochs[: len(rows)]


def _at_rate(info: mne.Info, sfreq_hz: float) -> mne.Info:
    """Return a copy of channels and positions alone, at another rate and without bad channels."""
    fresh = mne.create_info(info["ch_names"], sfreq_hz, "eeg", verbose="ERROR")
    for channel, source in zip(fresh["chs"], info["chs"], strict=True):
        channel["loc"] = source["loc"].copy()
    return fresh


def spatial_matrix(
    info: mne.Info, bad: Sequence[str], reference: Literal["average", "recorded"]
) -> Float64[np.ndarray, "n_channels n_channels"]:
    """Return the matrix that interpolates bad channels, then re-references."""
    mixing = interpolation_matrix(info, bad)
    return mixing - mixing.mean(axis=0) if reference == "average" else mixing


def subtract_baseline(
    epochs: Float[np.ndarray, "n_trials n_channels n_times"],
    grid: Grid,
    baseline_s: tuple[float, float] | None,
) -> None:
    """Subtract, in place, each channel's mean over the baseline, both ends included."""
    if baseline_s is None:
        return
    times_s = (grid.start + np.arange(grid.n_times)) / grid.sfreq_hz
    margin_s = 0.5 / grid.sfreq_hz
    within = (times_s > baseline_s[0] - margin_s) & (times_s < baseline_s[1] + margin_s)
    if not within.any():
        raise QualityError(
            f"preprocess.baseline_s must hold a sample, from its start to its end; {baseline_s} holds none. "
            "Change it, or set it to null."
        )
    epochs -= epochs[:, :, within].mean(axis=2, keepdims=True)


def median_range(eeg: Float32[np.ndarray, "n_trials n_channels n_times"]) -> float:
    """Return the median over epochs of the largest channel's range; 0 where there are none."""
    return float(np.median(np.ptp(eeg, axis=2).max(axis=1))) if len(eeg) else 0.0
