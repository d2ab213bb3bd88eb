"""The stage `retrieve`, with an encoder that knows the answer."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import key_of, read_table, write_table
from tasks.clip.galleries import GalleryError, known_stimuli
from tasks.clip.vectors import levels_to_table, table_to_vectors
from tasks.eeg.epochs import EpochsInfo, write_epochs
from tasks.retrieve import RetrieveError, RetrieveParams, retrieve
from tests.synthetic_study import make_study

CHANNELS = ("Fz", "Cz", "Pz", "Oz")
KINDS = ("ThemeTag", "ObjectSnap")


@dataclass
class Projector:
    """An encoder whose prediction is a fixed projection of the EEG."""

    channels: tuple[str, ...] = CHANNELS
    kinds: tuple[str, ...] = KINDS
    most_at_once: int = 0
    sees_pictures: bool = False

    def predict(self, eeg, subjects):
        assert len(eeg) == len(subjects)
        self.most_at_once = max(self.most_at_once, len(eeg))
        weights = np.random.default_rng(0).standard_normal((eeg[0].size, 2 * 48))
        vectors = (eeg.reshape(len(eeg), -1) @ weights).reshape(len(eeg), 2, 48)
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)

    def predict_images(self, eeg, subjects):
        return self.predict(eeg, subjects)[:, 0] if self.sees_pictures else None

    def gallery(self, levels):
        return levels[:, 1]


@pytest.fixture
def encoder(monkeypatch):
    encoder = Projector()
    monkeypatch.setattr("tasks.retrieve.load_encoder", lambda folder: encoder)
    return encoder


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A study in the current folder, some of its trials rejected and some for validation."""
    monkeypatch.chdir(tmp_path)
    study = make_study()
    rows = study.trials.to_pylist()
    stimuli = sorted({row["stimulus_id"] for row in rows if row["split"] == "train"})
    for row in rows:
        if row["stimulus_id"] in stimuli[:5]:
            row["split"] = "validation"
        if row["presentation_order"] % 7 == 3:
            row["kept"], row["reject_reason"] = False, "amplitude"
    tables = {
        "trials": pa.Table.from_pylist(rows, study.trials.schema),
        "captions": study.captions,
        "text_vectors": study.text_vectors,
        "image_targets": levels_to_table(
            ids := sorted({row["stimulus_id"] for row in rows}),
            {"final": np.eye(99)[: len(ids)], "blurred": np.eye(99)[::-1][: len(ids)]},
        ),
    }
    write(tables)
    write_eeg(rows)
    return tables


def write(tables):
    for name, schema in (
        ("trials", TRIALS),
        ("captions", CAPTIONS),
        ("text_vectors", TEXT_VECTORS),
        ("image_targets", IMAGE_TARGETS),
    ):
        write_table(tables[name], Path(f"{name}.parquet"), schema)


def write_eeg(rows):
    info = EpochsInfo(CHANNELS, 100.0, 0.0, "uV", "average", "none")
    for recording_id in {row["recording_id"] for row in rows}:
        ids = [r["trial_id"] for r in rows if r["recording_id"] == recording_id and r["kept"]]
        eeg = np.stack([epoch(trial_id) for trial_id in ids])
        write_epochs(Path("epochs") / f"{recording_id}.arrow", ids, eeg, info)


def epoch(trial_id):
    seed = int.from_bytes(trial_id.encode(), "big")
    return np.random.default_rng(seed).standard_normal((len(CHANNELS), 10)).astype(np.float32)


def run(k=3, batch_size=16, galleries=("train", "test")):
    predictions, retrievals = Path("predictions.parquet"), Path("retrievals.parquet")
    retrieve(
        Path("trials.parquet"),
        Path("epochs"),
        Path("captions.parquet"),
        Path("text_vectors.parquet"),
        Path("image_targets.parquet"),
        Path("encoder"),
        predictions=predictions,
        retrievals=retrievals,
        image_predictions=Path("image_predictions.parquet"),
        image_gallery=Path("image_gallery.parquet"),
        params=RetrieveParams(k=k, galleries=list(galleries), batch_size=batch_size),
    )
    return read_table(predictions, PREDICTIONS), read_table(retrievals, RETRIEVALS)


def held_out(tables):
    splits = ("validation", "test", "zero_shot")
    return [r for r in tables["trials"].to_pylist() if r["kept"] and r["split"] in splits]


