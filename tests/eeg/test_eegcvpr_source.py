"""The publisher's layout of EEGCVPR, and what is said where it is broken."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import read_table
from tasks.eeg.epochs import read_epochs
from tasks.eeg.sources.eegcvpr import CONCEPTS, EegcvprParams, EegcvprSource
from tasks.eeg.sources.protocol import SourceError
from tasks.eeg.sources.registry import open_source, parse_params
from tasks.ingest import IngestParams, ingest
from tasks.preprocess import PreprocessParams, preprocess
from tasks.runtime.map import serial_map
from tasks.simulation.head import CHANNELS
from tests.conftest import preset
from tests.eeg.stages import STRICT
from tests.eeg.studies import save_picture
from tests.published_layouts import eegcvpr_segment, eegcvpr_splits

WNIDS = ("n13054560", "n02106662", "n99999999")  # as in the file: sorted by nothing
N_IMAGES = 4  # of each class
LENGTHS = (440, 455, 459, 460, 500, 500, 500, 500, 500, 600, 601, 620)  # samples of the segments
USED = (3, 4, 5, 6, 7, 8, 9)  # segments of each subject within the rules
PARAMS: dict[str, Any] = {
    "name": "eegcvpr",
    "folder": "eegcvpr",
    "file": "eeg_5_95_std.pth",
    "unit": "standardised",
    "sfreq_hz": 1000.0,
    "first_sample": 20,
    "n_samples": 440,
    "min_length": 450,
    "max_length": 600,
    "split_file": "block_splits_by_image_all.pth",
    "split_number": 0,
    "images": "images",
    "image_order": "image_order.txt",
    "channels_file": None,
}
NAMES = [f"{wnid}_{i}" for i in range(N_IMAGES) for wnid in WNIDS]  # the classes take turns
PART_OF = {name: ("train", "train", "val", "test")[i // 3] for i, name in enumerate(NAMES)}


def make_content(n_channels: int = 128) -> dict[str, Any]:
    """Return the dict of the publisher: subjects take turns, so that no number is a subject's own."""
    rng = np.random.default_rng(0)
    dataset = [
        eegcvpr_segment(
            rng.normal(size=(n_channels, length)), i, WNIDS.index(name.split("_")[0]), subject
        )
        for i, (name, length) in enumerate(zip(NAMES, LENGTHS, strict=True))
        for subject in (1, 2)
    ]
    return {"dataset": dataset, "labels": list(WNIDS), "images": list(NAMES)}


