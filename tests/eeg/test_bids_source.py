"""EEG-BIDS: a small synthetic study, and the EEGLAB recording with events.tsv or its annotations."""

import zlib
from pathlib import Path

import mne
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mne_bids import BIDSPath, write_raw_bids
from PIL import Image
from scipy.io import savemat

from tasks.eeg.cleaning import clean_recording
from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.bids import BidsParams, BidsSource
from tasks.eeg.sources.protocol import ChannelParams, SourceError
from tasks.eeg.sources.registry import parse_params
from tasks.eeg.sources.truncation import FIF_END
from tasks.eeg.splits import SplitError
from tests.eeg.stages import rows, run_ingest, run_preprocess
from tests.eeg.studies import CHANNELS, make_params, make_raw, make_signal
from tests.published_layouts import save_bids_stimuli

PARAMS = BidsParams(
    name="bids",
    folder="study",
    task="look",
    acquisition=None,
    format=None,
    channels=None,
    stimulus_column="stim_file",
    on_other_event="raise",
    stimuli_table="stimuli.tsv",
    montage=None,
)
EVENTS = """onset\tduration\tstim_file\tresponse
4.5\t0.5\tcup.png\tn/a
2.5\tn/a\tcar.png\tn/a
3.0\tn/a\tn/a\tleft
6.5\t0.5\tcup.png\tn/a
"""
OFF = {"deviation_z": None, "min_correlation": None}


def write_stimuli(folder: Path, names: tuple[str, ...]) -> None:
    (folder / "images").mkdir(parents=True)
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / "images" / f"{Path(name).stem}.png")
    save_bids_stimuli(folder, [stimulus_row(name) for name in names])


def stimulus_row(name: str) -> dict[str, str]:
    stem = Path(name).stem
    return {"stimulus": name, "concept": stem, "image": f"images/{stem}.png"}


