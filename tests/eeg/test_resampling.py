"""Epochs that are cut and then resampled are those of MNE."""

import mne
import numpy as np
import pytest

from tasks.eeg.cleaning import clean_recording
from tasks.eeg.signal import SignalError
from tests.eeg.studies import make_params, make_raw, make_signal

SIGNAL = make_signal(60 * 250)
ONSETS_S = [5 + 0.752 * i for i in range(60)]
LOOSE = {
    "resample": "epochs",
    "reference": "recorded",
    "baseline_s": None,
    "bad_channels": {"deviation_z": None, "min_correlation": None},
    "reject": {"peak_to_peak_uv": None},
}
CONTINUOUS = {"resample": "continuous"}
NO_FILTERS = {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []}


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("filtered", [False, True])
def test_each_epoch_is_resampled_as_mne_does(filtered: bool) -> None:
    raw = make_raw(SIGNAL)
    filters = {} if filtered else NO_FILTERS
    found = clean_recording(raw, ONSETS_S, make_params(filters=filters, **LOOSE), "sub-01_ses-01")
    if filtered:
        raw.notch_filter([50.0], verbose="ERROR").filter(0.5, 40.0, verbose="ERROR")
    samples = np.rint(np.array(ONSETS_S) * 250).astype(int)
    events = np.stack([samples, np.zeros_like(samples), np.ones_like(samples)], axis=1)
    epochs = mne.Epochs(
        raw, events, None, -0.1, 0.7 - 1 / 250, baseline=None, preload=True, verbose="ERROR"
    )
    expected = epochs.resample(100.0, verbose="ERROR").get_data() * 1e6
    assert found.eeg.shape == expected.shape == (60, 16, 80)
    assert np.abs(found.eeg - expected).max() < 1e-5 * np.abs(expected).max()
    assert (found.info.tmin_s, found.info.sfreq_hz) == (-0.1, 100.0)


def test_both_orders_agree_away_from_the_edges_of_an_epoch() -> None:
    """What an epoch's resampling guesses beyond its ends rings into it, less the farther away.

    Epochs that are cut 0.5 s longer on both sides, and so have no edge near the window, agree with the
    resampled recording to 3 % of its standard deviation.
    """
    ours = clean_recording(make_raw(SIGNAL), ONSETS_S, make_params(**LOOSE | CONTINUOUS), "a").eeg
    published = {
        margin_s: clean_recording(
            make_raw(SIGNAL),
            ONSETS_S,
            make_params(window={"tmin_s": -0.1 - margin_s, "tmax_s": 0.7 + margin_s}, **LOOSE),
            "a",
        ).eeg
        for margin_s in (0.0, 0.5)
    }
    assert rms(ours - published[0.0]) < 0.11 * ours.std()
    assert rms((ours - published[0.0])[:, :, 10:-10]) < 0.08 * ours.std()
    assert rms((ours - published[0.0])[:, :, 30:-30]) < 0.05 * ours.std()
    assert rms(ours - published[0.5][:, :, 50:-50]) < 0.03 * ours.std()


def test_a_window_between_samples_is_refused() -> None:
    params = make_params(window={"tmin_s": -0.104}, **LOOSE)
    with pytest.raises(SignalError, match=r"does not at 250 and 100 Hz\. Change it, or set"):
        clean_recording(make_raw(SIGNAL), ONSETS_S, params, "sub-01_ses-01")


def test_without_a_new_rate_both_orders_are_the_same() -> None:
    changes = LOOSE | {"window": {"sfreq_hz": None, "onset_step_s": 0.004}}
    one = clean_recording(make_raw(SIGNAL), ONSETS_S, make_params(**changes), "a")
    changes["resample"] = "continuous"
    other = clean_recording(make_raw(SIGNAL), ONSETS_S, make_params(**changes), "a")
    assert np.abs(one.eeg - other.eeg).max() < 1e-4