def make_splits() -> dict[str, Any]:
    return eegcvpr_splits([PART_OF[name] for name in NAMES for _ in (1, 2)])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Write a study: 2 subjects, 3 classes of 4 images."""
    raw = tmp_path / "data" / "raw"
    folder = raw / "eegcvpr"
    for name in NAMES:
        path = folder / "images" / name.split("_")[0] / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_picture(path)
    torch.save(make_content(), folder / PARAMS["file"])
    torch.save(make_splits(), folder / PARAMS["split_file"])
    (folder / "image_order.txt").write_text("".join(f"{n}.JPEG\n" for n in sorted(NAMES)[::-1]))
    return raw


def opened(raw: Path, **changes: object) -> EegcvprSource:
    return EegcvprSource(raw / "eegcvpr", EegcvprParams.model_validate(PARAMS | changes))


def rewrite(raw: Path, content: object) -> None:
    torch.save(content, raw / "eegcvpr" / PARAMS["file"])


def run(raw: Path, on_missing_image: str = "raise") -> Artifacts:
    artifacts = Artifacts(raw.parents[1])
    section = {"source": PARAMS, "on_missing_image": on_missing_image} | STRICT
    outs = ("recordings", "events", "stimuli", "oracle", "topographies")
    ingest(
        raw,
        **{name: getattr(artifacts, name) for name in outs},
        params=IngestParams.model_validate(section),
        map=serial_map,
    )
    return artifacts


def rows(artifacts: Artifacts, name: str) -> list[dict]:
    return read_table(getattr(artifacts, name), Artifacts.all()[name].schema).to_pylist()


def test_recordings_and_stimuli_are_listed(raw: Path, caplog) -> None:
    source = opened(raw)
    recordings = source.recordings()
    assert [r.recording_id for r in recordings] == ["sub-01_ses-01", "sub-02_ses-01"]
    assert all(r.timed for r in recordings)
    assert "10 of 24 segments are left out" in caplog.text
    assert {s.stimulus_id for s in source.stimuli()} == set(NAMES)
    concepts = {s.stimulus_id.split("_")[0]: s.concept for s in source.stimuli()}
    assert concepts == {
        "n13054560": "bolete",
        "n02106662": "German shepherd",
        "n99999999": "n99999999",
    }
    assert all(s.image_path.is_file() for s in source.stimuli())
    assert source.oracle() is source.topographies() is None


def test_all_forty_classes_have_words() -> None:
    assert len(CONCEPTS) == 40
    assert all(wnid[0] == "n" and len(wnid) == 9 for wnid in CONCEPTS)
    assert not any(set(word) & set("_;\n") for word in CONCEPTS.values())


@pytest.mark.parametrize("timed", [True, False])
def test_epochs_belong_to_their_events(raw: Path, timed: bool) -> None:
    source = opened(raw, image_order="image_order.txt" if timed else None)
    content = make_content()
    for subject, recording in enumerate(source.recordings(), start=1):
        assert recording.timed == timed
        events, found = source.events(recording), source.read(recording)
        shown = [NAMES[i] for i in USED]
        if timed:
            shown = sorted(shown)[::-1]
        else:  # by class, in the order in which the classes are met; stable within
            classes = list(dict.fromkeys(name.split("_")[0] for name in shown))
            shown = sorted(shown, key=lambda name: classes.index(name.split("_")[0]))
        assert [event.stimulus_id for event in events] == shown
        assert [event.block for event in events] == sorted(event.block for event in events)
        assert len({(event.block, event.stimulus_id.split("_")[0]) for event in events}) == 3
        assert [event.presentation_order for event in events] == list(range(len(USED)))
        assert events[1].onset_s == pytest.approx(0.44)
        assert found.eeg.shape == (len(USED), 128, 440)
        assert found.eeg.dtype == np.float32
        assert (found.tmin_s, found.unit) == (0.02, "standardised")
        assert tuple(found.info["ch_names"]) == CHANNELS
        assert not np.isnan(found.info["chs"][127]["loc"][:3]).any()
        for epoch, event in zip(found.eeg, events, strict=True):
            item = content["dataset"][2 * NAMES.index(event.stimulus_id) + subject - 1]
            np.testing.assert_array_equal(epoch, item["eeg"][:, 20:460].numpy())


def test_the_split_counts_the_segments_of_all_subjects(raw: Path) -> None:
    renamed = {"train": "train", "val": "validation", "test": "test"}
    assert opened(raw).official_split() == {name: renamed[PART_OF[name]] for name in NAMES}
    # The bug of others: the segments of one subject are picked first, and numbered anew.
    own = [item for item in make_content()["dataset"] if item["subject"] == 2]
    wrong = [NAMES[own[n]["image"]] for n in make_splits()["splits"][0]["train"] if n < len(own)]
    assert {PART_OF[name] for name in wrong} == {"train", "val", "test"}


def test_the_parts_reach_the_trials_of_the_second_subject(raw: Path) -> None:
    artifacts = run(raw)
    part_of = {s["stimulus_id"]: s["official_split"] for s in rows(artifacts, "stimuli")}
    second = [e for e in rows(artifacts, "events") if e["recording_id"] == "sub-02_ses-01"]
    assert [part_of[e["stimulus_id"]] for e in second if e["stimulus_id"].endswith("_2")] == [
        "validation"
    ] * 3


def test_images_in_no_part_are_absent(raw: Path) -> None:
    splits = make_splits()
    splits["splits"][0]["test"] = []
    torch.save(splits, raw / "eegcvpr" / PARAMS["split_file"])
    assert opened(raw).official_split().keys() == {n for n in NAMES if PART_OF[n] != "test"}
    assert opened(raw, split_file=None).official_split() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts["test"].append(1), "in one part; n13054560_0 is in train and test"),
        (lambda parts: parts["test"].append(24), "must number the 24 segments .* it holds 24"),
        (lambda parts: parts["test"].append(-1), "must number the 24 segments .* it holds -1"),
        (
            lambda parts: parts.pop("val"),
            r"must hold 'splits', .*it does not \(KeyError\('val'\)\)",
        ),
    ],
)
def test_a_broken_split_is_refused(raw: Path, change, message: str) -> None:
    splits = make_splits()
    change(splits["splits"][0])
    torch.save(splits, raw / "eegcvpr" / PARAMS["split_file"])
    with pytest.raises(SourceError, match=message):
        opened(raw).official_split()


def test_a_split_number_that_is_not_there_is_refused(raw: Path) -> None:
    with pytest.raises(
        SourceError, match=r"number 5 of them .*Change ingest\.source\.split_number"
    ):
        opened(raw, split_number=5).official_split()


def test_a_mirror_without_names_is_refused(raw: Path) -> None:
    rewrite(raw, {"dataset": make_content()["dataset"]})
    with pytest.raises(SourceError) as error:
        opened(raw).recordings()
    assert str(error.value) == (
        f"{raw / 'eegcvpr' / PARAMS['file']} must say which image of which class each segment shows, "
        "by the lists 'images' and 'labels' or by names like n02106662_10232 in 'image'; it does not "
        "(there is no list 'images', and 'image' is 0). Take a release of the file that has both lists."
    )


def test_a_mirror_with_names_in_the_segments_is_read(raw: Path) -> None:
    dataset = make_content()["dataset"]
    mirror = [item | {"image": f"{NAMES[item['image']]}.JPEG"} for item in dataset]
    whole = opened(raw)
    before = [whole.events(recording) for recording in whole.recordings()]
    rewrite(raw, {"dataset": mirror})
    source = opened(raw)
    assert [source.events(recording) for recording in source.recordings()] == before
    rewrite(raw, {"dataset": [item | {"image": "ILSVRC2012_val_1"} for item in dataset]})
    with pytest.raises(
        SourceError, match="no list 'labels', and 'ILSVRC2012_val_1' names no class"
    ):
        source.recordings()


def test_a_label_that_is_not_the_images_is_refused(raw: Path) -> None:
    content = make_content()
    content["labels"] = sorted(content["labels"])
    rewrite(raw, content)
    with pytest.raises(SourceError, match="the image n13054560_0 has the label n02106662"):
        opened(raw).recordings()


@pytest.mark.parametrize(
    "content", [[1], {"dataset": []}, {"dataset": [{"eeg": [1]}]}, {"images": NAMES}]
)
def test_another_layout_is_refused(raw: Path, content: object) -> None:
    rewrite(raw, content)
    with pytest.raises(SourceError, match="must hold a list 'dataset' of segments with eeg"):
        opened(raw).recordings()


def test_a_wrong_number_of_channels_is_refused(raw: Path) -> None:
    rewrite(raw, make_content(n_channels=62))
    with pytest.raises(
        SourceError,
        match=r"must have 128 channels; 24 have not, the first is of shape \(62, 440\)\. Name",
    ):
        opened(raw).recordings()


def test_channels_may_be_named_in_a_file(raw: Path) -> None:
    path = raw / "eegcvpr" / "channels.txt"
    rewrite(raw, make_content(n_channels=2))
    source = opened(raw, channels_file="channels.txt")
    with pytest.raises(SourceError, match=r"channels\.txt must exist; it does not"):
        source.recordings()
    path.write_text("Oz\nFp1\n")
    assert source.read(source.recordings()[0]).info["ch_names"] == ["Oz", "Fp1"]
    path.write_text("Oz\nEarL\n")
    with pytest.raises(SourceError, match=r"colin27_1005; 1 have none: EarL\. Rename them in chan"):
        source.read(source.recordings()[0])


def test_an_order_that_lacks_images_is_refused(raw: Path) -> None:
    (raw / "eegcvpr" / "image_order.txt").write_text("\n".join(NAMES[:-4]))
    source = opened(raw)
    with pytest.raises(SourceError, match=r"must list every image that was shown; 2 are missing: "):
        source.events(source.recordings()[0])


def test_a_missing_file_is_named(raw: Path) -> None:
    with pytest.raises(SourceError, match=r"raw\.pth must be a whole file of torch\.save"):
        opened(raw, file="raw.pth").recordings()


def test_the_source_travels_to_workers(raw: Path) -> None:
    source = opened(raw)
    recording = source.recordings()[1]
    parcel = pickle.dumps(source)
    assert len(parcel) < 5_000
    there = pickle.loads(parcel)
    np.testing.assert_array_equal(there.read(recording).eeg, source.read(recording).eeg)


def test_the_preset_fits_the_source() -> None:
    sections = preset("eegcvpr")
    source = parse_params(json.dumps(sections["ingest"]["source"]))
    assert source == EegcvprParams.model_validate(PARAMS)
    window = sections["preprocess"]["window"]
    assert window["tmin_s"] == source.first_sample / source.sfreq_hz
    assert window["tmax_s"] == (source.first_sample + source.n_samples) / source.sfreq_hz
    assert sections["simulate"]["schedule"]["design"] == "none"
    PreprocessParams.model_validate(sections["preprocess"])


def test_ingest_writes_what_the_study_holds(raw: Path) -> None:
    artifacts = run(raw)
    first = rows(artifacts, "recordings")[0]
    assert first["recording_id"] == "sub-01_ses-01"
    assert (first["dataset"], first["n_channels"], first["timed"]) == ("eegcvpr", 128, True)
    assert first["duration_s"] == pytest.approx(7 * 0.44)
    params = parse_params(first["source"])
    assert params == EegcvprParams.model_validate(PARAMS)
    assert isinstance(open_source(params, raw), EegcvprSource)
    assert len(rows(artifacts, "events")) == 14
    assert len(rows(artifacts, "stimuli")) == 12


def test_a_picture_that_is_not_on_disk_is_named_or_dropped(raw: Path) -> None:
    (raw / "eegcvpr" / "images" / WNIDS[0] / f"{NAMES[6]}.JPEG").unlink()
    with pytest.raises(SourceError, match=f"its image on disk; 1 are missing: {NAMES[6]}"):
        run(raw)
    events = rows(run(raw, on_missing_image="drop"), "events")
    assert len(events) == 12
    assert {e["presentation_order"] for e in events} == {0, 1, 2, 4, 5, 6}


@pytest.mark.parametrize("n_dropped", [0, 1])
def test_the_study_becomes_epochs(raw: Path, n_dropped: int) -> None:
    for name in NAMES[6 : 6 + n_dropped]:
        (raw / "eegcvpr" / "images" / name.split("_")[0] / f"{name}.JPEG").unlink()
    artifacts = run(raw, on_missing_image="drop")
    section = preset("eegcvpr")["preprocess"]
    changes = {
        "split": {"strategy": "official", "seed": 0, "validation_fraction": 0.1},
        "bad_channels": section["bad_channels"] | {"min_correlation": None},  # noise has none
    }
    preprocess(
        *(getattr(artifacts, name) for name in ("recordings", "events", "stimuli", "raw")),
        **{name: getattr(artifacts, name) for name in ("trials", "epochs", "quality", "averages")},
        params=PreprocessParams.model_validate(section | changes),
        map=serial_map,
    )
    trials = rows(artifacts, "trials")
    assert len(trials) == 2 * (len(USED) - n_dropped)
    words = {"train": "train", "val": "validation", "test": "test"}
    assert all(row["split"] == words[PART_OF[row["stimulus_id"]]] for row in trials)
    eeg, info = read_epochs(artifacts.epochs, [row["trial_id"] for row in trials])
    assert eeg.shape == (len(trials), 128, 440)
    assert (info.unit, info.sfreq_hz, info.tmin_s) == ("standardised", 1000, 0.02)
