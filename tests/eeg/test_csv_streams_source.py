"""Timestamped CSV files with markers: a small study, and the Muse recordings of cats and dogs."""

import zlib
from collections import Counter
from pathlib import Path

import mne
import numpy as np
import pytest

from tasks.eeg.cleaning import clean_recording
from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.csv_streams import CsvStreamsParams, CsvStreamsSource
from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.registry import open_source, parse_params
from tasks.preprocess import PreprocessParams
from tests.conftest import preset
from tests.eeg.stages import rows, run_ingest, run_preprocess
from tests.eeg.studies import make_params, save_picture
from tests.published_layouts import save_csv_run

PRESET = preset("muse_cats_dogs")
SOURCE = PRESET["ingest"]["source"]
N_SAMPLES = 2560
MARKED = {300: 1, 600: 2, 601: 2, 900: 1}  # the second lasts two samples


def write_run(path: Path, times_s: np.ndarray | None = None, marked: dict = MARKED) -> None:
    seed = zlib.crc32(path.name.encode())
    signal = np.random.default_rng(seed).normal(size=(N_SAMPLES, 5)) * 10
    save_csv_run(path, signal, marked, times_s)


def opened(folder: Path, **changes: object) -> CsvStreamsSource:
    return CsvStreamsSource(folder, CsvStreamsParams.model_validate(SOURCE | changes))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name in ("subject1/session1/data_b.csv", "subject1/session1/data_a.csv"):
        write_run(tmp_path / name)
    write_run(tmp_path / "subject2" / "session3" / "data_a.csv")
    (tmp_path / "subject1" / "notes.txt").write_text("none\n")
    return tmp_path


def test_recordings_events_and_stimuli_are_listed(study: Path) -> None:
    source = opened(study)
    recordings = source.recordings()
    assert [r.recording_id for r in recordings] == [
        "sub-01_ses-01_run-01",
        "sub-01_ses-01_run-02",
        "sub-02_ses-03_run-01",
    ]
    assert recordings[0].path.name == "data_a.csv"
    events = source.events(recordings[0])
    assert [(e.presentation_order, e.onset_s, e.stimulus_id) for e in events] == [
        (0, 300 / 256, "dog"),
        (1, 600 / 256, "cat"),
        (2, 900 / 256, "dog"),
    ]
    assert [s.concept for s in source.stimuli()] == ["dog", "cat"]
    assert source.official_split() is source.oracle() is source.topographies() is None


def test_the_signal_is_in_volt_at_known_places(study: Path) -> None:
    source = opened(study)
    raw = source.read(source.recordings()[0])
    assert raw.ch_names == ["TP9", "AF7", "AF8", "TP10"]
    assert (raw.info["sfreq"], raw.n_times) == (256, N_SAMPLES)
    assert raw.get_data().std() == pytest.approx(10e-6, rel=0.05)
    assert all(np.linalg.norm(c["loc"][:3]) > 0.05 for c in raw.info["chs"])
    nanovolt = opened(study, unit_scale_uv=1e-3)
    assert np.allclose(nanovolt.read(source.recordings()[0]).get_data() * 1e3, raw.get_data())


def test_params_survive_the_table_of_recordings(study: Path) -> None:
    params = CsvStreamsParams.model_validate(SOURCE)
    assert parse_params(params.model_dump_json()) == params
    (study / params.folder).mkdir()
    assert isinstance(open_source(params, study), CsvStreamsSource)


