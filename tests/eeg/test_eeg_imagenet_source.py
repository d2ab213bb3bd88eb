"""The publisher's layout of EEG-ImageNet, and what is said where it is broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.eeg_imagenet import CHANNELS, EegImagenetParams, EegImagenetSource
from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.splits import SplitError
from tests.conftest import preset
from tests.eeg.stages import rows, run_ingest, run_preprocess
from tests.eeg.studies import save_picture
from tests.published_layouts import eeg_imagenet_trial, save_eeg_imagenet

PRESET = preset("eeg_imagenet")
PARAMS: dict[str, Any] = PRESET["ingest"]["source"] | {"n_training": 3}
WNIDS = ("n02106662", "n02124075")
N_IMAGES = 5


def make_items(subject: int, granularity: str = "coarse") -> list[dict[str, Any]]:
    rng = np.random.default_rng([subject, granularity == "fine"])
    return [
        eeg_imagenet_trial(
            10e-6 * rng.normal(size=(62, 501)), subject, f"{wnid}_{i}.JPEG", granularity
        )
        for wnid in WNIDS
        for i in range(N_IMAGES)
    ]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Write a study: a subject in each file, and a fine trial that is not asked for below."""
    folder = tmp_path / "data" / "raw" / "eeg_imagenet"
    for wnid in WNIDS:
        (folder / "images" / wnid).mkdir(parents=True)
        for i in range(N_IMAGES):
            save_picture(folder / "images" / wnid / f"{wnid}_{i}.JPEG")
    save_eeg_imagenet(folder, make_items(0) + make_items(0, "fine"), make_items(8))
    return folder.parent


def opened(raw: Path, **changes: object) -> EegImagenetSource:
    return EegImagenetSource(
        raw / "eeg_imagenet", EegImagenetParams.model_validate(PARAMS | changes)
    )


def complaint(raw: Path, method: str, **changes: object) -> str:
    source = opened(raw, **changes)
    arguments = source.recordings()[:1] if method == "read" else []
    with pytest.raises(SourceError) as error:
        getattr(source, method)(*arguments)
    return str(error.value)


def test_subjects_of_both_files_are_recordings_without_time(raw: Path) -> None:
    recordings = opened(raw).recordings()
    assert [(r.recording_id, r.path.name, r.timed) for r in recordings] == [
        ("sub-00_ses-01", "EEG-ImageNet_1.pth", False),
        ("sub-08_ses-01", "EEG-ImageNet_2.pth", False),
    ]
    assert len(opened(raw).events(recordings[0])) == 20
    coarse = opened(raw, granularity="coarse")
    events = coarse.events(recordings[0])
    assert [event.block for event in events] == [0] * 5 + [1] * 5
    assert events[6].stimulus_id == "n02124075_1"


def test_windows_are_microvolt_of_the_placed_channels(raw: Path) -> None:
    source = opened(raw)
    stored = source.read(source.recordings()[1])
    expected = make_items(8)[3]["eeg_data"][:, 40:440].numpy() * 1e6
    np.testing.assert_allclose(stored.eeg[3], expected, rtol=1e-6)
    assert (stored.tmin_s, stored.unit, stored.eeg.shape) == (0.04, "uV", (10, 62, 400))
    types = dict(zip(stored.info["ch_names"], stored.info.get_channel_types(), strict=True))
    assert [name for name in CHANNELS if types[name] != "eeg"] == ["CB1", "CB2"]


def test_the_first_pictures_of_a_class_are_the_training_part(raw: Path) -> None:
    split = opened(raw).official_split()
    assert [split[f"n02106662_{i}"] for i in range(N_IMAGES)] == ["train"] * 3 + ["test"] * 2


