"""One recording from raw file to clean epochs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import mne
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from tasks.eeg.annotations import parts_between_joints, ruled_out
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.epochs import EpochsInfo
from tasks.eeg.quality import (
    QualityError,
    drift_uv,
    find_broken_channels,
    find_deviating_channels,
    flat_trials,
    line_noise_ratio,
    refuse_other_units,
)
from tasks.eeg.repair import find_noisy_channels
from tasks.eeg.resampling import make_cut_grid, resampling_matrix
from tasks.eeg.signal import Grid, WindowParams, cut_parts, make_grid, read_signal
from tasks.eeg.trials import Trials, median_range, repair

TRIALS_LOOKED_AT = 400  # at least, evenly spaced, to find bad channels


@dataclass(frozen=True)
class CleanRecording:
    """What is left of a recording, and what was found wrong with it.

    Attributes
    ----------
    eeg
        Epochs of the kept events, in their order.
    info
        What the numbers mean.
    reject_reasons
        One per event; empty where its epoch is kept.
    bad_channels
        Interpolated channels, with the reason.
    n_ica_removed
        Independent components that were taken out.
    line_noise_ratio, drift_uv
        Of the raw signal.
    peak_to_peak_uv
        Median over kept epochs of the largest channel's range; 0 where none is kept.
    """

    eeg: Float32[np.ndarray, "n_kept n_channels n_times"]
    info: EpochsInfo
    reject_reasons: tuple[str, ...]
    bad_channels: dict[str, str]
    n_ica_removed: int
    line_noise_ratio: float
    drift_uv: float
    peak_to_peak_uv: float

    def cropped(self, window: WindowParams) -> Self:
        """Leave out what lies outside the window: the baseline before it, for instance."""
        sfreq_hz, first = self.info.sfreq_hz, round(self.info.tmin_s * self.info.sfreq_hz)
        start, stop = (round(end * sfreq_hz) - first for end in (window.tmin_s, window.tmax_s))
        if (start, stop) == (0, self.eeg.shape[2]):
            return self
        eeg = np.ascontiguousarray(self.eeg[:, :, start:stop])
        info = replace(self.info, tmin_s=(first + start) / sfreq_hz)
        return replace(self, eeg=eeg, info=info)


def clean_recording(
    raw: mne.io.BaseRaw,
    onsets_s: Sequence[float],
    params: CleaningParams,
    name: str,
    training: Sequence[bool] | None = None,
) -> CleanRecording:
    """Filter, resample, cut, repair, re-reference and reject.

    The channels are filtered and cut one by one; what mixes channels (interpolation, reference) is
    linear and instantaneous, so it is done on the epochs alone. Annotations are minded as MNE does by
    default: no epoch that overlaps a segment marked BAD is kept, and no filter runs across a joint (EDGE,
    BAD_ACQ_SKIP); nor is any epoch kept that lies on both sides of one.

    Parameters
    ----------
    raw
        Any recording that MNE opens; its EEG channels are used.
    name
        Of the recording, for messages.
    training
        Which events are trained on; steps that are fitted look at no others.

    Returns
    -------
    CleanRecording
        Epochs and findings.

    Raises
    ------
    QualityError
        If a channel is not finite and ``params.on_nan`` is ``raise``, or too many channels are bad.
    """
    # 1. Read the EEG channels in microvolt.
    raw = pick_eeg(raw, name)
    channels, sfreq_hz = tuple(raw.ch_names), float(raw.info["sfreq"])
    signal = read_signal(raw)

    # 2. Find channels without signal, and look at the others before anything is removed.
    bad = dict.fromkeys(raw.info["bads"], "marked as bad")
    bad |= find_broken_channels(signal, channels, params.bad_channels.flat_uv)
    finite = [row for row in range(len(channels)) if np.isfinite(signal[row]).all()]
    refuse_other_units(signal, np.array(finite, int), name)
    refuse_broken(bad, len(channels), params, name)
    signal[[channels.index(channel) for channel in bad]] = 0
    good = np.flatnonzero([channel not in bad for channel in channels])
    hum = line_noise_ratio(signal, good, sfreq_hz, params.mains_hz)
    drift = drift_uv(signal, good, sfreq_hz)
    if params.bad_channels.pyprep is not None:
        names = [channels[channel] for channel in good]
        bad |= find_noisy_channels(raw, names, params.bad_channels.pyprep)

    # 3. Filter, resample and cut.
    onsets = np.asarray(onsets_s, np.float64)
    parts = parts_between_joints(raw)
    epochs, inside, grid = _cut(signal, sfreq_hz, onsets, parts, params)
    first_s = onsets + grid.start / grid.sfreq_hz
    marked = ruled_out(raw, first_s, first_s + grid.n_times / grid.sfreq_hz)
    inside &= [not reason for reason in marked]
    flat = _flat(signal, good, onsets, sfreq_hz, grid, params.reject.flat_uv)
    del signal

    # 4. Repair channels, re-reference, subtract the baseline, repair and reject trials.
    bad |= deviating_channels(epochs, inside, bad, channels, params, name)
    fitted_on = np.zeros(len(epochs), bool) if training is None else np.asarray(training, bool)
    trials = Trials(epochs, inside, flat, fitted_on, marked, grid)
    eeg, reasons, n_removed = repair(trials, raw.info, bad, params)
    info = _info(channels, grid, params)
    return CleanRecording(eeg, info, tuple(reasons), bad, n_removed, hum, drift, median_range(eeg))


def pick_eeg(raw: mne.io.BaseRaw, name: str) -> mne.io.BaseRaw:
    """Return the EEG channels alone, also those marked as bad.

    Raises
    ------
    QualityError
        If there are none.
    """
    picks = mne.pick_types(raw.info, eeg=True, exclude=())
    if not len(picks):
        raise QualityError(
            f"{name} must have EEG channels; its channels are of the types "
            f"{sorted(set(raw.get_channel_types()))}. Set the types in the source."
        )
    return raw.copy().pick(picks)


def refuse_broken(bad: dict[str, str], n_channels: int, params: CleaningParams, name: str) -> None:
    """Check whether a recording can do without its broken channels.

    Raises
    ------
    QualityError
        If it cannot.
    """
    broken = [channel for channel, reason in bad.items() if reason == "not finite"]
    if broken and params.on_nan == "raise":
        raise QualityError(
            f"{name} must be finite; {len(broken)} channels hold NaN or infinity: "
            f"{', '.join(broken[:10])}. Mend the recording, or set preprocess.on_nan to interpolate."
        )
    _check_bad_channels(bad, n_channels, params.bad_channels.max_fraction, name)


def deviating_channels(
    epochs: Float32[np.ndarray, "n_trials n_channels n_times"],
    inside: Bool[np.ndarray, "n_trials"],
    bad: dict[str, str],
    channels: Sequence[str],
    params: CleaningParams,
    name: str,
) -> dict[str, str]:
    """Return the channels, beside the bad ones, that are unlike the others, with the reason.

    Parameters
    ----------
    inside
        Which epochs may be looked at; some of them are.
    name
        Of the recording, for messages.

    Raises
    ------
    QualityError
        If too many channels are bad.
    """
    good = np.flatnonzero([channel not in bad for channel in channels])
    some = np.flatnonzero(inside)[:: max(1, inside.sum() // TRIALS_LOOKED_AT)]
    found = find_deviating_channels(
        epochs[np.ix_(some, good)], [c for c in channels if c not in bad], params.bad_channels
    )
    _check_bad_channels(bad | found, len(channels), params.bad_channels.max_fraction, name)
    return found


def _cut(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    sfreq_hz: float,
    onsets_s: Float64[np.ndarray, "n_events"],
    parts: Sequence[tuple[int, int]],
    params: CleaningParams,
) -> tuple[
    Float32[np.ndarray, "n_events n_channels n_times"],
    Bool[np.ndarray, "n_events"],
    Grid,
]:
    """Filter, resample and cut in the order that the params name."""
    if params.resample == "continuous":
        grid = make_grid(sfreq_hz, params.cut)
        return *cut_parts(signal, sfreq_hz, onsets_s, grid, params.filters, parts), grid
    grids = make_cut_grid(sfreq_hz, params.cut)
    cut, out = grids.cut, grids.out
    same = out.up == out.down
    after = None if same else resampling_matrix(cut.n_times, out.up, out.down)
    return *cut_parts(signal, sfreq_hz, onsets_s, cut, params.filters, parts, after), out


def _check_bad_channels(
    bad: dict[str, str], n_channels: int, max_fraction: float, name: str
) -> None:
    if len(bad) > max_fraction * n_channels:
        found = ", ".join(f"{channel} ({reason})" for channel, reason in list(bad.items())[:10])
        raise QualityError(
            f"{name} must have at most {max_fraction:.0%} bad channels; {len(bad)} of {n_channels} "
            f"are: {found}. Leave the recording out, or change preprocess.bad_channels."
        )


def _flat(
    signal: Float32[np.ndarray, "n_channels n_samples"],
    good: Int64[np.ndarray, "n_good"],
    onsets_s: Float64[np.ndarray, "n_events"],
    sfreq_hz: float,
    grid: Grid,
    flat_uv: float | None,
) -> Bool[np.ndarray, "n_events"]:
    if flat_uv is None:
        return np.zeros(len(onsets_s), bool)
    starts = np.rint((onsets_s + grid.start / grid.sfreq_hz) * sfreq_hz).astype(int)
    n_samples = round(grid.n_times / grid.sfreq_hz * sfreq_hz)
    return flat_trials(signal, good, starts.tolist(), n_samples, flat_uv)


def _info(channels: tuple[str, ...], grid: Grid, params: CleaningParams) -> EpochsInfo:
    filters = params.filters
    parts = [f"notch {hz:g} Hz" for hz in filters.notch_hz]
    parts += [f"high-pass {filters.high_pass_hz:g} Hz"] if filters.high_pass_hz is not None else []
    parts += [f"low-pass {filters.low_pass_hz:g} Hz"] if filters.low_pass_hz is not None else []
    return EpochsInfo(
        channels=channels,
        sfreq_hz=grid.sfreq_hz,
        tmin_s=grid.start / grid.sfreq_hz,
        unit="uV",
        reference=params.reference,
        filters=f"zero-phase {filters.method.upper()}: {', '.join(parts)}" if parts else "none",
    )