def write_recording(path: Path, raw: mne.io.BaseRaw | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = make_raw(make_signal(2500, seed=zlib.crc32(path.name.encode()))) if raw is None else raw
    raw.save(path, overwrite=True, verbose="ERROR")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "raw" / "study"
    write_stimuli(folder, ("cup.png", "car.png"))
    for name in ("sub-01/ses-02/eeg/sub-01_ses-02_task-look_run-2", "sub-02/eeg/sub-02_task-look"):
        write_recording(folder / f"{name}_eeg.fif")
        (folder / f"{name}_events.tsv").write_text(EVENTS)
    write_recording(folder / "sub-02" / "eeg" / "sub-02_task-rest_eeg.fif")
    return folder


def opened(folder: Path, **changes: object) -> BidsSource:
    return BidsSource(folder, PARAMS.model_copy(update=changes))


def test_recordings_events_and_stimuli_are_listed(folder: Path) -> None:
    source = opened(folder)
    recordings = source.recordings()
    assert [(r.recording_id, r.subject, r.session) for r in recordings] == [
        ("sub-01_ses-02_run-2", "sub-01", "ses-02"),
        ("sub-02_ses-01", "sub-02", "ses-01"),
    ]
    events = source.events(recordings[1])
    assert [(e.presentation_order, e.onset_s, e.duration_s, e.stimulus_id) for e in events] == [
        (0, 2.5, 0.0, "car.png"),
        (1, 4.5, 0.5, "cup.png"),
        (2, 6.5, 0.5, "cup.png"),
    ]
    assert [(s.stimulus_id, s.concept) for s in source.stimuli()] == [
        ("cup.png", "cup"),
        ("car.png", "car"),
    ]
    assert source.official_split() is source.oracle() is source.topographies() is None


def test_a_column_of_the_table_of_stimuli_is_the_official_split(folder: Path) -> None:
    parts = {"cup.png": "train", "car.png": "test"}
    save_bids_stimuli(folder, [stimulus_row(name) | {"split": parts[name]} for name in parts])
    assert opened(folder).official_split() == parts
    artifacts = run_ingest(folder.parent, PARAMS.model_dump())
    split = {"strategy": "official", "seed": 0, "validation_fraction": 0.0}
    run_preprocess(artifacts, make_params(bad_channels=OFF).model_dump() | {"split": split})
    found = {(t["stimulus_id"], t["split"]) for t in rows(artifacts, "trials")}
    assert found == {("cup.png", "train"), ("car.png", "zero_shot")}  # no car is trained on
    parts["car.png"] = "n/a"
    save_bids_stimuli(folder, [stimulus_row(name) | {"split": parts[name]} for name in parts])
    assert opened(folder).official_split() == {"cup.png": "train"}
    artifacts = run_ingest(folder.parent, PARAMS.model_dump())
    with pytest.raises(
        SplitError, match=r"have an official split, .* 1 have not: car\.png \(none\)"
    ):
        run_preprocess(artifacts, make_params(bad_channels=OFF).model_dump() | {"split": split})


def test_the_study_is_ingested_and_preprocessed(folder: Path) -> None:
    artifacts = run_ingest(folder.parent, PARAMS.model_dump())
    recordings = rows(artifacts, "recordings")
    assert [r["n_channels"] for r in recordings] == [16, 16]
    assert parse_params(recordings[0]["source"]) == PARAMS
    assert len(rows(artifacts, "events")) == 6
    split = {"strategy": "time_chunk", "n_chunks": 3, "test_chunk": 2, "validation_chunk": 1}
    params = make_params(bad_channels=OFF).model_dump()
    run_preprocess(artifacts, params | {"split": split | {"guard_s": 0.0}})
    trials = rows(artifacts, "trials")
    assert [(t["stimulus_id"], t["concept"], t["split"], t["kept"]) for t in trials[3:]] == [
        ("car.png", "car", "train", True),
        ("cup.png", "cup", "validation", True),
        ("cup.png", "cup", "zero_shot", True),  # no cup is among the training trials
    ]
    eeg, info = read_epochs(artifacts.epochs, [t["trial_id"] for t in trials])
    assert eeg.shape == (6, 16, 80)
    assert info.channels == CHANNELS


def test_annotations_are_events_where_there_is_no_table(folder: Path) -> None:
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_eeg.fif"
    raw = make_raw(make_signal(2500))
    raw.set_annotations(
        mne.Annotations([4.0, 3.0, 5.0], [0.2, 0.3, 0], ["cup.png", "car.png", "?"])
    )
    write_recording(path, raw.crop(tmin=1.0))
    path.with_name("sub-02_task-look_events.tsv").unlink()
    source = opened(folder)
    events = source.events(source.recordings()[1])
    assert [(e.stimulus_id, e.onset_s, e.duration_s) for e in events] == [
        ("car.png", 2.0, pytest.approx(0.3)),
        ("cup.png", 3.0, pytest.approx(0.2)),
    ]


def test_neither_table_nor_annotations_is_refused(folder: Path) -> None:
    (folder / "sub-02" / "eeg" / "sub-02_task-look_events.tsv").unlink()
    source = opened(folder)
    with pytest.raises(SourceError, match=r"must have sub-02_task-look_events\.tsv beside it, or"):
        source.events(source.recordings()[1])


def test_channel_types_come_from_their_table(folder: Path) -> None:
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_channels.tsv"
    rows = [f"{name}\t{'VEOG' if name == 'Fp1' else 'EEG'}\tuV" for name in CHANNELS]
    path.write_text("\n".join(["name\ttype\tunits", *rows]) + "\n")
    source = opened(folder)
    types = source.read(source.recordings()[1]).get_channel_types()
    assert types == ["eog"] + ["eeg"] * 15
    path.write_text("\n".join(["name\ttype\tunits", *rows[2:]]) + "\n")
    with pytest.raises(SourceError, match=r"must list every channel .*; 2 are missing: Fp1, Fp2"):
        source.read(source.recordings()[1])


def test_a_montage_fills_in_missing_positions(folder: Path) -> None:
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_eeg.fif"
    write_recording(path, make_raw(make_signal(2500)).set_montage(None))
    bare, placed = opened(folder), opened(folder, montage="colin27_1005")
    recording = bare.recordings()[1]
    assert bare.read(recording).get_montage() is None
    assert set(placed.read(recording).get_montage().ch_names) == set(CHANNELS)
    with pytest.raises(
        SourceError, match=r"must be a montage of MNE .* 'GSN-HydroCel-32' does not fit"
    ):
        opened(folder, montage="GSN-HydroCel-32").read(recording)


def test_two_tasks_need_a_choice(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"must name one task; .* holds \['look', 'rest'\]"):
        opened(folder, task=None).recordings()
    with pytest.raises(SourceError, match=r"named like sub-01/eeg/sub-01_task-no_eeg\.vhdr"):
        opened(folder, task="no").recordings()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stim_file", "trial_type", r"\['stim_file'\] are missing from \['onset', 'duration'"),
        ("4.5\t", "four\t", r"must hold numbers where they are due; .*'four'"),
        ("6.5\t0.5\tcup.png\tn/a\n", "6.5\t0.5", r"4 columns in every line; line 5 has fewer"),
    ],
)
def test_broken_events_are_refused(folder: Path, old: str, new: str, message: str) -> None:
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_events.tsv"
    path.write_text(EVENTS.replace(old, new))
    source = opened(folder)
    with pytest.raises(SourceError, match=message):
        source.events(source.recordings()[1])