def test_the_study_is_ingested_and_preprocessed(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "raw"
    for run in ("a", "b"):
        write_run(raw / "study" / "subject1" / "session1" / f"data_{run}.csv")
    for photograph in ("nontarget-280332_640.jpg", "target-360807_640.jpg"):
        path = raw / "study" / "images" / photograph
        path.parent.mkdir(exist_ok=True)
        save_picture(path)
    artifacts = run_ingest(raw, SOURCE | {"folder": "study"})
    assert {r["n_channels"] for r in rows(artifacts, "recordings")} == {4}
    split = PRESET["preprocess"]["split"] | {"n_chunks": 3, "test_chunk": 2, "validation_chunk": 1}
    run_preprocess(artifacts, PRESET["preprocess"] | {"split": split | {"guard_s": 0.0}})
    trials = rows(artifacts, "trials")
    assert [(t["stimulus_id"], t["split"], t["kept"]) for t in trials] == [
        ("dog", "train", True),
        ("cat", "validation", True),
        ("dog", "test", True),
    ] * 2
    eeg, info = read_epochs(artifacts.epochs, [t["trial_id"] for t in trials])
    assert eeg.shape == (6, 4, 90)
    assert info.filters == "zero-phase IIR: notch 50 Hz, high-pass 1 Hz, low-pass 30 Hz"


def test_a_gap_is_refused(study: Path) -> None:
    times_s = 1e9 + np.arange(N_SAMPLES) / 256
    times_s[1000:] += 0.2
    write_run(study / "subject1" / "session1" / "data_a.csv", times_s)
    source = opened(study)
    with pytest.raises(
        SourceError, match=r"must rise by at most 0\.02 s; 0 step back, .* and 1 rise"
    ):
        source.read(source.recordings()[0])
    loose = opened(study, max_gap_s=1.0)
    with pytest.raises(SourceError, match=r"of a grid of 256 Hz; they stray by 0\.2"):
        loose.read(source.recordings()[0])
    assert opened(study, max_gap_s=1.0, max_drift_s=1.0).read(source.recordings()[0])


TIMES_S = 1e9 + np.arange(N_SAMPLES) / 256
CLOCK_SET_BACK = TIMES_S - 0.3 * (np.arange(N_SAMPLES) > 1500)


def written(
    folder: Path, order: np.ndarray, times_s: np.ndarray = TIMES_S
) -> tuple[Path, np.ndarray]:
    """Write the samples of a sine in another order, and return the sine."""
    signal = np.sin(2 * np.pi * 3 * np.arange(N_SAMPLES) / 256)
    path = folder / "subject1" / "session1" / "data_a.csv"
    marked = {place: MARKED[i] for place, i in enumerate(order) if i in MARKED}
    save_csv_run(path, 20 * np.tile(signal, (5, 1)).T[order], marked, times_s[order], n_decimals=6)
    return path, signal


def found(folder: Path, timestamps: str) -> tuple[list[tuple[float, str]], np.ndarray]:
    source = opened(folder, timestamps=timestamps)
    (recording,) = source.recordings()
    onsets = [(round(e.onset_s * 256), e.stimulus_id) for e in source.events(recording)]
    return onsets, source.read(recording).get_data()[0] / 20e-6


EVENTS = [(300, "dog"), (600, "cat"), (900, "dog")]
SWAPPED = np.r_[
    0:1200, 1250:1260, 1200:1250, 1260:N_SAMPLES
]  # a packet comes before the one before it
TWICE = np.r_[0:1250, 1200:N_SAMPLES]  # a packet is sent again


@pytest.mark.parametrize(
    ("order", "timestamps", "counts"),
    [
        (
            SWAPPED,
            "sort",
            "1 of 2560 timestamps step back, 2 steps exceed 0.02 s, 0 lines were merged",
        ),
        (
            SWAPPED,
            "resample",
            "1 of 2560 timestamps step back, 2 steps exceed 0.02 s, 0 lines were merged",
        ),
        (
            TWICE,
            "merge",
            "1 of 2610 timestamps step back, 0 steps exceed 0.02 s, 50 lines were merged",
        ),
        (
            TWICE,
            "resample",
            "1 of 2610 timestamps step back, 0 steps exceed 0.02 s, 50 lines were merged",
        ),
    ],
)
def test_lines_out_of_order_or_twice_are_put_right_and_counted(
    tmp_path: Path, caplog, order: np.ndarray, timestamps: str, counts: str
) -> None:
    path, sine = written(tmp_path, order)
    onsets, signal = found(tmp_path, timestamps)
    assert onsets == EVENTS
    assert np.allclose(signal, sine, atol=1e-3)
    assert (
        f"{path}: ingest.source.timestamps is {timestamps}; {counts}, and the timestamps"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("order", "times_s", "n_back"),
    [(SWAPPED, TIMES_S, 1), (TWICE, TIMES_S, 1), (None, CLOCK_SET_BACK, 1)],
)
def test_steps_back_are_refused_with_what_helps(
    tmp_path: Path, order: np.ndarray | None, times_s: np.ndarray, n_back: int
) -> None:
    written(tmp_path, np.arange(N_SAMPLES) if order is None else order, times_s)
    message = rf"{n_back} step back, .* Set ingest\.source\.timestamps to sort or merge where lines"
    with pytest.raises(SourceError, match=message):
        found(tmp_path, "raise")


def test_a_clock_that_is_set_back_can_be_ignored(tmp_path: Path, caplog) -> None:
    _, sine = written(tmp_path, np.arange(N_SAMPLES), CLOCK_SET_BACK)
    onsets, signal = found(tmp_path, "ignore")
    assert onsets == EVENTS
    assert np.allclose(signal, sine, atol=1e-3)
    assert (
        "1 of 2560 timestamps step back, 0 steps exceed 0.02 s, 0 lines were merged" in caplog.text
    )


def test_trials_over_lines_that_are_missing_are_dropped(tmp_path: Path, caplog) -> None:
    written(tmp_path, np.r_[0:620, 680:N_SAMPLES])
    onsets, signal = found(tmp_path, "resample")
    assert onsets == EVENTS
    assert signal.shape == (N_SAMPLES,)
    source = opened(tmp_path, timestamps="resample")
    (recording,) = source.recordings()
    onsets_s = [e.onset_s for e in source.events(recording)]
    params = PreprocessParams.model_validate(PRESET["preprocess"])
    clean = clean_recording(source.read(recording), onsets_s, params, recording.recording_id)
    assert list(clean.reject_reasons) == ["", "BAD_gap", ""]


def test_columns_of_markers_may_differ_between_files_and_complement_each_other(study: Path) -> None:
    source = opened(study, marker_column=["Marker", "Marker0", "Marker1"])
    first, second, _ = source.recordings()
    first.path.write_text(first.path.read_text().replace("Marker", "Marker0", 1))
    lines = second.path.read_text().splitlines()
    split = [f"{line},{int(i == 700)}" for i, line in enumerate(lines[1:])]
    second.path.write_text("\n".join([f"{lines[0]},Marker1", *split]) + "\n")
    assert [e.stimulus_id for e in source.events(first)] == ["dog", "cat", "dog"]
    assert [e.stimulus_id for e in source.events(second)] == ["dog", "cat", "dog", "dog"]
    both = [f"{line},{2 * int(i == 300)}" for i, line in enumerate(lines[1:])]
    second.path.write_text("\n".join([f"{lines[0]},Marker1", *both]) + "\n")
    with pytest.raises(SourceError, match=r"must have one marker; 1 lines have different ones in"):
        source.events(second)


def test_another_rate_is_refused(study: Path) -> None:
    source = opened(study, sfreq_hz=250.0)
    with pytest.raises(SourceError, match=r"of a grid of 250 Hz; they stray by 0\.2"):
        source.read(source.recordings()[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": "nothing"}, r"must have the groups"),
        (
            {"files": "(?P<subject>x)(?P<session>y)"},
            r"must hold files that match .* none was found",
        ),
    ],
)
def test_files_that_do_not_match_are_refused(study: Path, changes: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        opened(study, **changes).recordings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"montage": "no_such"}, r"must be a montage of MNE .* 'no_such' does not fit"),
        ({"channels": {"TP9": "nowhere"}}, r"must be a montage of MNE .* does not fit"),
        ({"channels": {"TP11": "TP9"}}, r"must be a CSV file with the columns .*TP11"),
    ],
)
def test_channels_that_do_not_fit_are_refused(study: Path, changes: dict, message: str) -> None:
    source = opened(study, **changes)
    with pytest.raises(SourceError, match=message):
        source.read(source.recordings()[0])


