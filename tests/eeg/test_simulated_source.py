"""The layout of the simulated study, and what is said where it is broken."""

from pathlib import Path

import pytest

from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.registry import open_source
from tests.eeg.studies import MiniStudy, write_study


@pytest.fixture
def study(tmp_path: Path) -> MiniStudy:
    return write_study(tmp_path)


def test_recordings_events_and_stimuli_are_listed(study: MiniStudy) -> None:
    source = open_source("simulated", study.folder)
    recordings = source.recordings()
    assert [r.recording_id for r in recordings] == ["sub-01_ses-01", "sub-02_ses-01"]
    assert (recordings[1].subject, recordings[1].session) == ("sub-02", "ses-01")
    events = source.events(recordings[0])
    assert [e.presentation_order for e in events] == list(range(study.n_trials))
    assert {e.stimulus_id for e in events} == set(study.concepts)
    assert {s.stimulus_id: s.concept for s in source.stimuli()} == study.concepts
    assert source.read_raw(recordings[0].path).info["sfreq"] == 250
    assert source.official_split() is source.oracle() is source.topographies() is None


def test_an_unknown_source_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        open_source("simulted", tmp_path)
    assert str(error.value) == (
        "A source must be one of simulated; 'simulted' is none. Mend ingest.source in params.yaml."
    )


def test_a_missing_study_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        open_source("simulated", tmp_path / "simulated")
    assert str(error.value) == (
        f"The study folder {tmp_path / 'simulated'} must exist; it does not. "
        "Put the study there, or run `dvc repro simulate` for the simulated one."
    )


def test_an_empty_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"must hold files named like sub-01_ses-01_eeg\.fif; none"
    ):
        open_source("simulated", tmp_path).recordings()


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.9999])
def test_a_truncated_recording_is_refused(study: MiniStudy, kept: float) -> None:
    path = study.recording_file("sub-01_ses-01")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        SourceError, match=r"must be a whole FIF file; it ends after \d+ bytes without"
    ):
        open_source("simulated", study.folder).read_raw(path)


def test_a_misnamed_recording_is_refused(study: MiniStudy) -> None:
    study.recording_file("sub-01_ses-01").rename(study.folder / "recordings" / "anna_eeg.fif")
    with pytest.raises(
        SourceError, match=r"named like sub-01_ses-01_eeg\.fif; found anna_eeg\.fif"
    ):
        open_source("simulated", study.folder).recordings()


def test_a_missing_column_is_named(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("onset_s", "onset"))
    source = open_source("simulated", study.folder)
    with pytest.raises(
        SourceError, match=r"\['onset_s'\] are missing from \['onset', 'duration_s'"
    ):
        source.events(source.recordings()[0])


def test_a_cut_line_is_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text()[:-12])
    source = open_source("simulated", study.folder)
    with pytest.raises(SourceError, match="must have 6 columns in every line; line 33 has fewer"):
        source.events(source.recordings()[0])


def test_missing_events_are_named(study: MiniStudy) -> None:
    study.events_file("sub-01_ses-01").unlink()
    source = open_source("simulated", study.folder)
    with pytest.raises(SourceError, match=r"sub-01_ses-01_events\.tsv must exist; it does not"):
        source.events(source.recordings()[0])


def test_text_where_a_number_must_be_is_refused(study: MiniStudy) -> None:
    path = study.events_file("sub-01_ses-01")
    path.write_text(path.read_text().replace("\n4.0\t", "\nfour\t"))
    source = open_source("simulated", study.folder)
    with pytest.raises(SourceError, match=r"must hold numbers where they are due; .*'four'"):
        source.events(source.recordings()[0])
