"""File names in a data set stay in its folder."""

from pathlib import Path

import pytest

from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.study import check_inside


@pytest.mark.parametrize(
    "name", ["../other/cat.jpg", "images/../../cat.jpg", "/etc/passwd", "..", "../study_2/cat.jpg"]
)
def test_names_that_lead_out_are_refused(name, tmp_path):
    study = tmp_path / "study"
    with pytest.raises(SourceError) as caught:
        check_inside(study, [study / "images/dog.jpg", study / name])
    assert str(caught.value) == (
        f"Every file of a study must lie in {study}; the data set names {study / name}. "
        "Mend that name, or do not trust this data set."
    )


def test_names_inside_and_links_of_the_owner_are_followed(tmp_path):
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study/images").symlink_to(tmp_path / "large_disk")
    check_inside(tmp_path / "study", [tmp_path / "study/images/cat.jpg", tmp_path / "study/a/../b"])
    check_inside(Path("study"), [Path("study/images/cat.jpg")])
