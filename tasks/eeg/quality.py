"""What is wrong with a recording: bad channels, bad trials, mains hum and drift."""

from collections.abc import Sequence

import mne
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy.lib.stride_tricks import sliding_window_view

from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

MAD_TO_SD = 1.4826  # of a normal distribution
PLAUSIBLE_UV = (0.01, 20_000.0)  # standard deviation of a typical channel before any filter
MAINS_BLOCKS = 100  # of two seconds, evenly spaced, in which the hum is measured


class BadChannelParams(Params):
    """When a channel is interpolated from its neighbours; null leaves a check out."""

    flat_uv: float | None  # below this standard deviation of the raw signal
    deviation_z: float | None  # robust z-score of the log amplitude over channels
    min_correlation: float | None  # with the channel that is most like it
    max_fraction: float  # of the channels; more is an error


class RejectParams(Params):
    """When a trial is dropped; null leaves a check out."""

    peak_to_peak_uv: float | None  # above this range in any channel
    flat_uv: float | None  # below this range in any good channel, before filtering


class QualityError(PerceptError):
    """A recording is too bad for the params."""


def find_broken_channels(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    channels: Sequence[str],
    flat_uv: float | None,
) -> dict[str, str]:
    """Return the channels that carry no signal at all, with the reason: ``not finite`` or ``flat``.

    Parameters
    ----------
    signal
        The raw recording in microvolt.
    flat_uv
        A channel whose standard deviation is below this is flat; None finds none.
    """
    reasons: dict[str, str] = {}
    for name, samples in zip(channels, signal, strict=True):
        if not np.isfinite(samples).all():
            reasons[name] = "not finite"
        elif flat_uv is not None and samples.std(dtype=np.float64) < flat_uv:
            reasons[name] = "flat"
    return reasons


def refuse_other_units(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    good: Int64[np.ndarray, "n_good"],
    name: str,
) -> None:
    """Check by its range that a recording is in microvolt here, so that it was in volt for MNE.

    Parameters
    ----------
    name
        Of the recording, for messages.

    Raises
    ------
    QualityError
        If a typical channel deviates by less than any brain or by more than any electrode.
    """
    if not len(good):
        return
    typical = float(np.median([signal[channel, ::10].std(dtype=np.float64) for channel in good]))
    low, high = PLAUSIBLE_UV
    if not low <= typical <= high:
        raise QualityError(
            f"{name} must be in volt, as MNE has it, with channels that deviate by {low:g} to {high:g} "
            f"uV; a typical one deviates by {typical:.3g} uV. Mend its unit in the source or in its "
            "tables: volt and microvolt differ by 1e6."
        )


def find_deviating_channels(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"],
    channels: Sequence[str],
    params: BadChannelParams,
) -> dict[str, str]:
    """Return the channels unlike the others, with the reason: ``deviating`` or ``uncorrelated``.

    Parameters
    ----------
    epochs
        Filtered, not yet re-referenced; the median over trials keeps single artefacts out.
    """
    if not len(epochs):
        return {}
    reasons: dict[str, str] = {}
    if params.min_correlation is not None:
        most_alike = _largest_correlations(epochs)
        alone = most_alike < params.min_correlation
        reasons |= {name: "uncorrelated" for name, bad in zip(channels, alone, strict=True) if bad}
    if params.deviation_z is not None:
        log_sd = np.log(np.maximum(np.median(epochs.std(axis=2), axis=0), 1e-6))
        far = np.abs(_robust_z(log_sd)) > params.deviation_z
        reasons |= {name: "deviating" for name, bad in zip(channels, far, strict=True) if bad}
    return reasons


def interpolation_matrix(
    info: mne.Info, bad: Sequence[str]
) -> Float64[np.ndarray, "n_channels n_channels"]:
    """Return the matrix that replaces bad channels by MNE's spherical splines over the good ones.

    Raises
    ------
    QualityError
        If electrode positions are missing.
    """
    identity = np.eye(len(info.ch_names))
    if not bad:
        return identity
    places = {c["ch_name"]: c["loc"][:3] for c in info["chs"]}
    unplaced = [name for name, xyz in places.items() if not np.isfinite(xyz).all() or not xyz.any()]
    if unplaced:
        raise QualityError(
            "Electrode positions must be known to interpolate bad channels; "
            f"{len(unplaced)} have none: {', '.join(unplaced[:10])}. Set a montage in the source."
        )
    raw = mne.io.RawArray(identity, info.copy(), verbose="ERROR")
    if raw.info["dig"] is None:  # MNE fits the sphere of the head to digitised points
        raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"), verbose="ERROR")
    raw.info["bads"] = list(bad)
    raw.interpolate_bads(verbose="ERROR")
    return np.asarray(raw.get_data())