def test_kept_held_out_trials_are_predicted_from_their_own_eeg(tables, encoder):
    predictions, _ = run()
    ids = sorted(row["trial_id"] for row in held_out(tables))
    assert predictions["trial_id"].to_pylist() == [i for i in ids for _ in KINDS]
    assert predictions["kind"].to_pylist() == list(KINDS) * len(ids)
    expected = encoder.predict(np.stack([epoch(i) for i in ids]), ids).reshape(-1, 48)
    np.testing.assert_allclose(table_to_vectors(predictions), expected, atol=1e-6)


def test_the_nearest_captions_of_the_kind_are_found_in_each_gallery(tables, encoder):
    predictions, retrievals = run()
    split_of = {r["stimulus_id"]: r["split"] for r in tables["trials"].to_pylist()}
    vector_of = dict(
        zip(
            tables["text_vectors"]["caption_id"].to_pylist(),
            table_to_vectors(tables["text_vectors"]),
            strict=True,
        )
    )
    captions = sorted(tables["captions"].to_pylist(), key=lambda row: row["caption_id"])
    galleries = {"train": ("train",), "test": ("test", "zero_shot")}
    found = retrievals.to_pylist()
    for row, query in zip(predictions.to_pylist(), table_to_vectors(predictions), strict=True):
        for gallery, splits in galleries.items():
            ids = [
                c["caption_id"]
                for c in captions
                if c["kind"] == row["kind"] and split_of[c["stimulus_id"]] in splits
            ]
            score = {i: round(float(vector_of[i] @ query), 6) for i in ids}
            nearest = sorted(ids, key=lambda i: (-score[i], i))[:3]
            key = (row["trial_id"], gallery, row["kind"])
            answer = [r for r in found if (r["trial_id"], r["gallery"], r["kind"]) == key]
            assert [r["rank"] for r in answer] == [1, 2, 3]
            assert [r["caption_id"] for r in answer] == nearest
            np.testing.assert_allclose(
                [r["cosine"] for r in answer], [score[i] for i in nearest], atol=2e-6
            )
    assert len(found) == len(predictions) * 2 * 3


def test_the_gallery_of_all_stimuli_holds_each_split_and_the_seen_picture(tables, encoder):
    _, usual = run()
    _, retrievals = run(galleries=("train", "all"))
    train = pc.equal(retrievals["gallery"], "train")
    assert retrievals.filter(train) == usual.filter(pc.equal(usual["gallery"], "train"))
    everywhere = retrievals.filter(pc.invert(train)).to_pylist()
    assert {row["gallery"] for row in everywhere} == {"all"}
    best = {
        name: max(r["cosine"] for r in rows if r["rank"] == 1)
        for name, rows in (("usual", usual.to_pylist()), ("all", everywhere))
    }
    assert best["all"] >= best["usual"]
    split_of = {row["stimulus_id"]: row["split"] for row in tables["trials"].to_pylist()}
    found = {split_of[row["caption_id"].rsplit("_", 1)[0]] for row in everywhere}
    assert {"train", "test"} <= found


@pytest.mark.parametrize("galleries", [["test"], ["train", "train"], ["train", "nowhere"]])
def test_galleries_must_be_known_once_and_hold_what_is_decoded(galleries):
    with pytest.raises(ValidationError):
        RetrieveParams(k=1, galleries=galleries, batch_size=8)


def test_no_retrieved_caption_of_the_train_gallery_is_of_a_held_out_picture(tables, encoder):
    _, retrievals = run()
    train = retrievals.filter(pc.equal(retrievals["gallery"], "train"))
    stimuli = {i.rsplit("_", 1)[0] for i in train["caption_id"].to_pylist()}
    held = {row["stimulus_id"] for row in tables["trials"].to_pylist() if row["split"] != "train"}
    assert stimuli
    assert not stimuli & held


def test_a_trial_is_ranked_by_itself(tables, encoder):
    _, every = run()
    rows = held_out(tables)
    alone = rows[5]["trial_id"]
    trials = tables["trials"].to_pylist()
    for row in trials:
        if row["split"] != "train" and row["trial_id"] != alone:
            row["kept"] = False
    write(tables | {"trials": pa.Table.from_pylist(trials, tables["trials"].schema)})
    _, single = run()
    chosen = every.filter(pc.equal(every["trial_id"], alone))
    assert single["caption_id"].to_pylist() == chosen["caption_id"].to_pylist()
    np.testing.assert_allclose(single["cosine"].to_numpy(), chosen["cosine"].to_numpy(), atol=1e-6)


def test_two_runs_write_the_same_bytes_in_whatever_order_the_captions_come(tables, encoder):
    run()
    first = Path("retrievals.parquet").read_bytes()
    order = np.random.default_rng(0).permutation(len(tables["captions"]))
    write(tables | {"captions": tables["captions"].take(order)})
    run()
    assert Path("retrievals.parquet").read_bytes() == first