def test_an_unknown_marker_is_refused(study: Path) -> None:
    write_run(study / "subject1" / "session1" / "data_a.csv", marked={5: 1, 9: 7})
    source = opened(study)
    with pytest.raises(SourceError, match=r"or listed in ingest\.source\.markers; 7 are not"):
        source.events(source.recordings()[0])


@pytest.mark.parametrize("cut", [20, 1])
def test_a_cut_line_and_text_are_refused(study: Path, cut: int) -> None:
    path = study / "subject1" / "session1" / "data_a.csv"
    text = path.read_text().rstrip()
    path.write_text(text[:-cut] if cut > 1 else text.replace("\n1000000001.000,", "\nx,", 1))
    source = opened(study)
    with pytest.raises(SourceError, match="must hold numbers in whole lines"):
        source.read(source.recordings()[0])


@pytest.fixture(scope="module")
def muse(shared_data: Path) -> CsvStreamsSource:
    folder = shared_data / "muse_cats_dogs"
    if not folder.is_dir():
        pytest.skip(f"no Muse recordings at {folder}")
    return opened(folder)


def test_the_muse_recordings_have_1161_events(muse: CsvStreamsSource) -> None:
    recordings = muse.recordings()
    assert [r.recording_id for r in recordings] == [
        f"sub-01_ses-01_run-{run:02d}" for run in range(1, 7)
    ]
    shown = Counter(e.stimulus_id for r in recordings for e in muse.events(r))
    assert shown == {"dog": 976, "cat": 185}
    assert {muse.read(r).info["sfreq"] for r in recordings} == {256}


