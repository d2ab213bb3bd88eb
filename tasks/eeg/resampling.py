"""Epochs resampled one by one, after they were cut: the order of most published pipelines.

MNE's resampling of an epoch is linear, so it is one matrix, and all epochs are one product. What
lies outside an epoch is guessed from its ends, which bends its first and last samples a little:
resampling the continuous recording does not.
"""

from dataclasses import dataclass

import mne
import numpy as np
from jaxtyping import Float32

from tasks.eeg.signal import Grid, SignalError, WindowParams, make_grid


@dataclass(frozen=True)
class CutGrid:
    """The samples of an epoch as it is cut, at the recording's rate, and as it is resampled."""

    cut: Grid
    out: Grid


def make_cut_grid(sfreq_hz: float, params: WindowParams) -> CutGrid:
    """Return the samples of an epoch that is cut first and then resampled.

    Parameters
    ----------
    sfreq_hz
        The recording's rate.
    params
        The window and the wanted rate; onsets are rounded to the recording's samples.

    Raises
    ------
    SignalError
        If the window does not begin and end on a sample of both rates.
    """
    out = make_grid(sfreq_hz, params)
    start, stop = round(params.tmin_s * sfreq_hz), round(params.tmax_s * sfreq_hz)
    if start * out.up != out.start * out.down or (stop - start) * out.up != out.n_times * out.down:
        raise SignalError(
            "preprocess.window must begin and end on samples of both rates where epochs are "
            f"resampled; {params.tmin_s:g} to {params.tmax_s:g} s does not at {sfreq_hz:g} and "
            f"{out.sfreq_hz:g} Hz. Change it, or set preprocess.resample to continuous."
        )
    return CutGrid(Grid(sfreq_hz, 1, 1, start, stop - start, 1), out)


def resampling_matrix(n_times: int, up: int, down: int) -> Float32[np.ndarray, "n_times n_out"]:
    """Return the matrix that resamples an epoch, to its right, as `mne.Epochs.resample` does.

    Parameters
    ----------
    up, down
        The new rate is the old one times ``up / down``.
    """
    resampled = mne.filter.resample(
        np.eye(n_times), up=up, down=down, npad="auto", pad="edge", verbose="ERROR"
    )
    return np.asarray(resampled, np.float32)
