"""What is fitted is fitted on training trials alone, and mends what was planted."""

import numpy as np
import pytest

from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.quality import QualityError
from tasks.eeg.rows import quality_row
from tests.eeg.studies import CHANNELS, make_params, make_raw, make_signal

N_SAMPLES = 60 * 250
ONSETS_S = [5 + 0.75 * i for i in range(60)]
TRAINING = [i % 3 > 0 for i in range(60)]
LOOSE = {"deviation_z": None, "min_correlation": None}
ICA = {
    "n_components": 8,
    "method": "infomax",
    "ocular_channels": ["Fp1"],
    "min_correlation": 0.7,
    "seed": 0,
}
AUTOREJECT = {"n_interpolate": [1, 2], "consensus": [0.2, 0.4], "folds": 3, "seed": 0}


def clean(
    signal: np.ndarray, training: list[bool] | None = TRAINING, **changes: object
) -> CleanRecording:
    return clean_recording(make_raw(signal), ONSETS_S, make_params(**changes), "a", training)


def complaint(**changes: object) -> str:
    training = changes.pop("training", TRAINING)
    with pytest.raises(QualityError) as error:
        clean(make_signal(N_SAMPLES), training, **changes)  # type: ignore[arg-type]
    return str(error.value)


def samples_of(trial: int) -> slice:
    return slice(round((ONSETS_S[trial] - 0.1) * 250), round((ONSETS_S[trial] + 0.7) * 250))


def test_a_linear_trend_goes_and_a_constant_one_keeps_its_slope() -> None:
    signal = make_signal(N_SAMPLES)
    signal[3] += np.linspace(0, 6000, N_SAMPLES)
    changes = {"filters": {"high_pass_hz": None}, "reference": "recorded", "bad_channels": LOOSE}
    changes |= {"baseline_s": None, "reject": {"peak_to_peak_uv": None}}
    slopes = {
        how: np.polyfit(range(80), clean(signal, detrend=how, **changes).eeg[:, 3].mean(0), 1)[0]
        for how in (None, "constant", "linear")
    }
    assert slopes["constant"] == pytest.approx(1, abs=0.1)  # 100 uV in a second, 100 samples
    assert slopes[None] == pytest.approx(1, abs=0.1)
    assert slopes["linear"] == pytest.approx(0, abs=1e-4)


def test_pyprep_finds_a_noisy_channel_and_says_why() -> None:
    signal = make_signal(N_SAMPLES)
    signal[5] += 200 * np.random.default_rng(0).normal(size=N_SAMPLES)
    pyprep = LOOSE | {"pyprep": {"ransac": False, "seed": 0}}
    found = clean(signal, bad_channels=pyprep)
    assert list(found.bad_channels) == ["C4"]
    assert found.bad_channels["C4"].startswith("pyprep: ")
    row = quality_row("a", found)
    assert (row["bad_channels"], row["bad_channel_reasons"]) == ("C4", found.bad_channels["C4"])


def blinking(seed: int = 1) -> np.ndarray:
    signal, rng = make_signal(N_SAMPLES), np.random.default_rng(seed)
    times_s = np.arange(N_SAMPLES) / 250
    weights = np.array(
        [1, 0.9, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.2, 0.1, 0.1]
    )
    for at_s in rng.uniform(4, 52, 40):
        signal += 150 * weights[:, None] * np.exp(-0.5 * ((times_s - at_s) / 0.08) ** 2)
    return signal


def test_ica_takes_blinks_out_and_leaves_the_rest() -> None:
    changes = {"filters": {"high_pass_hz": 1.0}, "reference": "recorded", "bad_channels": LOOSE}
    changes |= {"baseline_s": None, "reject": {"peak_to_peak_uv": None}}
    with_blinks = clean(blinking(), **changes)
    without = clean(make_signal(N_SAMPLES), **changes)
    cleaned = clean(blinking(), ica=ICA, **changes)
    assert cleaned.n_ica_removed >= 1
    blinks = with_blinks.eeg[:, 0] - without.eeg[:, 0]
    left = np.sum((cleaned.eeg[:, 0] - without.eeg[:, 0]) * blinks) / np.sum(blinks**2)
    assert left < 0.1
    back = np.corrcoef(cleaned.eeg[:, 9].ravel(), without.eeg[:, 9].ravel())[0, 1]
    assert back > 0.8  # O2 keeps its signal


