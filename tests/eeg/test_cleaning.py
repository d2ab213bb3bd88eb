"""A recording with known faults comes out clean, and says what was wrong."""

import mne
import numpy as np
import pytest

from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.quality import QualityError, drift_uv, line_noise_ratio
from tasks.eeg.rows import quality_row
from tests.eeg.studies import CHANNELS, make_params, make_raw, make_signal

N_SAMPLES = 60 * 250
ONSETS_S = [5 + 0.75 * i for i in range(60)]


def clean(
    signal: np.ndarray, onsets_s: list[float] = ONSETS_S, **changes: object
) -> CleanRecording:
    return clean_recording(make_raw(signal), onsets_s, make_params(**changes), "sub-01_ses-01")


def test_a_clean_recording_keeps_everything() -> None:
    found = clean(make_signal(N_SAMPLES))
    assert found.eeg.shape == (60, len(CHANNELS), 80)
    assert found.eeg.dtype == np.float32
    assert found.bad_channels == {}
    assert set(found.reject_reasons) == {""}
    assert found.info.channels == CHANNELS
    assert (found.info.sfreq_hz, found.info.tmin_s, found.info.unit) == (100.0, -0.1, "uV")
    assert found.info.filters == "zero-phase FIR: notch 50 Hz, high-pass 0.5 Hz, low-pass 40 Hz"


def test_a_planted_response_comes_out_in_microvolt_at_its_latency() -> None:
    signal = make_signal(N_SAMPLES) * 0.01
    times_s = np.arange(N_SAMPLES) / 250
    for onset_s in ONSETS_S:
        signal[4] += 10 * np.exp(-0.5 * ((times_s - onset_s - 0.2) / 0.02) ** 2)
    bad_channels = {"deviation_z": None, "min_correlation": None, "flat_uv": 0.0001}
    found = clean(signal, reference="recorded", bad_channels=bad_channels)
    response = found.eeg.mean(axis=0)[4]
    assert response.argmax() == 30  # 0.2 s after onset, 0.3 s after the first sample
    assert response.max() == pytest.approx(10, abs=0.3)


def test_the_average_reference_and_the_baseline_are_zero() -> None:
    found = clean(make_signal(N_SAMPLES))
    assert np.abs(found.eeg.mean(axis=1)).max() < 1e-3
    assert np.abs(found.eeg[:, :, :11].mean(axis=2)).max() < 1e-3


def test_a_flat_channel_is_found_and_interpolated() -> None:
    signal = make_signal(N_SAMPLES)
    signal[8] = 3.0  # an offset, not a signal
    found = clean(signal)
    assert found.bad_channels == {"O1": "flat"}
    correlation = np.corrcoef(found.eeg[:, 8].ravel(), found.eeg[:, 6].ravel())[0, 1]
    assert found.eeg[:, 8].std() > 0.5
    assert abs(correlation) > 0.2  # P3 is its neighbour


def test_interpolation_equals_that_of_mne() -> None:
    signal = make_signal(N_SAMPLES)
    signal[8] = 0
    raw = make_raw(signal)
    raw.info["bads"] = ["O1"]
    raw.interpolate_bads(verbose="ERROR").set_eeg_reference("average", verbose="ERROR")
    off = {"deviation_z": None, "min_correlation": None}
    params = make_params(reference="recorded", bad_channels=off)
    expected = clean_recording(raw, ONSETS_S, params, "mne")
    assert np.abs(clean(signal).eeg - expected.eeg).max() < 1e-3


def test_a_loud_channel_and_a_lone_channel_are_found() -> None:
    signal = make_signal(N_SAMPLES)
    signal[2] *= 30
    signal[5] = make_signal(N_SAMPLES, seed=9)[5]
    found = clean(signal)
    assert found.bad_channels == {"F3": "deviating", "C4": "uncorrelated"}
    loose = {"deviation_z": None, "min_correlation": None}
    reject = {"peak_to_peak_uv": None}
    assert clean(signal, bad_channels=loose, reject=reject).bad_channels == {}


def test_a_channel_with_nan_is_an_error_or_interpolated() -> None:
    signal = make_signal(N_SAMPLES)
    signal[3, 700] = np.nan
    with pytest.raises(QualityError) as error:
        clean(signal)
    assert str(error.value) == (
        "sub-01_ses-01 must be finite; 1 channels hold NaN or infinity: F4. "
        "Mend the recording, or set preprocess.on_nan to interpolate."
    )
    found = clean(signal, on_nan="interpolate")
    assert found.bad_channels == {"F4": "not finite"}
    assert np.isfinite(found.eeg).all()