def test_a_missing_table_of_stimuli_is_named(folder: Path) -> None:
    (folder / "stimuli.tsv").unlink()
    with pytest.raises(SourceError, match=r"stimuli\.tsv must exist; it does not"):
        opened(folder).stimuli()


def write_brainvision(stem: Path) -> None:
    """Write the three files of the format by hand: MNE writes it only with another package."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    signal = make_signal(2500).astype("<f4")
    stem.with_suffix(".eeg").write_bytes(signal.T.tobytes())
    channels = "\n".join(f"Ch{n}={name},,1,µV" for n, name in enumerate(CHANNELS, start=1))
    stem.with_suffix(".vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem.name}.eeg\nMarkerFile={stem.name}.vmrk\nDataFormat=BINARY\n"
        f"DataOrientation=MULTIPLEXED\nNumberOfChannels={len(CHANNELS)}\nSamplingInterval=4000\n\n"
        f"[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n{channels}\n"
    )
    stem.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={stem.name}.eeg\n\n[Marker Infos]\nMk1=Stimulus,S  1,751,1,0\n"
    )


def test_brainvision_with_a_montage_and_its_markers(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_stimuli(folder, ("Stimulus/S  1",))
    write_brainvision(folder / "sub-01" / "eeg" / "sub-01_task-look_eeg")
    source = opened(folder, montage="colin27_1005")
    (recording,) = source.recordings()
    raw = source.read(recording)
    assert np.allclose(raw.get_data() * 1e6, make_signal(2500), atol=1e-3)
    assert set(raw.get_montage().ch_names) == set(CHANNELS)
    (event,) = source.events(recording)
    assert (event.onset_s, event.stimulus_id) == (3.0, "Stimulus/S  1")


@pytest.fixture
def eeglab(tmp_path: Path, shared_data: Path) -> Path:
    """Link the EEGLAB recording into a BIDS study, under names of BIDS."""
    origin = shared_data / "eeglab"
    if not origin.is_dir():
        pytest.skip(f"no EEGLAB recording at {origin}")
    folder = tmp_path / "eeglab"
    write_stimuli(folder, ("square",))
    eeg = folder / "sub-01" / "ses-01" / "eeg"
    eeg.mkdir(parents=True)
    for suffix in ("set", "fdt"):
        link = eeg / f"sub-01_ses-01_task-look_eeg.{suffix}"
        link.symlink_to(origin / f"eeglab_data.{suffix}")
    return folder


@pytest.mark.parametrize("table", [True, False])
def test_the_eeglab_recording_gives_80_epochs(eeglab: Path, table: bool) -> None:
    source = opened(eeglab, stimulus_column="trial_type")
    (recording,) = source.recordings()
    raw = source.read(recording)
    if table:
        lines = ["onset\tduration\ttrial_type"] + [
            f"{a['onset']}\t{a['duration']}\t{'n/a' if a['description'] == 'rt' else 'square'}"
            for a in raw.annotations
        ]
        path = recording.path.with_name("sub-01_ses-01_task-look_events.tsv")
        path.write_text("\n".join(lines) + "\n")
    events = source.events(recording)
    assert recording.recording_id == "sub-01_ses-01"
    assert len(events) == 80
    samples = [[round(e.onset_s * 128), 0, 1] for e in events]
    epochs = mne.Epochs(
        raw, np.array(samples), tmin=-0.1, tmax=0.5, baseline=None, preload=True, verbose="ERROR"
    )
    assert epochs.get_data().shape == (80, 32, 78)
    params = make_params(
        filters={"high_pass_hz": 1.0, "low_pass_hz": 30.0, "notch_hz": []},
        window={"tmin_s": -0.1, "tmax_s": 0.5, "sfreq_hz": 128.0, "onset_step_s": 1 / 128},
        bad_channels=OFF,
        reject={"peak_to_peak_uv": None},
    )
    onsets_s = [e.onset_s for e in events]
    clean = clean_recording(raw, onsets_s, params, recording.recording_id)
    assert clean.eeg.shape == (80, 32, 77)  # the last sample of the window is exclusive


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("BrainVision", ".vhdr"), ("EDF", ".edf"), ("BDF", ".bdf")],
)
def test_every_format_of_bids_comes_with_types_positions_and_bad_channels(
    tmp_path: Path, format: str, suffix: str
) -> None:
    signal = make_signal(2500)
    raw = make_raw(signal)
    raw.set_channel_types({"Fp1": "eog"}, on_unit_change="ignore", verbose="ERROR")
    raw.info["bads"] = ["O1"]
    raw.info["line_freq"] = 50
    raw.set_annotations(mne.Annotations([3.0, 5.0], [0.5, 0.5], ["cup", "car"]))
    folder = tmp_path / "study"
    write_stimuli(folder, ("cup", "car"))
    path = BIDSPath(subject="01", session="01", task="look", datatype="eeg", root=folder)
    write_raw_bids(raw, path, format=format, allow_preload=True, overwrite=True, verbose="ERROR")
    source = opened(folder, stimulus_column="trial_type")
    (recording,) = source.recordings()
    assert recording.path.suffix == suffix
    assert [(e.onset_s, e.stimulus_id) for e in source.events(recording)] == [
        (3.0, "cup"),
        (5.0, "car"),
    ]
    found = source.read(recording)
    assert found.get_channel_types() == ["eog"] + ["eeg"] * 15
    assert found.info["bads"] == ["O1"]
    placed = found.get_montage().get_positions()["ch_pos"]
    assert set(CHANNELS[1:]) <= set(placed)
    assert np.abs(found.get_data() * 1e6 - signal).max() < 0.1  # of 24 or 16 bits
    onsets_s = [e.onset_s for e in source.events(recording)]
    clean = clean_recording(found, onsets_s, make_params(bad_channels=OFF), "sub-01_ses-01")
    assert clean.bad_channels == {"O1": "marked as bad"}
    assert clean.info.channels == CHANNELS[1:]


def test_tables_further_up_hold_for_all_recordings_below(folder: Path) -> None:
    beside = folder / "sub-02" / "eeg" / "sub-02_task-look_events.tsv"
    beside.rename(folder / "task-look_events.tsv")
    names = [f"{name}\t{'VEOG' if name == 'Fp1' else 'EEG'}\tuV" for name in CHANNELS]
    (folder / "task-look_channels.tsv").write_text("\n".join(["name\ttype\tunits", *names]) + "\n")
    source = opened(folder)
    for recording in source.recordings():
        assert len(source.events(recording)) == 3
        assert source.read(recording).get_channel_types() == ["eog"] + ["eeg"] * 15


def test_recordings_of_nobody_are_refused(folder: Path) -> None:
    path = folder / "participants.tsv"
    path.write_text("participant_id\tage\nsub-01\t30\n")
    with pytest.raises(SourceError) as error:
        opened(folder).recordings()
    assert str(error.value) == (
        f"{path} must list every subject with a recording; 1 are missing: sub-02. Add them, or take "
        "their recordings away."
    )


def test_a_recording_that_cannot_be_read_is_named(folder: Path) -> None:
    path = folder / "sub-02" / "eeg" / "sub-02_task-look_eeg.fif"
    path.write_bytes(b"not a recording at all" + FIF_END)
    source = opened(folder)
    with pytest.raises(SourceError) as error:
        source.read(source.recordings()[1])
    assert str(error.value).startswith(
        f"{path} must be whole, with tables of its very channels and events; mne-bids cannot read it ("
    )


CELLS = [*"\t\n\"'\x00", "inf", "nan", "n/a", "1e400", "-", "cup.png", " "]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(CELLS)))
def test_whatever_an_events_table_holds_it_is_read_or_refused_in_a_sentence(
    folder: Path, cells: list[str]
) -> None:
    source = opened(folder)
    recording = source.recordings()[1]
    table = "onset\tduration\tstim_file\n2.5\t0.5\tcup.png\n" + "".join(cells)
    path = recording.path.with_name(recording.path.name.replace("_eeg.fif", "_events.tsv"))
    path.write_text(table, newline="")
    try:
        source.read(recording)
        source.events(recording)
    except SourceError as error:
        assert str(error).count("\n") == 0  # noqa: PT017  (it may be read, too)


LOOK = "sub-02/eeg/sub-02_task-look"


def test_a_header_whose_samples_were_not_fetched_is_refused_or_left_out(
    folder: Path, tmp_path: Path
) -> None:
    path = BIDSPath(subject="03", task="look", datatype="eeg", root=folder)
    raw = make_raw(make_signal(2500, seed=3))
    raw.info["line_freq"] = 50
    write_raw_bids(raw, path, format="BrainVision", allow_preload=True, verbose="ERROR")
    (folder / "participants.tsv").unlink()
    (folder / "sub-03" / "eeg" / "sub-03_task-look_events.tsv").write_text(EVENTS)
    assert len(rows(run_ingest(folder.parent, PARAMS.model_dump()), "recordings")) == 3
    samples = folder / "sub-03" / "eeg" / "sub-03_task-look_eeg.eeg"
    samples.unlink()
    samples.symlink_to("../../.git/annex/objects/gone")
    with pytest.raises(
        SourceError, match=r"1 are missing: \S+/sub-03_task-look_eeg\.eeg\. Fetch them"
    ):
        run_ingest(folder.parent, PARAMS.model_dump())
    artifacts = run_ingest(folder.parent, PARAMS.model_dump(), on_missing_recording="drop")
    assert len(rows(artifacts, "recordings")) == 2


def test_a_recording_that_a_table_of_scans_lists_must_be_there(folder: Path) -> None:
    table = folder / "sub-02" / "sub-02_scans.tsv"
    names = (
        "eeg/sub-02_task-look_eeg.fif",
        "eeg/sub-02_task-look_run-2_eeg.fif",
        "eeg/sub-02_task-rest_eeg.fif",
    )
    (folder / f"{LOOK.replace('look', 'rest')}_eeg.fif").unlink()  # of another task
    table.write_text("\n".join(["filename", *names]) + "\n")
    message = r"1 are missing: \S+/sub-02_task-look_run-2_eeg\.fif\."
    with pytest.raises(SourceError, match=message):
        run_ingest(folder.parent, PARAMS.model_dump())


def test_subjects_without_a_recording_are_said(folder: Path, caplog) -> None:
    (folder / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-07\n")
    opened(folder).recordings()
    assert "lists 1 subjects without a recording of the task: sub-07" in caplog.text


def test_derivatives_of_the_same_name_are_no_recordings(folder: Path) -> None:
    write_recording(folder / "derivatives" / "cleaned" / f"{LOOK}_eeg.fif")
    write_recording(folder / "sourcedata" / f"{LOOK}_eeg.fif")
    assert [r.path.relative_to(folder).parts[0] for r in opened(folder).recordings()] == [
        "sub-01",
        "sub-02",
    ]


def test_one_of_two_acquisitions_is_chosen(folder: Path) -> None:
    acquired = "sub-02/eeg/sub-02_task-look_acq-{}_eeg.fif"
    (folder / f"{LOOK}_eeg.fif").rename(folder / acquired.format("wet"))
    write_recording(folder / acquired.format("dry"))
    with pytest.raises(
        SourceError, match=r"sub-02_ses-01 must be one file; \S+acq-dry\S+ and \S+acq-wet"
    ):
        opened(folder).recordings()
    (recording,) = opened(folder, acquisition="wet").recordings()
    assert recording.path.name == Path(acquired.format("wet")).name


def test_one_of_two_formats_is_chosen(folder: Path) -> None:
    mne.export.export_raw(folder / f"{LOOK}_eeg.edf", make_raw(make_signal(2500)), verbose="ERROR")
    with pytest.raises(
        SourceError, match=r"must be one file; .* Choose by ingest\.source\.acquisition or format"
    ):
        opened(folder).recordings()
    assert [r.path.suffix for r in opened(folder, format="fif").recordings()] == [".fif", ".fif"]
    assert [r.path.suffix for r in opened(folder, format="edf").recordings()] == [".edf"]


def test_a_fif_recording_in_parts_is_one(folder: Path) -> None:
    path = folder / f"{LOOK}_eeg.fif"
    path.unlink()
    raw = make_raw(make_signal(60_000))
    raw.save(path, split_size="2MB", split_naming="bids", verbose="ERROR")
    parts = sorted(folder.glob(f"{LOOK}_split-*_eeg.fif"))
    assert len(parts) > 1
    source = opened(folder)
    recording = source.recordings()[1]
    assert recording.path == parts[0]
    assert source.read(recording).n_times == 60_000
    assert len(source.events(recording)) == 3
    artifacts = run_ingest(folder.parent, PARAMS.model_dump())
    assert rows(artifacts, "recordings")[1]["duration_s"] == 240


def test_a_set_file_that_holds_epochs_is_refused_with_what_helps(folder: Path) -> None:
    eeg = np.stack([make_signal(250, seed=seed) for seed in range(3)], axis=2)
    places = np.array([(name,) for name in CHANNELS], dtype=[("labels", object)])
    content = {"nbchan": 16, "pnts": 250, "trials": 3, "srate": 250.0, "xmin": 0.0, "xmax": 0.996}
    content |= {"data": eeg, "chanlocs": places, "event": [], "epoch": [], "icawinv": []}
    (folder / f"{LOOK}_eeg.fif").unlink()
    savemat(folder / f"{LOOK}_eeg.set", {"EEG": content})
    source = opened(folder)
    with pytest.raises(
        SourceError, match=r"must be continuous; it holds epochs\. .* use the source epochs"
    ):
        source.read(source.recordings()[1])


def test_events_that_show_none_of_the_stimuli_are_refused_or_skipped(folder: Path, caplog) -> None:
    """mne-bids writes every annotation into its column trial_type: fixations, blinks and answers, too."""
    raw = make_raw(make_signal(25_000))
    raw.info["line_freq"] = 50
    names = ["cup.png", "fixation", "car.png", "BAD_blink", "cup.png"]
    raw.set_annotations(mne.Annotations([5, 10, 20, 30, 31], [0.5] * 5, names))
    path = BIDSPath(subject="02", task="look", datatype="eeg", root=folder)
    (folder / f"{LOOK}_eeg.fif").unlink()
    (folder / f"{LOOK}_events.tsv").unlink()
    write_raw_bids(raw, path, format="EDF", allow_preload=True, verbose="ERROR")
    section = PARAMS.model_dump() | {"stimulus_column": "trial_type", "format": "edf"}
    with pytest.raises(
        SourceError, match=r"listed among the stimuli; 2 are missing: BAD_blink, fixation"
    ):
        run_ingest(folder.parent, section)
    artifacts = run_ingest(folder.parent, section | {"on_other_event": "skip"})
    assert [e["stimulus_id"] for e in rows(artifacts, "events")] == [
        "cup.png",
        "car.png",
        "cup.png",
    ]
    assert "sub-02_ses-01: 2 events are skipped, for stimuli.tsv does not list" in caplog.text


def test_channels_that_differ_in_names_and_order_are_mapped(folder: Path) -> None:
    raw = make_raw(make_signal(2500, seed=9))
    raw.rename_channels({"Oz": "EEG Oz-Ref", "Fp1": "FP1"}).reorder_channels(raw.ch_names[::-1])
    write_recording(folder / f"{LOOK}_eeg.fif", raw)
    with pytest.raises(
        SourceError, match=r"same channels in one order; .* by ingest\.source\.channels"
    ):
        run_ingest(folder.parent, PARAMS.model_dump())
    mapping = {"rename": {"EEG Oz-Ref": "Oz", "FP1": "Fp1"}, "order": ["Fp1", "Oz", "Cz"]}
    section = PARAMS.model_dump() | {"channels": mapping}
    artifacts = run_ingest(folder.parent, section)
    assert {r["n_channels"] for r in rows(artifacts, "recordings")} == {3}
    source = opened(folder, channels=ChannelParams.model_validate(mapping))
    found = source.read(source.recordings()[1])
    assert found.ch_names == ["Fp1", "Oz", "Cz"]
    np.testing.assert_allclose(found.get_data()[1], raw.get_data(["EEG Oz-Ref"])[0], atol=1e-9)
    mapping["order"] = ["Fp1", "Nz"]
    with pytest.raises(
        SourceError, match=r"must have every channel of ingest\.source\.channels, .* has Fp1, "
    ):
        run_ingest(folder.parent, section | {"channels": mapping})