def test_autoreject_mends_a_channel_in_one_trial_and_drops_a_bad_one() -> None:
    signal = make_signal(N_SAMPLES)
    burst = 400 * np.sin(np.arange(100)[None] / np.arange(3, 15)[:, None]) * np.hanning(100)
    signal[9, samples_of(7)][50:150] += burst[0]
    signal[:12, samples_of(20)][:, 50:150] += burst
    changes = {"reject": {"peak_to_peak_uv": None, "autoreject": AUTOREJECT}, "bad_channels": LOOSE}
    changes |= {"reference": "recorded", "window": {"tmax_s": 0.6}}
    found = clean(signal, **changes)
    assert found.reject_reasons[20].startswith("autoreject: ")
    assert found.reject_reasons[7] == ""
    kept = [i for i, reason in enumerate(found.reject_reasons) if not reason]
    assert np.ptp(found.eeg[kept.index(7), 9]) < 200
    n_dropped = sum(map(bool, found.reject_reasons))
    assert quality_row("a", found)["rejections"] == f"{n_dropped} autoreject"
    assert n_dropped < 10


@pytest.mark.parametrize(
    "changes",
    [
        {"reject": {"peak_to_peak_uv": None, "autoreject": AUTOREJECT}},
        {"ica": ICA, "filters": {"high_pass_hz": 1.0}, "reject": {"peak_to_peak_uv": None}},
    ],
    ids=["autoreject", "ica"],
)
def test_held_out_trials_have_no_say_in_how_training_trials_are_cleaned(
    changes: dict[str, object],
) -> None:
    changes |= {"bad_channels": LOOSE, "filters": {"high_pass_hz": None, "low_pass_hz": None}}
    changes["filters"] = {"high_pass_hz": 1.0, "low_pass_hz": 40.0, "notch_hz": []}
    changes |= {"resample": "epochs", "window": {"onset_step_s": 0.004}}
    early = [i < 40 for i in range(60)]
    signal, other = blinking(), blinking()
    other[:, samples_of(50).start :] *= 3
    rows = slice(0, 30)
    one, two = clean(signal, early, **changes), clean(other, early, **changes)
    assert one.reject_reasons[:30] == two.reject_reasons[:30]
    n_kept = sum(not reason for reason in one.reject_reasons[rows])
    difference = np.abs(one.eeg[:n_kept] - two.eeg[:n_kept]).max()
    assert difference < 0.01 * one.eeg[:n_kept].std()


def test_ica_wants_a_high_pass_training_trials_and_channels_near_the_eyes() -> None:
    assert complaint(ica=ICA) == (
        "ICA needs recordings without drift: preprocess.filters.high_pass_hz must be at least 1 Hz; "
        "it is 0.5. Raise it, or set preprocess.ica to null."
    )
    high_pass = {"high_pass_hz": 1.0}
    assert complaint(ica=ICA | {"ocular_channels": ["VEOG"]}, filters=high_pass) == (
        "preprocess.ica.ocular_channels must be good EEG channels; VEOG are not. Name others."
    )
    assert complaint(ica=ICA, filters=high_pass, training=None) == (
        "preprocess.ica is fitted on training trials and needs 2 in each recording; one has 0. Set it "
        "to null, or change preprocess.split."
    )


def test_autoreject_wants_a_training_trial_for_each_fold() -> None:
    few = [i < 2 for i in range(60)]
    assert complaint(reject={"autoreject": AUTOREJECT}, training=few) == (
        "preprocess.reject.autoreject is fitted on training trials and needs 3 in each recording; one "
        "has 2. Set it to null, or change preprocess.split."
    )


def test_the_channels_are_those_of_the_recording() -> None:
    assert clean(make_signal(N_SAMPLES)).info.channels == CHANNELS


def test_a_decomposition_that_does_not_converge_is_refused() -> None:
    ica = ICA | {"method": "fastica"}
    assert complaint(ica=ica, filters={"high_pass_hz": 1.0}) == (
        "ICA must converge; with fastica and 8 components it does not in 1000 steps. Lower "
        "preprocess.ica.n_components, or take the method infomax."
    )