def test_too_many_bad_channels_are_an_error() -> None:
    signal = make_signal(N_SAMPLES)
    signal[:4] = 0
    with pytest.raises(QualityError) as error:
        clean(signal)
    assert str(error.value) == (
        "sub-01_ses-01 must have at most 20% bad channels; 4 of 16 are: Fp1 (flat), Fp2 (flat), "
        "F3 (flat), F4 (flat). Leave the recording out, or change preprocess.bad_channels."
    )


def test_rejected_trials_have_reasons_and_no_epochs() -> None:
    signal = make_signal(N_SAMPLES)
    blink = round((ONSETS_S[10] + 0.3) * 250)
    signal[0, blink : blink + 25] += 2000
    still = round(ONSETS_S[20] * 250)
    signal[7, still - 25 : still + 200] = signal[7, still - 25]
    onsets_s = [*ONSETS_S, 59.5]
    found = clean(signal, onsets_s, bad_channels={"deviation_z": None})
    rejected = {i: reason for i, reason in enumerate(found.reject_reasons) if reason}
    assert rejected.pop(10).startswith("peak to peak ")
    assert rejected.pop(20) == "flat"
    assert rejected.pop(60) == "outside the recording"
    assert all(i in (9, 11) for i in rejected)  # the blink's neighbours at most
    assert len(found.eeg) == found.reject_reasons.count("")


def test_a_baseline_may_lie_before_the_window_as_when_mne_crops_epochs() -> None:
    signal = make_signal(N_SAMPLES)
    no_filters = {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []}
    window = {"tmin_s": 0.0, "tmax_s": 0.4, "sfreq_hz": None}
    params = make_params(window=window, baseline_s=(-0.5, -0.1), filters=no_filters)
    raw = make_raw(signal)
    onsets_s = [5 + 0.8 * i for i in range(60)]  # on whole samples, as MNE rounds others
    found = clean_recording(raw, onsets_s, params, "sub-01_ses-01").cropped(params.window)
    events = np.array([[round(onset_s * 250), 0, 1] for onset_s in onsets_s])
    epochs = mne.Epochs(
        raw.copy().set_eeg_reference("average", verbose="ERROR"),
        events, tmin=-0.5, tmax=0.4, baseline=(-0.5, -0.1), preload=True, verbose="ERROR",
    )  # fmt: skip
    expected = epochs.crop(0.0, 0.4, include_tmax=False).get_data() * 1e6
    assert set(found.reject_reasons) == {""}
    assert (found.eeg.shape, found.info.tmin_s) == (expected.shape, 0.0)
    assert np.abs(found.eeg - expected).max() < 2e-3


def test_a_baseline_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(QualityError, match=r"must hold a sample, .*; \(-0.3, -0.5\) holds none"):
        clean(make_signal(N_SAMPLES), baseline_s=(-0.3, -0.5))


def test_a_recording_without_eeg_channels_is_refused() -> None:
    raw = make_raw(make_signal(N_SAMPLES))
    raw.set_channel_types(dict.fromkeys(CHANNELS, "misc"), on_unit_change="ignore")
    with pytest.raises(
        QualityError, match=r"must have EEG channels; .* \['misc'\]\. Set the types"
    ):
        clean_recording(raw, ONSETS_S, make_params(), "sub-01_ses-01")


def test_bad_channels_without_positions_are_refused() -> None:
    signal = make_signal(N_SAMPLES)
    signal[0] = 0
    raw = make_raw(signal).set_montage(None)
    with pytest.raises(QualityError, match="Electrode positions must be known to interpolate"):
        clean_recording(raw, ONSETS_S, make_params(), "sub-01_ses-01")


def test_line_noise_and_drift_are_measured() -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(N_SAMPLES) / 250
    signal = rng.normal(size=(4, N_SAMPLES)).astype(np.float32)
    good = np.arange(4)
    assert line_noise_ratio(signal, good, 250.0, 50.0) == pytest.approx(1, abs=0.2)
    assert drift_uv(signal, good, 250.0) < 0.1
    drifting = (signal + 10 * np.sin(2 * np.pi * 50 * times_s) + 3 * times_s).astype(np.float32)
    assert line_noise_ratio(drifting, good, 250.0, 50.0) > 100
    assert drift_uv(drifting, good, 250.0) == pytest.approx(3 * 60 / 12**0.5, rel=0.01)
    assert np.isnan(line_noise_ratio(signal, good, 100.0, 50.0))


@pytest.mark.parametrize(("factor", "found"), [(1e6, "1.43e+07"), (1e-6, "1.43e-05")])
def test_other_units_than_volt_are_refused(factor: float, found: str) -> None:
    signal = make_signal(N_SAMPLES)
    signal *= 14 / np.median(signal.std(axis=1))
    with pytest.raises(QualityError) as error:
        clean(signal * factor)
    assert str(error.value) == (
        "sub-01_ses-01 must be in volt, as MNE has it, with channels that deviate by 0.01 to 20000 uV; "
        f"a typical one deviates by {found} uV. Mend its unit in the source or in its tables: volt and "
        "microvolt differ by 1e6."
    )