def reject_reasons(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"],
    inside: Bool[np.ndarray, "n_trials"],
    ruled_out: Sequence[str],
    flat: Bool[np.ndarray, "n_trials"],
    channels: Sequence[str],
    peak_to_peak_uv: float | None,
) -> list[str]:
    """Return why each trial is dropped; empty text where it is kept.

    Parameters
    ----------
    inside
        Whether the epoch lies inside the recording, and nothing rules it out.
    ruled_out
        What does; empty where nothing does.
    flat
        Whether a good channel stood still in the raw epoch.
    peak_to_peak_uv
        Largest range that is kept; None keeps all.
    """
    ranges = np.ptp(epochs, axis=2)
    reasons = []
    for trial, worst in enumerate(ranges.argmax(axis=1)):
        largest = ranges[trial, worst]
        if not inside[trial]:
            reasons.append(ruled_out[trial] or "outside the recording")
        elif flat[trial]:
            reasons.append("flat")
        elif peak_to_peak_uv is not None and largest > peak_to_peak_uv:
            reasons.append(f"peak to peak {largest:.0f} uV at {channels[worst]}")
        else:
            reasons.append("")
    return reasons


def flat_trials(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    good: Int64[np.ndarray, "n_good"],
    starts: Sequence[int],
    n_samples: int,
    flat_uv: float,
) -> Bool[np.ndarray, "n_trials"]:
    """Return whether any good channel's raw range is below ``flat_uv`` in each window of samples."""
    flat = np.zeros(len(starts), bool)
    for trial, start in enumerate(starts):
        window = signal[good, max(0, start) : max(0, start) + n_samples]
        flat[trial] = window.size > 0 and np.ptp(window, axis=1).min() < flat_uv
    return flat


def line_noise_ratio(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    good: Int64[np.ndarray, "n_good"],
    sfreq_hz: float,
    mains_hz: float,
) -> float:
    """Return the power within 1 Hz of the mains frequency over that 2 to 6 Hz beside it.

    Parameters
    ----------
    mains_hz
        50 or 60 Hz.

    Returns
    -------
    float
        Median over channels of the ratio of mean densities; 1 without hum, NaN where the rate
        is too low to tell.
    """
    if mains_hz + 2 > sfreq_hz / 2:
        return float("nan")
    length = round(2 * sfreq_hz)
    n_blocks = min(MAINS_BLOCKS, signal.shape[1] // length)
    starts = np.linspace(0, signal.shape[1] - length, n_blocks).astype(int)
    blocks = sliding_window_view(signal, length, axis=1)[good[:, None], starts]
    spectra = np.fft.rfft((blocks - blocks.mean(axis=2, keepdims=True)) * np.hanning(length))
    density = (np.abs(spectra) ** 2).mean(axis=1)
    away_hz = np.abs(np.fft.rfftfreq(length, 1 / sfreq_hz) - mains_hz)
    beside = density[:, (away_hz >= 2) & (away_hz <= 6)].mean(axis=1)
    ratios = density[:, away_hz <= 1].mean(axis=1) / np.maximum(beside, np.finfo(np.float32).tiny)
    return float(np.median(ratios))


def drift_uv(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    good: Int64[np.ndarray, "n_good"],
    sfreq_hz: float,
) -> float:
    """Return the median over good channels of the standard deviation of one-second means.

    Those means keep what is slower than about 0.5 Hz: drifts of electrodes, sweat, and with
    them the time at which a trial was recorded.
    """
    second = round(sfreq_hz)
    n_seconds = signal.shape[1] // second
    blocks = (signal[channel, : n_seconds * second].reshape(n_seconds, second) for channel in good)
    return float(np.median([block.mean(axis=1, dtype=np.float64).std() for block in blocks]))


def _largest_correlations(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"],
) -> Float64[np.ndarray, "n_channels"]:
    """Return each channel's largest absolute correlation with another: the median over trials."""
    n_channels = epochs.shape[1]
    if n_channels < 2:
        return np.ones(n_channels)
    largest = []
    for epoch in epochs:
        centred = epoch - epoch.mean(axis=1, keepdims=True)
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
        correlation = np.abs(centred @ centred.T)
        np.fill_diagonal(correlation, 0)
        largest.append(correlation.max(axis=1))
    return np.asarray(np.median(largest, axis=0), np.float64)


def _robust_z(values: Float32[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    deviation = values.astype(np.float64) - np.median(values)
    spread = MAD_TO_SD * np.median(np.abs(deviation))
    return np.asarray(deviation / max(spread, 1e-6), np.float64)
