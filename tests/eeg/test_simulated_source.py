"""The layout of the simulated study, and what is said where it is broken."""

from pathlib import Path

import pytest

from tasks.eeg.sources.protocol import Recording, SourceError
from tasks.eeg.sources.registry import open_source
from tasks.eeg.sources.simulated import SimulatedParams, SimulatedSource
from tests.eeg.studies import MiniStudy, write_study

PARAMS = SimulatedParams(name="simulated", folder="simulated")


def opened(study: MiniStudy) -> SimulatedSource:
    return SimulatedSource(study.folder, PARAMS)


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path)


def test_recordings_events_and_stimuli_are_listed(study: MiniStudy) -> None:
    source = opened(study)
    recordings = source.recordings()
    assert [r.recording_id for r in recordings] == ["sub-01_ses-01", "sub-02_ses-01"]
    assert (recordings[1].subject, recordings[1].session) == ("sub-02", "ses-01")
    events = source.events(recordings[0])
    assert [e.presentation_order for e in events] == list(range(study.n_trials))
    assert {e.stimulus_id for e in events} == set(study.concepts)
    assert {s.stimulus_id: s.concept for s in source.stimuli()} == study.concepts
    assert source.read(recordings[0]).info["sfreq"] == 250
    assert source.official_split() is source.oracle() is source.topographies() is None


def test_a_missing_study_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        open_source(PARAMS, tmp_path)
    assert str(error.value) == (
        f"The study folder {tmp_path / 'simulated'} must exist; it does not. "
        "Put the study there (`percept doctor` says what belongs into it), "
        "or run `dvc repro simulate` for the simulated one."
    )


def test_an_empty_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"must hold files named like sub-01_ses-01_eeg\.fif; none"
    ):
        SimulatedSource(tmp_path, PARAMS).recordings()


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.9999])
def test_a_truncated_recording_is_refused(study: MiniStudy, kept: float) -> None:
    path = study.recording_file("sub-01_ses-01")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        SourceError, match=r"must be a whole FIF file; it ends after \d+ bytes without"
    ):
        opened(study).read(Recording("sub-01_ses-01", "sub-01", "ses-01", path))


def test_a_misnamed_recording_is_refused(study: MiniStudy) -> None:
    study.recording_file("sub-01_ses-01").rename(study.folder / "recordings" / "anna_eeg.fif")
    with pytest.raises(
        SourceError, match=r"named like sub-01_ses-01_eeg\.fif; found anna_eeg\.fif"
    ):
        opened(study).recordings()


def test_a_missing_column_is_named(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("onset_s", "onset"))
    source = opened(study)
    with pytest.raises(
        SourceError, match=r"\['onset_s'\] are missing from \['onset', 'duration_s'"
    ):
        source.events(source.recordings()[0])


def test_a_cut_line_is_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text()[:-12])
    source = opened(study)
    with pytest.raises(SourceError, match="must have 6 columns in every line; line 33 has fewer"):
        source.events(source.recordings()[0])


def test_missing_events_are_named(study: MiniStudy) -> None:
    study.events_file("sub-01_ses-01").unlink()
    source = opened(study)
    with pytest.raises(SourceError, match=r"sub-01_ses-01_events\.tsv must exist; it does not"):
        source.events(source.recordings()[0])


def test_text_where_a_number_must_be_is_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("\n4.0\t", "\nfour\t"))
    source = opened(study)
    with pytest.raises(SourceError, match=r"must hold numbers where they are due; .*'four'"):
        source.events(source.recordings()[0])
