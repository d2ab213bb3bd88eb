"""The mean epoch and the mean spectrum of a recording: where an EEG lab looks first."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.signal import periodogram

from tasks.artifacts.contracts.averages import AVERAGES, ERP, SPECTRUM
from tasks.eeg.epochs import open_file

N_AT_ONCE = 256
"""Epochs that are held at once."""


def average_recording(path: Path) -> pa.Table:
    """Return the ERP and the spectrum of each channel, over all kept epochs of a recording.

    The spectrum is the mean periodogram of epochs without their mean, under a Hann window: its resolution is
    one over the length of an epoch.

    Parameters
    ----------
    path
        File of epochs. A recording without a kept epoch has no row.

    Returns
    -------
    pyarrow.Table
        Under contract AVERAGES.
    """
    trial_ids, eeg, info = open_file(path)
    if not trial_ids:
        return AVERAGES.empty_table()
    times_s = info.tmin_s + np.arange(eeg.shape[-1]) / info.sfreq_hz
    total = np.zeros(eeg.shape[1:])
    power = np.zeros((len(info.channels), eeg.shape[-1] // 2 + 1))
    for start in range(0, len(eeg), N_AT_ONCE):
        part = eeg[start : start + N_AT_ONCE].astype(np.float64)
        frequencies_hz, found = periodogram(part, info.sfreq_hz, "hann", detrend="constant")
        power += found.sum(axis=0)
        total += part.sum(axis=0)
    level = 10 * np.log10(np.maximum(power[:, 1:] / len(eeg), np.finfo(np.float32).tiny))
    curves = (
        (ERP, times_s, total / len(eeg)),
        (SPECTRUM, frequencies_hz[1:], level),
    )
    return pa.concat_tables(
        pa.table(
            {
                "recording_id": np.full(values.size, path.stem),
                "channel": np.repeat(info.channels, len(at)),
                "curve": np.full(values.size, curve),
                "at": np.tile(at, len(values)),
                "value": values.ravel(),
            }
        ).cast(AVERAGES)
        for curve, at, values in curves
    )
