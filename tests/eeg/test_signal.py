"""Filtering, resampling and cutting agree with MNE, and with what was planted."""

import mne
import numpy as np
import pytest

from tasks.eeg.signal import (
    FilterParams,
    SignalError,
    WindowParams,
    cut_epochs,
    make_grid,
    read_signal,
)
from tests.eeg.studies import make_raw, make_signal

OFF = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=None, notch_hz=())
LOW_PASS = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=45.0, notch_hz=())
BAND = FilterParams(method="fir", high_pass_hz=0.5, low_pass_hz=40.0, notch_hz=(50.0,))


def window(**changes: float | None) -> WindowParams:
    values = {"tmin_s": -0.1, "tmax_s": 0.7, "sfreq_hz": 100.0, "onset_step_s": 0.002}
    return WindowParams.model_validate(values | changes)


def test_a_recording_is_read_whole_in_microvolt() -> None:
    signal = make_signal(70 * 250)  # longer than a block
    assert np.allclose(read_signal(make_raw(signal)), signal, atol=1e-4)


def test_filters_equal_those_of_mne() -> None:
    raw = make_raw(make_signal(60 * 250) + 20)
    onsets_s = np.array([0.2, 10.0, 30.0, 58.0])
    grid = make_grid(250.0, window(sfreq_hz=None))
    ours, inside = cut_epochs(read_signal(raw), 250.0, onsets_s, grid, BAND)
    theirs = raw.notch_filter([50.0], verbose="ERROR").filter(0.5, 40.0, verbose="ERROR")
    starts = np.rint(onsets_s * 250).astype(int) + grid.start
    expected = [theirs.get_data()[:, s : s + grid.n_times] * 1e6 for s in starts]
    assert inside.all()
    assert np.abs(ours[1:3] - expected[1:3]).max() < 1e-4
    # At the very ends MNE mirrors what it has filtered once, we mirror the raw signal.
    assert np.abs(ours - expected).max() < 5


def test_recursive_filters_equal_those_of_mne_up_to_the_ends() -> None:
    raw = make_raw(make_signal(60 * 250) + 20)
    onsets_s = np.array([0.204, 10.0, 30.0, 58.0])
    filters = FilterParams(method="iir", high_pass_hz=0.5, low_pass_hz=20.0, notch_hz=(50.0, 100.0))
    theirs = raw.copy().filter(0.5, 20.0, method="iir", verbose="ERROR")
    for hz in (50.0, 100.0):
        theirs.notch_filter(hz, method="iir", verbose="ERROR")
    for sfreq_hz, bound_uv in ((None, 1e-4), (125.0, 0.05)):
        grid = make_grid(
            250.0, window(tmin_s=-0.2, tmax_s=0.6, sfreq_hz=sfreq_hz, onset_step_s=0.004)
        )
        ours, inside = cut_epochs(read_signal(raw), 250.0, onsets_s, grid, filters)
        starts = np.rint((onsets_s - 0.2) * 250).astype(int)
        expected = [theirs.get_data()[:, s : s + 200] * 1e6 for s in starts]
        assert inside.all()
        assert np.abs(ours - np.array(expected)[:, :, :: grid.down]).max() < bound_uv


def test_line_noise_is_removed_by_the_notch_alone() -> None:
    times_s = np.arange(40 * 250) / 250
    signal = np.stack([np.sin(2 * np.pi * 50 * times_s), np.sin(2 * np.pi * 40 * times_s)]) * 10
    grid = make_grid(250.0, window(sfreq_hz=None))
    notch = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=None, notch_hz=(50.0,))
    epochs, _ = cut_epochs(signal.astype(np.float32), 250.0, np.array([20.0]), grid, notch)
    hum, tone = np.abs(epochs[0]).max(axis=1)
    assert hum < 0.05
    assert tone == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("sfreq_hz", [250.0, 256.0, 512.0, 1000.0])
