"""A new recording is given the channels, rate and window of training, or refused in a sentence."""

from pathlib import Path

import mne
import numpy as np
import pytest

from tasks.decoding.recordings import RecordingError, clean, onsets_of, open_recording
from tasks.eeg.cleaning import clean_recording
from tasks.eeg.quality import QualityError
from tests.eeg.studies import CHANNELS, make_params, make_raw, make_signal

SFREQ_HZ = 100.0
ONSETS_S = [5 + 0.76 * i for i in range(40)]
LOOSE = {"deviation_z": None, "min_correlation": None}
PARAMS = make_params(bad_channels=LOOSE)


def raw_of(n_s: float = 60.0, sfreq_hz: float = 250.0) -> mne.io.RawArray:
    return make_raw(make_signal(round(n_s * sfreq_hz), sfreq_hz), sfreq_hz)


def cleaned(raw: mne.io.BaseRaw, on_missing: str = "refuse", params=PARAMS) -> np.ndarray:
    return clean(raw, ONSETS_S, params, CHANNELS, SFREQ_HZ, on_missing, "rec").eeg


def expected() -> np.ndarray:
    return clean_recording(raw_of(), ONSETS_S, PARAMS, "rec", [True] * len(ONSETS_S)).eeg


def test_a_recording_like_those_of_training_is_cleaned_as_they_were() -> None:
    assert np.array_equal(cleaned(raw_of()), expected())


def test_the_order_and_the_spelling_of_the_channels_do_not_count() -> None:
    raw = raw_of()
    raw.reorder_channels(raw.ch_names[::-1])
    spelled = {"T7": "T3", "T8": "EEG T4-REF", "Oz": "OZ", "O1": "O1."}
    raw.rename_channels(spelled)
    assert np.abs(cleaned(raw) - expected()).max() < 1e-3


def test_other_channels_are_left_out_before_the_reference() -> None:
    raw = raw_of()
    other = mne.io.RawArray(
        np.full((1, raw.n_times), 3e-3), mne.create_info(["ECG"], 250.0, "ecg"), verbose="ERROR"
    )
    assert (
        np.abs(cleaned(raw.add_channels([other], force_update_info=True)) - expected()).max() < 1e-3
    )


def test_another_rate_is_resampled() -> None:
    found = cleaned(raw_of(sfreq_hz=500.0))
    assert found.shape == expected().shape


def test_channels_that_are_missing_are_refused_or_interpolated() -> None:
    raw = raw_of().drop_channels(["O1", "T7"])
    with pytest.raises(RecordingError) as error:
        cleaned(raw)
    assert str(error.value) == (
        "rec must have the 16 channels of the encoder; 2 are missing: O1, T7. Mend the names of its channels, "
        "or add --missing interpolate."
    )
    whole = raw_of()
    whole.info["bads"] = ["O1", "T7"]
    as_bad = clean_recording(whole, ONSETS_S, PARAMS, "rec", [True] * len(ONSETS_S)).eeg
    assert np.abs(cleaned(raw, "interpolate") - as_bad).max() < 0.5
    few = raw_of().pick(list(CHANNELS[:8]))
    with pytest.raises(RecordingError, match=r"8 are missing: .*; at most 20% may be interpolated"):
        cleaned(few, "interpolate")


def test_microvolts_given_as_volts_are_refused() -> None:
    raw = make_raw(make_signal(15_000) * 1e6)
    with pytest.raises(QualityError, match="volt"):
        cleaned(raw)


def test_nan_is_refused() -> None:
    signal = make_signal(15_000)
    signal[3, 700] = np.nan
    with pytest.raises(QualityError, match="1 channels hold NaN or infinity: F4"):
        cleaned(make_raw(signal))


def test_epochs_of_mne_are_read_like_the_recording_that_they_were_cut_from() -> None:
    params = make_params(
        bad_channels=LOOSE,
        filters={"high_pass_hz": None, "low_pass_hz": None, "notch_hz": []},
        reject={"peak_to_peak_uv": None, "flat_uv": None},
    )
    raw = raw_of(sfreq_hz=100.0)
    events = np.array([[round(onset_s * 100), 0, 1] for onset_s in ONSETS_S])
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=0.8, baseline=None, preload=True, verbose="ERROR"
    )  # fmt: skip
    found = clean(epochs, (), params, CHANNELS, SFREQ_HZ, "refuse", "epochs").eeg
    same = clean(raw, events[:, 0] / 100, params, CHANNELS, SFREQ_HZ, "refuse", "rec").eeg
    assert np.abs(found - same).max() < 1e-3


def test_events_come_from_annotations_a_table_or_all_along(tmp_path: Path) -> None:
    raw = raw_of()
    marks = mne.Annotations([3.0, 2.0, 9.0], [0.1] * 3, ["b.png", "a.png", "BAD_jump"])
    raw.set_annotations(marks)
    assert onsets_of(raw, PARAMS, None, None, "rec") == [2.0, 3.0]
    table = tmp_path / "events.tsv"
    table.write_text("onset\tduration\n4.5\t1\n1.5\tn/a\n")
    assert onsets_of(raw, PARAMS, table, None, "rec") == [1.5, 4.5]
    windows = onsets_of(raw, PARAMS, None, 0.2, "rec")
    assert np.diff(windows) == pytest.approx(0.2)
    assert windows[0] == pytest.approx(0.1)
    assert windows[-1] + 0.7 < 60
    kept = clean(raw.set_annotations(None), windows, PARAMS, CHANNELS, SFREQ_HZ, "refuse", "rec")
    assert "outside the recording" not in kept.reject_reasons


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: raw_of(), "there are none. Name a table with --events"),
        (
            lambda: raw_of(0.5),
            "must last 0.8 s at least, the window of the encoder; it lasts 0.5 s",
        ),
    ],
)
def test_a_recording_without_events_or_too_short_is_refused(make, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        onsets_of(make(), PARAMS, None, None, "rec")


def test_events_outside_the_recording_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "events.tsv"
    table.write_text("onset\n2000\n1\n")
    with pytest.raises(RecordingError, match="1 lie outside its 60 s"):
        onsets_of(raw_of(), PARAMS, table, None, "rec")


@pytest.mark.parametrize("name", ["a_eeg.fif", "a-epo.fif", "a.edf", "a.xyz"])
def test_a_file_that_is_no_recording_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(RecordingError, match="must exist; it does not"):
        open_recording(path)
    path.write_bytes(b"no recording at all")
    with pytest.raises(
        RecordingError, match=r"must be a recording that MNE reads; it cannot \("
    ) as error:
        open_recording(path)
    assert "\n" not in str(error.value)
