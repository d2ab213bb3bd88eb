"""Epochs as a publisher cut them: cropped, resampled, repaired, re-referenced and rejected."""

import math
from collections.abc import Sequence

import mne
import numpy as np
from jaxtyping import Bool, Float32

from tasks.eeg.cleaning import CleanRecording, deviating_channels, refuse_broken
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.epochs import EpochsInfo
from tasks.eeg.quality import QualityError
from tasks.eeg.resampling import resampling_matrix
from tasks.eeg.signal import Grid, SignalError, make_grid
from tasks.eeg.sources.protocol import StoredEpochs
from tasks.eeg.trials import Trials, blocks_of, median_range, repair

Epochs = Float32[np.ndarray, "n_trials n_channels n_times"]


def clean_stored_epochs(
    stored: StoredEpochs,
    params: CleaningParams,
    name: str,
    training: Sequence[bool] | None = None,
) -> CleanRecording:
    """Crop, resample, repair, re-reference and reject stored epochs.

    One copy is made, of the size of the result; the stored epochs themselves may lie in a file.
    Hum and drift are those of a continuous signal: they are NaN.

    Parameters
    ----------
    params
        The steps (``resample`` can only mean the epochs); without filters, and for standardised numbers without thresholds in microvolt.
    name
        Of the recording, for messages.
    training
        Which epochs are trained on; steps that are fitted look at no others.

    Returns
    -------
    CleanRecording
        Epochs and findings; ``peak_to_peak_uv`` is NaN where the numbers are standardised.

    Raises
    ------
    SignalError
        If filters are asked for, or a window beyond what is stored.
    QualityError
        If a threshold does not apply, a channel is not finite and ``params.on_nan`` is ``raise``,
        or too many channels are bad.
    """
    _refuse_filters(stored, params, name)
    _refuse_thresholds(stored, params, name)
    picks = mne.pick_types(stored.info, eeg=True, exclude=())
    if not len(picks):
        raise QualityError(
            f"{name} must have EEG channels; none of its {len(stored.info.ch_names)} is one. "
            "Set the types in the source."
        )
    info = mne.pick_info(stored.info, picks)
    channels = tuple(info.ch_names)
    grid = make_grid(float(info["sfreq"]), params.cut)
    eeg, tmin_s = _cut(stored, picks, grid, name)

    bad = _broken_channels(eeg, channels, params.bad_channels.flat_uv)
    refuse_broken(bad, len(channels), params, name)
    eeg[:, [channels.index(channel) for channel in bad]] = 0
    good = np.array([channel not in bad for channel in channels])
    flat = _flat_epochs(eeg, good, params.reject.flat_uv)
    inside = np.ones(len(eeg), bool)
    bad |= deviating_channels(eeg, inside, bad, channels, params, name)

    fitted_on = np.zeros(len(eeg), bool) if training is None else np.asarray(training, bool)
    trials = Trials(eeg, inside, flat, fitted_on, [""] * len(eeg), grid)
    eeg, reasons, n_removed = repair(trials, info, bad, params)
    known = stored.unit == "uV"
    return CleanRecording(
        eeg=eeg,
        info=EpochsInfo(
            channels, grid.sfreq_hz, tmin_s, stored.unit, params.reference, "as published"
        ),
        reject_reasons=tuple(reasons),
        bad_channels=bad,
        n_ica_removed=n_removed,
        line_noise_ratio=math.nan,
        drift_uv=math.nan,
        peak_to_peak_uv=median_range(eeg) if known else math.nan,
    )


def _refuse_filters(stored: StoredEpochs, params: CleaningParams, name: str) -> None:
    asked = params.filters
    if asked.high_pass_hz is not None or asked.low_pass_hz is not None or asked.notch_hz:
        length_s = stored.eeg.shape[2] / stored.info["sfreq"]
        raise SignalError(
            f"preprocess.filters must be empty for the stored epochs of {name}: continuous filters "
            f"cannot be applied to epochs of {length_s:.2f} s; found "
            f"{asked.model_dump(mode='json', exclude={'method'})}. "
            "Set preprocess.filters.high_pass_hz and low_pass_hz to null and notch_hz to []."
        )


def _refuse_thresholds(stored: StoredEpochs, params: CleaningParams, name: str) -> None:
    thresholds = {
        "bad_channels.flat_uv": params.bad_channels.flat_uv,
        "reject.peak_to_peak_uv": params.reject.peak_to_peak_uv,
        "reject.flat_uv": params.reject.flat_uv,
    }
    if params.bad_channels.pyprep is not None:
        raise QualityError(
            f"preprocess.bad_channels.pyprep must be null for {name}: it looks at continuous recordings, "
            "and these are stored epochs. Set it to null."
        )
    found = [f"preprocess.{key}" for key, value in thresholds.items() if value is not None]
    if stored.unit != "uV" and found:
        raise QualityError(
            f"Thresholds in microvolt must be null for {name}, whose epochs are {stored.unit}; "
            f"{len(found)} are not: {', '.join(found)}. Set them to null."
        )


def _cut(stored: StoredEpochs, picks: np.ndarray, grid: Grid, name: str) -> tuple[Epochs, float]:
    """Return the window of each epoch at the new rate, and the time of its first sample."""
    n_epochs, _, n_stored = stored.eeg.shape
    n_resampled = round(n_stored * grid.up / grid.down)
    start = grid.start - round(stored.tmin_s * grid.sfreq_hz)
    stop = start + grid.n_times
    if start < 0 or stop > n_resampled:
        first_s, hz = stored.tmin_s, grid.sfreq_hz
        raise SignalError(
            f"preprocess.window and baseline_s must lie inside the stored epochs of {name}, "
            f"{first_s:g} to {first_s + n_resampled / hz:g} s; it is {grid.start / hz:g} to "
            f"{(grid.start + grid.n_times) / hz:g} s. Change tmin_s, tmax_s and baseline_s."
        )
    eeg = np.empty((n_epochs, len(picks), grid.n_times), np.float32)
    after = None
    if grid.up != grid.down:
        after = resampling_matrix(n_stored, grid.up, grid.down)[:, start:stop]
    for source, target in zip(stored.eeg, eeg, strict=True):
        epoch = source[picks]
        target[:] = epoch[:, start:stop] if after is None else epoch @ after
    return eeg, round(stored.tmin_s + start / grid.sfreq_hz, 9)


def _broken_channels(
    eeg: Epochs, channels: tuple[str, ...], flat_uv: float | None
) -> dict[str, str]:
    """Return the channels that are not finite, or flat in every epoch."""
    finite = np.ones(len(channels), bool)
    largest_sd = np.zeros(len(channels))
    for block in blocks_of(eeg):
        whole = np.isfinite(block).all(axis=(0, 2))
        finite &= whole
        sd = block[:, whole].std(axis=2, dtype=np.float64).max(axis=0)
        largest_sd[whole] = np.maximum(largest_sd[whole], sd)
    reasons = {}
    for channel, is_finite, sd in zip(channels, finite, largest_sd, strict=True):
        if not is_finite:
            reasons[channel] = "not finite"
        elif flat_uv is not None and sd < flat_uv:
            reasons[channel] = "flat"
    return reasons


def _flat_epochs(
    eeg: Epochs, good: Bool[np.ndarray, "n_channels"], flat_uv: float | None
) -> Bool[np.ndarray, "n_trials"]:
    if flat_uv is None or not good.any():
        return np.zeros(len(eeg), bool)
    return np.asarray(np.ptp(eeg, axis=2)[:, good].min(axis=1) < flat_uv, bool)
