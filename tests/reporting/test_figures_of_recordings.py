"""Each recording is drawn with its ERP and its spectrum."""

from tasks.artifacts.catalogue import Artifacts
from tasks.reporting import recordings
from tasks.reporting.recordings import recording_figures
from tests.reporting.fabricated import SUBJECTS, put
from tests.reporting.runs import load, read_report


def test_every_recording_has_a_figure_that_says_when_the_response_is_largest(
    artifacts: Artifacts,
) -> None:
    found = recording_figures(load(artifacts).averages)
    assert [figure.recording for figure in found] == [f"{subject}_ses-01" for subject in SUBJECTS]
    assert all(
        figure.description.startswith(f"ERP and spectrum of {figure.recording}") for figure in found
    )


def test_many_recordings_are_not_all_drawn_and_the_page_says_so(
    artifacts: Artifacts, monkeypatch
) -> None:
    monkeypatch.setattr(recordings, "MAX_RECORDINGS", 2)
    said = read_report(artifacts).one("section", id="quality").text
    assert "The first 2 of 3 recordings; the table data/interim/averages.parquet holds all." in said


def test_without_averages_there_is_no_figure(artifacts: Artifacts) -> None:
    put(artifacts, "averages", [])
    assert recording_figures(load(artifacts).averages) == []