def test_the_eeg_is_read_in_batches(tables, encoder):
    run(batch_size=7)
    assert encoder.most_at_once == 7


def test_trials_are_predicted_and_searched_in_blocks_with_the_same_answers(
    tables, encoder, monkeypatch
):
    encoder.sees_pictures = True
    names = ("predictions", "retrievals", "image_predictions", "image_gallery")
    schemas = (PREDICTIONS, RETRIEVALS, IMAGE_PREDICTIONS, IMAGE_GALLERY)
    found = []
    for size in (2**13, 7):
        monkeypatch.setattr("tasks.retrieve.TRIALS_AT_ONCE", size)
        run(batch_size=7)
        read = [read_table(Path(f"{n}.parquet"), s) for n, s in zip(names, schemas, strict=True)]
        found.append(
            [table.sort_by([(k, "ascending") for k in key_of(table.schema)]) for table in read]
        )
    assert found[0] == found[1]


def test_a_caption_without_a_vector_is_counted(tables, encoder):
    write(tables | {"text_vectors": tables["text_vectors"].slice(2)})
    with pytest.raises(GalleryError) as error:
        run()
    n_captions = len(tables["captions"])
    assert str(error.value) == (
        f"Every caption must have a vector; 2 of {n_captions} have none. Run `dvc repro embed`."
    )


def test_a_gallery_smaller_than_k_is_named(tables, encoder):
    with pytest.raises(GalleryError) as error:
        run(k=20)
    assert str(error.value) == (
        "The gallery train must hold at least k = 20 captions of ThemeTag; it holds 19. "
        "Lower retrieve.k."
    )


def test_pictures_that_were_also_in_training_are_known_and_in_both_galleries(
    tables, encoder, caplog
):
    rows = tables["trials"].to_pylist()
    first = next(row for row in rows if row["split"] == "test")
    known, rest = first["stimulus_id"], [row for row in rows if row is not first]
    rest.append(first | {"trial_id": f"{first['recording_id']}_trial-9999", "split": "train"})
    rest.append(first | {"presentation_order": 9998})
    trials = pa.Table.from_pylist(rest, tables["trials"].schema)
    assert known_stimuli(tables["trials"]) == []
    assert known_stimuli(trials) == [known]

    write(tables | {"trials": trials})
    _, retrievals = run()
    found = {
        (row["gallery"], row["caption_id"].rsplit("_", 1)[0]) for row in retrievals.to_pylist()
    }
    assert {("train", known), ("test", known)} <= found
    assert caplog.messages[0] == (
        "1 held-out pictures were also in training: identification among known pictures."
    )


def test_other_channels_than_the_encoder_knows_are_refused(tables, encoder):
    encoder.channels = CHANNELS[::-1]
    with pytest.raises(RetrieveError) as error:
        run()
    assert str(error.value) == (
        "The EEG must have the 4 channels that the encoder was trained on, in their order; epochs "
        "has 4 others. Run `dvc repro train`."
    )


def test_a_study_without_held_out_trials_is_refused(tables, encoder):
    rows = [row | {"split": "train"} for row in tables["trials"].to_pylist()]
    write(tables | {"trials": pa.Table.from_pylist(rows, tables["trials"].schema)})
    with pytest.raises(RetrieveError, match=f"of {len(rows)} trials none is"):
        run()


def test_an_encoder_without_an_image_head_leaves_its_tables_empty(tables, encoder):
    run()
    assert not len(read_table(Path("image_predictions.parquet"), IMAGE_PREDICTIONS))
    assert not len(read_table(Path("image_gallery.parquet"), IMAGE_GALLERY))


def test_pictures_are_predicted_for_held_out_trials_and_stand_in_a_gallery(tables, encoder):
    encoder.sees_pictures = True
    captions, _ = run()
    found = read_table(Path("image_predictions.parquet"), IMAGE_PREDICTIONS)
    assert found["trial_id"].to_pylist() == [row["trial_id"] for row in held_out(tables)]
    themes = captions.filter(pc.equal(captions["kind"], "ThemeTag"))
    np.testing.assert_array_equal(table_to_vectors(found), table_to_vectors(themes))
    gallery = read_table(Path("image_gallery.parquet"), IMAGE_GALLERY)
    assert gallery["stimulus_id"].to_pylist() == sorted(
        {row["stimulus_id"] for row in tables["trials"].to_pylist()}
    )
    np.testing.assert_array_equal(table_to_vectors(gallery), np.eye(99)[::-1][: len(gallery)])
