"""What well-kept libraries find and mend: pyprep's bad channels, MNE's ICA, autoreject's trials.

What is fitted here is fitted on training trials alone, so that no held-out trial has a say in how it is
cleaned.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import mne
import numpy as np
from jaxtyping import Bool, Float32
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from sklearn.exceptions import ConvergenceWarning

from tasks.eeg.quality import QualityError
from tasks.runtime.params import Params

Epochs = Float32[np.ndarray, "n_trials n_channels n_times"]
Mask = Bool[np.ndarray, "n_trials"]

MIN_HIGH_PASS_HZ = 1.0  # drift would fill the components
BAD = 1  # of autoreject's log, where an interpolated channel is 2


class PyprepParams(Params):
    """Params of `find_noisy_channels`."""

    ransac: bool = Field(
        description="also channels that their neighbours do not predict: slow, and it needs positions"
    )
    seed: NonNegativeInt = Field(description="of RANSAC")


class IcaParams(Params):
    """Params of `remove_ocular_components`."""

    n_components: PositiveInt = Field(
        description="of the good channels, at most one less than there are"
    )
    method: Literal["fastica", "infomax", "picard"] = Field(description="that separates sources")
    ocular_channels: tuple[str, ...] = Field(
        description="EEG channels near the eyes, for instance Fp1 and Fp2"
    )
    min_correlation: PositiveFloat = Field(
        description="with one of them; components above are removed"
    )
    seed: NonNegativeInt = Field(description="of the separation")


class AutorejectParams(Params):
    """Params of `repair_trials`."""

    n_interpolate: tuple[PositiveInt, ...] = Field(
        description="channels mended in one trial, at most; the best is chosen"
    )
    consensus: tuple[PositiveFloat, ...] = Field(
        description="share of bad channels that rejects; the best is chosen"
    )
    folds: PositiveInt = Field(
        description="of the cross-validation that chooses, on training trials"
    )
    seed: NonNegativeInt = Field(description="of the cross-validation")


def find_noisy_channels(
    raw: mne.io.BaseRaw, good: Sequence[str], params: PyprepParams
) -> dict[str, str]:
    """Return the channels that pyprep calls bad, with the first of its reasons.

    Bigdely-Shamlo et al., Frontiers in Neuroinformatics 9:16 (2015): deviation, high-frequency noise,
    correlation in windows, dropouts, RANSAC; here on the recording as it is, before any filter.

    Parameters
    ----------
    good
        Channels to look at: those with a signal.

    Raises
    ------
    QualityError
        If pyprep cannot work with the recording.
    """
    from pyprep import NoisyChannels

    try:
        found = NoisyChannels(
            raw.copy().pick(list(good)).load_data(verbose="ERROR"),
            random_state=params.seed,
            ransac=params.ransac,
        )
        found.find_all_bads()
    except (OSError, ValueError, IndexError) as error:
        raise QualityError(
            f"preprocess.bad_channels.pyprep must suit the recording; it does not ({error}). "
            "Set its ransac to false, or pyprep to null."
        ) from error
    reasons: dict[str, str] = {}
    for criterion, names in found.get_bads(as_dict=True).items():
        if criterion != "bad_all":
            words = criterion.removeprefix("bad_by_").replace("_", " ")
            reasons = dict.fromkeys(map(str, names), f"pyprep: {words}") | reasons
    return {name: reasons[name] for name in good if name in reasons}


def remove_ocular_components(
    epochs: Epochs, info: mne.Info, training: Mask, high_pass_hz: float | None, params: IcaParams
) -> tuple[Epochs, int]:
    """Return the epochs without the independent components that follow the eyes, and how many those are.

    Parameters
    ----------
    epochs
        Of the good channels, filtered, in microvolt.
    info
        Of these channels, at the rate of the epochs.
    training
        Which the components are fitted on.
    high_pass_hz
        Of the filter that was applied.

    Raises
    ------
    QualityError
        If the recording holds too much drift, no training trials, or no channel near the eyes, or the
        decomposition does not converge.
    """
    _require_training(training, "ica")
    if high_pass_hz is None or high_pass_hz < MIN_HIGH_PASS_HZ:
        raise QualityError(
            f"ICA needs recordings without drift: preprocess.filters.high_pass_hz must be at least "
            f"{MIN_HIGH_PASS_HZ:g} Hz; it is {high_pass_hz}. Raise it, or set preprocess.ica to null."
        )
    missing = [name for name in params.ocular_channels if name not in info["ch_names"]]
    if missing or not params.ocular_channels:
        raise QualityError(
            "preprocess.ica.ocular_channels must be good EEG channels; "
            f"{', '.join(missing) or 'none is named'}{' are not' if missing else ''}. Name others."
        )
    with info._unlock():  # MNE warns of what it does not know to be filtered
        info["highpass"] = high_pass_hz
    fitted_on = _volts(epochs[training], info)
    ica = mne.preprocessing.ICA(
        min(params.n_components, epochs.shape[1] - 1),
        method=params.method,
        random_state=params.seed,
        max_iter="auto",
        verbose="ERROR",
    )
    try:
        with warnings.catch_warnings(category=ConvergenceWarning, action="error"):
            ica.fit(fitted_on, verbose="ERROR")
    except ConvergenceWarning as error:
        raise QualityError(
            f"ICA must converge; with {params.method} and {params.n_components} components it does not "
            "in 1000 steps. Lower preprocess.ica.n_components, or take the method infomax."
        ) from error
    ica.exclude, _ = ica.find_bads_eog(
        fitted_on,
        ch_name=list(params.ocular_channels),
        threshold=params.min_correlation,
        measure="correlation",
        verbose="ERROR",
    )
    cleaned = ica.apply(_volts(epochs, info), verbose="ERROR")
    return (cleaned.get_data(copy=False) * 1e6).astype(np.float32), len(ica.exclude)


def repair_trials(
    epochs: Epochs, info: mne.Info, inside: Mask, training: Mask, params: AutorejectParams
) -> tuple[Epochs, list[str]]:
    """Return epochs with their bad channels mended trial by trial, and why others are to be dropped.

    Jas et al., NeuroImage 159 (2017): thresholds of each channel, and how many bad channels a trial may
    have, are chosen by cross-validation.

    Parameters
    ----------
    info
        Of these channels, with positions, at the rate of the epochs.
    inside
        Which epochs lie inside the recording; the others are left as they are.
    training
        Which thresholds are chosen on.

    Returns
    -------
    epochs
        A new array.
    reasons
        One per epoch; empty where it is kept.

    Raises
    ------
    QualityError
        If there are fewer training trials than folds, or electrodes have no positions.
    """
    from autoreject import AutoReject

    _require_training(training & inside, "reject.autoreject", params.folds)
    model = AutoReject(
        n_interpolate=list(params.n_interpolate),
        consensus=list(params.consensus),
        cv=params.folds,
        random_state=params.seed,
        verbose=False,
    )
    try:
        model.fit(_volts(epochs[training & inside], info))
    except ValueError as error:
        raise QualityError(
            f"preprocess.reject.autoreject must suit the recording; it does not ({error}). "
            "Change it, or set it to null."
        ) from error
    rows = np.flatnonzero(inside)
    mended, log = model.transform(_volts(epochs[rows], info), return_log=True)
    reasons = [""] * len(epochs)
    for row, labels in zip(rows[log.bad_epochs], log.labels[log.bad_epochs], strict=True):
        reasons[row] = f"autoreject: {int((labels >= BAD).sum())} bad channels"
    result = epochs.copy()
    result[rows[~log.bad_epochs]] = mended.get_data(copy=False) * 1e6
    return result, reasons


def _require_training(training: Mask, param: str, at_least: int = 2) -> None:
    if training.sum() < at_least:
        raise QualityError(
            f"preprocess.{param} is fitted on training trials and needs {at_least} in each recording; "
            f"one has {training.sum()}. Set it to null, or change preprocess.split."
        )


def _volts(epochs: Epochs, info: mne.Info) -> mne.EpochsArray:
    return mne.EpochsArray(
        epochs.astype(np.float64) * 1e-6, info, baseline=None, proj=False, verbose="ERROR"
    )