def test_flat_channels_are_reported_drops_with_their_reason() -> None:
    signal = make_signal(N_SAMPLES)
    signal[[3, 8]] = 0
    row = quality_row("a", clean(signal))
    assert (row["bad_channels"], row["bad_channel_reasons"]) == ("F4,O1", "flat,flat")


OFF = {"deviation_z": None, "min_correlation": None, "flat_uv": None}
KEEP_ALL = {"peak_to_peak_uv": None, "flat_uv": None}
MARKS = [
    "BAD_movement",
    "bad",
    "BAD_ACQ_SKIP",
    "EDGE boundary",
    "edge",
    "Stimulus/S 1",
    "not BAD",
]


@pytest.mark.parametrize("description", MARKS)
def test_a_marked_segment_is_kept_and_filtered_as_mne_does_by_default(description: str) -> None:
    rng = np.random.default_rng(0)
    signal = make_signal(N_SAMPLES)
    signal[:, 7500:] += rng.normal(0, 300, (len(CHANNELS), 1))
    raw = make_raw(signal)
    skipped = description == "BAD_ACQ_SKIP"
    raw.set_annotations(mne.Annotations([30.0], [2.0 if skipped else 0.4], [description]))
    samples = np.array([2500, 7000, 7490, 7500, 7550, 7620, 8100, 12000])
    window = {"tmin_s": -0.1, "tmax_s": 0.3, "sfreq_hz": None}
    filters = {"high_pass_hz": 2.0, "low_pass_hz": 40.0, "notch_hz": []}
    params = make_params(
        window=window,
        filters=filters,
        baseline_s=None,
        reference="recorded",
        bad_channels=OFF,
        reject=KEEP_ALL,
    )
    found = clean_recording(raw, samples / 250, params, "sub-01_ses-01")
    filtered = raw.copy().load_data().filter(2.0, 40.0, verbose="ERROR")
    events = np.stack([samples, 0 * samples, np.arange(len(samples)) + 1], axis=1)
    epochs = mne.Epochs(
        filtered, events, tmin=-0.1, tmax=0.3 - 1 / 250, baseline=None, preload=True, verbose="ERROR"
    )  # fmt: skip
    kept = [not reason for reason in found.reject_reasons]
    theirs = [not reason for reason in epochs.drop_log]
    if description.lower().startswith("edge"):  # MNE keeps what lies on both sides of it
        assert [row for row in range(8) if kept[row] != theirs[row]] == [2, 3, 4, 5]
    else:
        assert kept == theirs
    assert {reason for reason in found.reject_reasons if reason} <= {description}
    both = [
        row
        for row, sample in enumerate(epochs.events[:, 0])
        if kept[samples.tolist().index(sample)]
    ]
    assert np.abs(found.eeg - epochs.get_data()[both] * 1e6).max() < 2e-3


def test_trials_in_parts_that_are_too_short_for_the_filters_are_dropped() -> None:
    raw = make_raw(make_signal(N_SAMPLES))
    raw.set_annotations(mne.Annotations([30.0, 31.0], [0, 0], ["EDGE", "EDGE"]))
    found = clean_recording(raw, [10.0, 30.4, 50.0], make_params(), "sub-01_ses-01")
    assert [not reason for reason in found.reject_reasons] == [True, False, True]


def test_bad_channels_are_interpolated_without_digitised_points_too() -> None:
    raw = make_raw(make_signal(N_SAMPLES))
    raw.info["bads"] = ["O1"]
    expected = clean_recording(raw, ONSETS_S, make_params(bad_channels=OFF), "sub-01_ses-01").eeg
    with raw.info._unlock():
        raw.info["dig"] = None
    found = clean_recording(raw, ONSETS_S, make_params(bad_channels=OFF), "sub-01_ses-01").eeg
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("place", [0.0, np.nan])
def test_a_channel_at_the_centre_of_the_head_has_no_position(place: float) -> None:
    raw = make_raw(make_signal(N_SAMPLES))
    raw.info["bads"] = ["O1"]
    for name in ("Fp1", "Fp2"):
        raw.info["chs"][raw.ch_names.index(name)]["loc"][:3] = place
    with pytest.raises(QualityError, match=r"2 have none: Fp1, Fp2. Set a montage in the source"):
        clean_recording(raw, ONSETS_S, make_params(bad_channels=OFF), "sub-01_ses-01")
