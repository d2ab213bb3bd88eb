"""Stored epochs come out as a continuous recording would, as far as epochs allow."""

import tracemalloc

import mne
import numpy as np
import pytest

from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.published_epochs import clean_stored_epochs
from tasks.eeg.quality import QualityError
from tasks.eeg.signal import SignalError
from tasks.eeg.sources.protocol import StoredEpochs
from tests.eeg.studies import CHANNELS, make_params, make_raw, make_signal

NO_FILTERS = {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []}
WINDOW = {"sfreq_hz": None}
NO_MICROVOLT = {
    "bad_channels": {"flat_uv": None},
    "reject": {"peak_to_peak_uv": None, "flat_uv": None},
}
ONSETS_S = [2 + 1.2 * i for i in range(40)]
SIGNAL = make_signal(60 * 250)


def store(signal: np.ndarray = SIGNAL, unit: str = "uV") -> StoredEpochs:
    """Return a second around each onset, from -0.2 s on."""
    starts = [round((onset_s - 0.2) * 250) for onset_s in ONSETS_S]
    eeg = np.stack([signal[:, start : start + 250] for start in starts]).astype(np.float32)
    return StoredEpochs(eeg, make_raw(signal).info, -0.2, unit)


def clean(stored: StoredEpochs, **changes: object) -> CleanRecording:
    params = make_params(**({"filters": NO_FILTERS, "window": WINDOW} | changes))
    return clean_stored_epochs(stored, params, "sub-01_ses-01")


def test_without_filters_stored_and_continuous_epochs_are_the_same() -> None:
    signal = SIGNAL.copy()
    signal[2] *= 30  # deviating
    signal[8] = 3  # flat
    changes = {"filters": NO_FILTERS, "window": WINDOW, "reject": {"peak_to_peak_uv": 21.8}}
    expected = clean_recording(make_raw(signal), ONSETS_S, make_params(**changes), "sub-01_ses-01")
    stored = store(signal)
    stored.eeg.flags.writeable = False
    found = clean(stored, **changes)
    assert 0 < len(found.eeg) < len(ONSETS_S)
    assert found.bad_channels == expected.bad_channels == {"F3": "deviating", "O1": "flat"}
    assert found.reject_reasons == expected.reject_reasons
    assert np.abs(found.eeg - expected.eeg).max() < 1e-3
    assert found.peak_to_peak_uv == pytest.approx(expected.peak_to_peak_uv, rel=1e-4)
    assert found.info.filters == "as published"
    assert (found.info.tmin_s, found.info.sfreq_hz, found.info.unit) == (-0.1, 250.0, "uV")
    assert np.isnan(found.drift_uv)
    assert np.isnan(found.line_noise_ratio)


def test_each_epoch_is_resampled_as_mne_does() -> None:
    off = {"deviation_z": None, "min_correlation": None}
    found = clean(
        store(),
        window={"sfreq_hz": 100.0},
        reference="recorded",
        baseline_s=None,
        bad_channels=off,
    )
    resampled = mne.filter.resample(
        store().eeg.astype(float), up=2, down=5, npad="auto", pad="edge"
    )
    assert found.eeg.shape == (40, len(CHANNELS), 80)
    assert found.eeg == pytest.approx(resampled[:, :, 10:90], abs=1e-4)
    assert found.info.tmin_s == -0.1


def test_standardised_numbers_keep_their_unit_and_have_no_microvolt() -> None:
    found = clean(store(unit="standardised"), **NO_MICROVOLT)
    assert found.info.unit == "standardised"
    assert np.isnan(found.peak_to_peak_uv)
    with pytest.raises(QualityError) as error:
        clean(store(unit="standardised"), bad_channels={"flat_uv": None})
    assert str(error.value) == (
        "Thresholds in microvolt must be null for sub-01_ses-01, whose epochs are standardised; "
        "2 are not: preprocess.reject.peak_to_peak_uv, preprocess.reject.flat_uv. Set them to null."
    )


@pytest.mark.parametrize("change", [{"high_pass_hz": 0.5}, {"low_pass_hz": 40}, {"notch_hz": [50]}])
def test_filters_are_refused(change: dict) -> None:
    message = "continuous filters cannot be applied to epochs of 1.00 s; .* Set preprocess.filters"
    with pytest.raises(SignalError, match=message):
        clean(store(), filters=NO_FILTERS | change)


@pytest.mark.parametrize("change", [{"tmin_s": -0.3}, {"tmax_s": 0.81}])
def test_a_window_beyond_what_is_stored_is_refused(change: dict) -> None:
    with pytest.raises(
        SignalError,
        match=r"sub-01_ses-01, -0.2 to 0.8 s; it is .* Change tmin_s, tmax_s and baseline_s",
    ):
        clean(store(), window=WINDOW | change)
    whole = clean(store(), window=WINDOW | {"tmin_s": -0.2, "tmax_s": 0.8})
    assert whole.eeg.shape[2] == 250


@pytest.mark.parametrize("sfreq_hz", [None, 100.0])
def test_a_channel_with_nan_is_an_error_or_interpolated(sfreq_hz: float | None) -> None:
    stored = store()
    stored.eeg[5, 3, 100] = np.nan
    window = {"sfreq_hz": sfreq_hz}
    with pytest.raises(QualityError, match="1 channels hold NaN or infinity: F4"):
        clean(stored, window=window)
    found = clean(stored, window=window, on_nan="interpolate")
    assert found.bad_channels == {"F4": "not finite"}
    assert np.isfinite(found.eeg).all()


def test_a_channel_that_stands_still_in_one_epoch_rejects_that_epoch() -> None:
    stored = store()
    stored.eeg[7, 4] = 1
    found = clean(stored)
    assert [i for i, reason in enumerate(found.reject_reasons) if reason] == [7]
    assert found.reject_reasons[7] == "flat"


def test_no_more_than_one_copy_is_held() -> None:
    stored = store()
    many = StoredEpochs(np.tile(stored.eeg, (50, 1, 1)), stored.info, stored.tmin_s, "uV")
    off = {"deviation_z": None, "min_correlation": None}
    clean(stored, bad_channels=off)
    tracemalloc.start()
    found = clean(many, bad_channels=off, reject={"peak_to_peak_uv": 21.8})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < len(found.eeg) < len(many.eeg)
    assert peak < 1.3 * many.eeg.nbytes * found.eeg.shape[2] / many.eeg.shape[2]