def test_the_whole_preset_reaches_epochs(raw: Path) -> None:
    artifacts = run_ingest(raw, PARAMS)
    official = {"strategy": "official", "seed": 0, "validation_fraction": 0.2}
    loose = PRESET["preprocess"]["bad_channels"] | {"min_correlation": None}
    run_preprocess(artifacts, PRESET["preprocess"] | {"split": official, "bad_channels": loose})
    trials = rows(artifacts, "trials")
    assert len(trials) == 30
    eeg, info = read_epochs(artifacts.epochs, [row["trial_id"] for row in trials])
    assert eeg.shape == (30, 60, 400)
    assert (info.unit, info.tmin_s) == ("uV", 0.04)
    assert {row["split"] for row in trials} == {"train", "validation", "test"}


def test_classes_have_words_where_a_list_is_given(raw: Path) -> None:
    path = raw / "eeg_imagenet" / "LOC_synset_mapping.txt"
    path.write_text("n02106662 German shepherd, German police dog\n")
    stimuli = opened(raw, class_names=path.name).stimuli()
    assert {s.concept for s in stimuli} == {"German shepherd", "n02124075"}
    assert complaint(raw, "stimuli", class_names="none.txt") == (
        f"{raw / 'eeg_imagenet' / 'none.txt'} must exist; it does not. Put it there, or set "
        "ingest.source.class_names to null."
    )


def test_other_units_than_said_are_refused(raw: Path) -> None:
    text = complaint(raw, "read", unit="uV")
    assert text.startswith(
        "sub-00_ses-01 must be in uV, with channels that deviate by 0.1 to 2000 uV;"
    )
    assert text.endswith("a typical one deviates by 9.98e-06 uV. Change ingest.source.unit.")


def test_trials_of_another_shape_are_refused(raw: Path) -> None:
    items = make_items(0)
    items[3]["eeg_data"] = items[3]["eeg_data"][:, :430]
    save_eeg_imagenet(raw / "eeg_imagenet", items, make_items(8))
    assert complaint(raw, "recordings") == (
        f"{raw / 'eeg_imagenet/EEG-ImageNet_1.pth'} must hold a list 'dataset' of trials with eeg_data "
        "of 62 x 440 or more, granularity, subject, label and image; it does not. Copy the files of the "
        "study from their origin again, all of one release."
    )


@pytest.mark.parametrize("lacking", [0, 1, 2, 4])
def test_a_trial_that_is_missing_moves_no_picture_into_the_other_part(
    raw: Path, lacking: int
) -> None:
    whole = opened(raw, granularity="coarse").official_split()
    items = make_items(8)
    del items[lacking]
    save_eeg_imagenet(raw / "eeg_imagenet", make_items(0), items)
    assert opened(raw).official_split() == whole
    assert len(rows(run_ingest(raw, PARAMS), "events")) == 19


def test_classes_in_no_common_order_have_no_official_split(raw: Path, caplog) -> None:
    items = make_items(8)
    items[0], items[4] = items[4], items[0]
    save_eeg_imagenet(raw / "eeg_imagenet", make_items(0), items)
    assert {name.split("_")[0] for name in opened(raw).official_split()} == {WNIDS[1]}
    assert (
        "1 classes have no official split, for their pictures come in another order" in caplog.text
    )
    artifacts = run_ingest(raw, PARAMS)
    loose = PRESET["preprocess"]["bad_channels"] | {"min_correlation": None}
    section = PRESET["preprocess"] | {"bad_channels": loose}
    official = {"strategy": "official", "seed": 0, "validation_fraction": 0.2}
    with pytest.raises(
        SplitError, match=r"5 have not: .* Choose another preprocess\.split\.strategy"
    ):
        run_preprocess(artifacts, section | {"split": official})
    image = {"strategy": "image", "seed": 0, "zero_shot_fraction": 0, "test_fraction": 0.2}
    run_preprocess(artifacts, section | {"split": image | {"validation_fraction": 0.2}})


def test_a_granularity_that_is_not_there_is_refused(raw: Path) -> None:
    save_eeg_imagenet(raw / "eeg_imagenet", make_items(0), make_items(8))
    assert complaint(raw, "recordings", granularity="fine") == (
        f"The files of {raw / 'eeg_imagenet'} must hold trials of the granularity 'fine'; they hold "
        "none. Change ingest.source.granularity."
    )