def test_1143_muse_epochs_are_kept_by_mne_with_an_iir_filter(muse: CsvStreamsSource) -> None:
    kept: Counter = Counter()
    codes = {"dog": 1, "cat": 2}
    for recording in muse.recordings():
        raw = muse.read(recording).filter(1, 30, method="iir", verbose="ERROR")
        shown = [[round(e.onset_s * 256), 0, codes[e.stimulus_id]] for e in muse.events(recording)]
        epochs = mne.Epochs(
            raw, np.array(shown), codes, -0.1, 0.8, baseline=None, reject={"eeg": 100e-6},
            preload=True, verbose="ERROR",
        )  # fmt: skip
        kept.update({name: len(epochs[name]) for name in codes if name in epochs.event_id})
    assert kept == {"dog": 959, "cat": 184}


@pytest.mark.parametrize(
    ("method", "sfreq_hz", "dogs"),
    [("iir", None, 959), ("iir", 100.0, 959), ("fir", None, 958)],  # a dog at 100 uV
)
def test_muse_epochs_kept_by_preprocess(
    muse: CsvStreamsSource, method: str, sfreq_hz: float | None, dogs: int
) -> None:
    params = make_params(
        mains_hz=60.0,
        filters={"method": method, "high_pass_hz": 1.0, "low_pass_hz": 30.0, "notch_hz": []},
        window={"tmin_s": -0.1, "tmax_s": 0.8, "sfreq_hz": sfreq_hz, "onset_step_s": 1 / 256},
        baseline_s=None,
        reference="recorded",
        bad_channels={"deviation_z": None, "min_correlation": None},
        reject={"peak_to_peak_uv": 100.0},
    )
    assert kept_by(muse, params) == {"dog": dogs, "cat": 184}


def test_the_preset_keeps_1143_muse_epochs(muse: CsvStreamsSource) -> None:
    params = PreprocessParams.model_validate(PRESET["preprocess"])
    assert kept_by(muse, params) == {"dog": 959, "cat": 184}


def kept_by(muse: CsvStreamsSource, params: PreprocessParams) -> Counter:
    """Return how many epochs of each class are left by our own cleaning."""
    kept: Counter = Counter()
    for recording in muse.recordings():
        events = muse.events(recording)
        onsets_s = [e.onset_s for e in events]
        clean = clean_recording(muse.read(recording), onsets_s, params, recording.recording_id)
        reasons = zip(events, clean.reject_reasons, strict=True)
        kept.update(event.stimulus_id for event, reason in reasons if not reason)
    return kept