def test_resampled_epochs_are_aligned_to_each_onset(sfreq_hz: float) -> None:
    def planted(times_s: np.ndarray) -> np.ndarray:
        return 10 * np.sin(2 * np.pi * 7 * times_s) + 5 * np.cos(2 * np.pi * 31 * times_s)

    signal = planted(np.arange(round(30 * sfreq_hz)) / sfreq_hz)[np.newaxis].astype(np.float32)
    onsets_s = 10 + np.arange(20) * 0.302  # multiples of the step, between the new samples
    grid = make_grid(sfreq_hz, window())
    filters = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=40.0, notch_hz=())
    epochs, _ = cut_epochs(signal, sfreq_hz, onsets_s, grid, filters)
    times_s = np.arange(-10, 70) / 100
    assert epochs.shape == (20, 1, 80)
    assert np.abs(epochs[:, 0] - planted(onsets_s[:, np.newaxis] + times_s)).max() < 0.05


def test_cutting_the_resampled_recording_equals_resampling_each_epoch() -> None:
    raw = make_raw(make_signal(60 * 250)).filter(0.5, 40.0, verbose="ERROR")
    samples = np.array([2501, 5003, 9007])
    events = np.column_stack([samples, np.zeros(3, int), np.ones(3, int)])
    theirs = mne.Epochs(
        raw, events, tmin=-1, tmax=2 - 1 / 250, baseline=None, preload=True, verbose="ERROR"
    )
    expected = theirs.resample(100, npad=125, verbose="ERROR").get_data()[:, :, 90:170] * 1e6
    filters = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=50.0, notch_hz=())
    signal = read_signal(raw)
    ours, _ = cut_epochs(signal, 250.0, samples / 250, make_grid(250.0, window()), filters)
    spread = expected.std()
    assert np.abs(ours - expected).max() < 0.02 * spread


def test_epochs_beyond_the_ends_are_marked_and_empty() -> None:
    signal = make_signal(20 * 250).astype(np.float32)
    grid = make_grid(250.0, window())
    epochs, inside = cut_epochs(signal, 250.0, np.array([0.05, 0.1, 19.3, 19.31]), grid, LOW_PASS)
    assert inside.tolist() == [False, True, True, False]
    assert not epochs[[0, 3]].any()
    assert epochs[[1, 2]].all()


def test_a_rate_that_cannot_hold_the_band_is_refused() -> None:
    message = (
        "preprocess.filters.low_pass_hz must be at most half of the new rate of 100 Hz; it is None. "
        "Lower it, or raise preprocess.window.sfreq_hz."
    )
    signal = make_signal(1000).astype(np.float32)
    with pytest.raises(SignalError) as error:
        cut_epochs(signal, 250.0, np.array([1.0]), make_grid(250.0, window()), OFF)
    assert str(error.value) == message


def test_a_recording_shorter_than_its_filters_is_refused() -> None:
    signal = make_signal(500).astype(np.float32)
    with pytest.raises(
        SignalError, match="A recording must be longer than its filters' 1650 samples"
    ):
        cut_epochs(signal, 250.0, np.array([1.0]), make_grid(250.0, window()), BAND)


def test_raising_the_rate_is_refused() -> None:
    with pytest.raises(SignalError, match="must be at most the recording's 128 Hz and in a ratio"):
        make_grid(128.0, window(sfreq_hz=250.0))


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(SignalError, match=r"must hold a sample at 100 Hz; 0.7 to 0.7 s holds none"):
        make_grid(250.0, window(tmin_s=0.7))


def test_the_attention_recording_gives_eighty_epochs(shared_data) -> None:
    path = shared_data / "eeglab" / "eeglab_data.set"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    raw = mne.io.read_raw_eeglab(path, verbose="ERROR")
    onsets_s = np.array([a["onset"] for a in raw.annotations if a["description"] == "square"])
    # MNE's window includes its last sample; ours ends before tmax_s.
    params = window(tmin_s=-0.1, tmax_s=0.5 + 1 / 128, sfreq_hz=None)
    signal = read_signal(raw)
    epochs, inside = cut_epochs(signal, 128.0, onsets_s, make_grid(128.0, params), OFF)
    events, ids = mne.events_from_annotations(raw, verbose="ERROR")
    squares = mne.Epochs(
        raw, events, ids["square"], -0.1, 0.5, baseline=None, preload=True, verbose="ERROR"
    )
    assert epochs.shape == (80, 32, 78)
    assert inside.all()
    assert np.abs(epochs - squares.get_data() * 1e6).max() < 0.01
