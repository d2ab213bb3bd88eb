import hashlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from tasks import evaluate as module
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.judgements import JUDGEMENTS
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.vectors import vectors_to_table
from tasks.evaluate import EvaluateParams, evaluate
from tasks.runtime.errors import PerceptError
from tasks.scores import published
from tasks.scores.feature_spaces import FeatureWeights
from tasks.simulation.judge import Judgement
from tests.qualified import is_qualified
from tests.synthetic_study import COLOURS, CONCEPTS, DIM, THEMES, make_study, unit

VOCABULARY = {"concept": CONCEPTS, "colour": COLOURS, "theme": THEMES}
PARAMS = EvaluateParams(
    model="shipped",
    ks=(1, 5),
    n_resamples=200,
    n_permutations=200,
    confidence=0.95,
    seed=0,
    n_halves=20,
    largest_k=8,
    feature_weights=dict.fromkeys(FeatureWeights.model_fields),
)
READS = [
    "stimuli",
    "trials",
    "captions",
    "text_vectors",
    "image_vectors",
    "predictions",
    "image_predictions",
    "image_gallery",
    "retrievals",
    "renders",
    "render_images",
    "oracle",
    "clip_model",
    "judge_model",
    "raw",
]


def picture(values):
    """Return a picture whose first pixel tells what it shows: in colours far apart."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, 0] = [VOCABULARY[factor].index(values[factor]) for factor in VOCABULARY]
    rng = np.random.default_rng(pixels[0, 0].tolist())
    pixels[1:] = rng.integers(0, 255, pixels[1:].shape)
    return Image.fromarray(pixels)


def encode_images(pictures):
    pixels = np.stack([np.asarray(p, np.float64)[1:].ravel() for p in pictures])
    projection = np.random.default_rng(0).standard_normal((pixels.shape[1], DIM))
    return unit((pixels - 127) @ projection).astype(np.float32)


class StandInJudge:
    vocabulary = VOCABULARY

    def predict(self, pictures):
        seen = [np.asarray(p)[0, 0] for p in pictures]
        labels, probabilities = {}, {}
        for place, (factor, values) in enumerate(VOCABULARY.items()):
            labels[factor] = tuple(values[pixel[place]] for pixel in seen)
            certain = np.eye(len(values))[[pixel[place] for pixel in seen]]
            probabilities[factor] = np.float32(0.9 * certain + 0.1 / len(values))
        return Judgement(labels, probabilities)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = SimpleNamespace(encode_images=encode_images)
    monkeypatch.setattr(module, "load_clip", lambda source: clip)
    # the published size takes long, and has tests of its own
    monkeypatch.setattr(published, "SIDE_PX", 64)
    monkeypatch.setattr(module, "Judge", SimpleNamespace(load=lambda folder: StandInJudge()))
    study = make_study(noise=0.2, n_per_split=5)
    contracts = {
        "trials": TRIALS,
        "captions": CAPTIONS,
        "text_vectors": TEXT_VECTORS,
        "predictions": PREDICTIONS,
        "retrievals": RETRIEVALS,
        "oracle": ORACLE,
    }
    for name, contract in contracts.items():
        write_table(getattr(study, name), tmp_path / f"{name}.parquet", contract)
    write_seen_pictures(tmp_path, [], [])
    trials, scenes = study.trials.to_pandas(), scenes_of(study)
    write_stimuli(tmp_path, trials, scenes)
    write_renders(tmp_path, trials, scenes)
    return tmp_path


def write_seen_pictures(folder, trial_ids, stimulus_ids):
    """Write what an image head predicts: of every fourth trial the next picture, else the shown one."""
    names = sorted(set(stimulus_ids))
    places = [names.index(name) for name in stimulus_ids]
    axes = np.eye(max(len(names), 1), dtype=np.float32)
    wrong = [(p + (i % 4 == 3)) % len(names) for i, p in enumerate(places)]
    for name, contract, ids, vectors in (
        ("image_predictions", IMAGE_PREDICTIONS, trial_ids, axes[wrong]),
        ("image_gallery", IMAGE_GALLERY, names, axes[: len(names)]),
    ):
        keys = {contract.names[0]: pa.array(ids, pa.string())}
        write_table(vectors_to_table(keys, vectors), folder / f"{name}.parquet", contract)


def scenes_of(study):
    captions = study.captions.to_pandas().set_index(["stimulus_id", "kind"])["text"]
    scenes = {}
    for stimulus_id in sorted(captions.index.get_level_values(0).unique()):
        _, colour, concept = captions[stimulus_id, "ObjectSnap"].split()
        theme = captions[stimulus_id, "ThemeTag"].split()[1]
        scenes[stimulus_id] = {"concept": concept, "colour": colour, "theme": theme}
    return scenes


def write_stimuli(folder, trials, scenes):
    rows = []
    for stimulus_id, scene in scenes.items():
        path = folder / "raw" / f"{stimulus_id}.png"
        path.parent.mkdir(exist_ok=True)
        picture(scene).save(path)
        path.with_suffix(".json").write_text(json.dumps(scene))
        image_path = str(path.relative_to(folder))
        rows.append((stimulus_id, scene["concept"], image_path, 8, 8, "0" * 64, ""))
    frame = pd.DataFrame(rows, columns=STIMULI.names)
    write_table(pa.Table.from_pandas(frame), folder / "stimuli.parquet", STIMULI)
    vectors = list(encode_images([Image.open(folder / path) for path in frame["image_path"]]))
    table = pa.table(
        {
            "stimulus_id": frame["stimulus_id"].tolist(),
            "vector": vectors,
        }
    )
    write_table(table, folder / "image_vectors.parquet", IMAGE_VECTORS)


def write_renders(folder, trials, scenes):
    """Render one trial per held-out stimulus: true, right in three of four, and of others."""
    held_out = trials[trials["split"] != "train"].drop_duplicates("stimulus_id")
    ids, shown = held_out["trial_id"].tolist(), held_out["stimulus_id"].tolist()
    rows = []
    for i, trial_id in enumerate(ids):
        other = scenes[shown[(i + 7) % len(ids)]]
        drawn = {
            "decoded": other if i % 4 == 0 else scenes[shown[i]],
            "true_captions": scenes[shown[i]],
            "shuffled_eeg": other,
        }
        for condition, scene in drawn.items():
            path = folder / "images" / condition / f"{trial_id}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(scene).save(path)
            name = str(path.relative_to(folder))
            rows.append((trial_id, condition, 0, "a prompt", 2.0, i, name, False))
    frame = pd.DataFrame(rows, columns=RENDERS.names)
    write_table(pa.Table.from_pandas(frame, schema=RENDERS), folder / "renders.parquet", RENDERS)


def run(folder, params=PARAMS):
    paths = [
        folder / f"{n}.parquet" if (folder / f"{n}.parquet").exists() else folder / n for n in READS
    ]
    evaluate(
        *paths,
        judgements=folder / "judgements.parquet",
        evaluate_metrics=folder / "evaluate.json",
        evaluate_plots=folder / "plots",
        params=params,
    )
    return read_scores(folder / "evaluate.json")


def test_an_image_head_is_scored_among_the_held_out_pictures(workplace):
    trials = read_table(workplace / "trials.parquet", TRIALS).to_pandas()
    shown = trials[trials["kept"] & (trials["split"] == "test")].sort_values("trial_id")
    write_seen_pictures(workplace, shown["trial_id"].tolist(), shown["stimulus_id"].tolist())
    n = shown["stimulus_id"].nunique()
    found = run(workplace)[f"image_recall_at_1_of_{n}"]
    assert found.value == pytest.approx(np.mean(np.arange(len(shown)) % 4 != 3))
    assert (found.n, found.chance) == (len(shown), pytest.approx(1 / n))
    assert found.p_value < 0.05


def test_judged_scores_stand_beside_ceiling_and_control(workplace):
    scores = run(workplace)
    decoded = scores["judged_concept_accuracy_decoded"]
    assert decoded.n == 40
    assert 0.7 <= decoded.value < 1
    assert decoded.low < decoded.value < decoded.high
    assert decoded.chance == 0.1
    assert decoded.ceiling == scores["judged_concept_accuracy_true_captions"].value == 1
    shuffled = scores["judged_concept_accuracy_shuffled_eeg"]
    assert decoded.control == shuffled.value < 0.3
    assert (decoded.control_low, decoded.control_high) == (shuffled.low, shuffled.high)
    assert scores["judged_concept_accuracy_true_captions"].ceiling == 1
    assert scores["judged_concept_accuracy_stimuli"].value == 1
    assert scores["judged_theme_accuracy_decoded"].chance == pytest.approx(1 / 3)
    assert scores["zero_shot_judged_concept_accuracy_true_captions"].n == 10
    assert decoded.p_value < 0.05 < shuffled.p_value


def test_similarity_and_identification_follow_the_words(workplace):
    scores = run(workplace)
    for name in ("clip_image_similarity", "two_way_clip"):
        true, decoded, shuffled = (
            scores[f"{name}_{c}"] for c in ("true_captions", "decoded", "shuffled_eeg")
        )
        assert true.value > decoded.value > shuffled.value
        assert decoded.ceiling == true.value
        assert decoded.control == shuffled.value
    assert scores["clip_image_similarity_true_captions"].value == pytest.approx(1)
    assert scores["two_way_clip_decoded"].chance == 0.5
    shuffled = scores["two_way_clip_shuffled_eeg"]
    assert shuffled.low < 0.5 < shuffled.high


def test_distances_and_clarity_know_no_eeg(workplace):
    scores = run(workplace)
    for measure in ("kid_clip", "fid_clip", "inception_score_judge"):
        decoded = scores[f"{measure}_decoded"]
        assert decoded.n == 50
        assert decoded.control == scores[f"{measure}_shuffled_eeg"].value
        assert decoded.low <= decoded.value <= decoded.high
    assert scores["kid_clip_true_captions"].low <= 0
    assert scores["fid_clip_true_captions"].value == pytest.approx(0, abs=1e-4)
    assert scores["fid_clip_decoded"].lower_is_better
    assert "Against 50 held-out stimuli, from which 40" in scores["kid_clip_decoded"].verdict
    assert 1 < scores["inception_score_judge_decoded"].value < 10


def test_every_score_says_how_sure_it_is(workplace):
    scores = run(workplace)
    assert [name for name, score in scores.items() if not is_qualified(score)] == []
    assert scores["concept_recall_at_1_of_10"].resampled.startswith("stimuli")
    assert scores["kid_clip_decoded"].resampled == "halves of the pictures"


def test_networks_without_weights_are_said_to_be_missing(workplace):
    scores = run(workplace)
    assert not [name for name in scores if re.search("alexnet|_inception|swav|lpips|dists", name)]
    table = pd.read_csv(workplace / "plots/feature_spaces.csv")
    assert set(table["state"]) == {"not scored: no weights"}


def test_words_are_scored_too(workplace):
    scores = run(workplace)
    assert scores["concept_recall_at_1_of_10"].value > 0.5
    assert "zero_shot_stimulus_recall_at_1_of_10" in scores


def test_judgements_name_what_was_seen_and_shown(workplace):
    run(workplace)
    rows = read_table(workplace / "judgements.parquet", JUDGEMENTS).to_pandas()
    assert len(rows) == 50 * 3 * 3
    true = rows[rows["condition"] == "true_captions"]
    assert (true["judged"] == true["actual"]).all()
    assert rows["probability"].max() == pytest.approx(0.9 + 0.1 / 3)


def test_plots_are_data(workplace):
    run(workplace)
    recall = pd.read_csv(workplace / "plots/recall.csv")
    assert list(recall.columns) == ["score", "n_items", "k", "value", "chance"]
    confusion = pd.read_csv(workplace / "plots/confusion.csv")
    assert list(confusion.columns) == ["actual", "predicted"]
    assert len(confusion) == 8 * 5 * 2 * 2


def test_same_inputs_same_bytes(workplace):
    def digests():
        run(workplace)
        made = [*(workplace / "plots").iterdir(), workplace / "evaluate.json"]
        made.append(workplace / "judgements.parquet")
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(made)]

    assert digests() == digests()


def test_pictures_without_notes_are_judged_by_concept_alone(workplace):
    for path in (workplace / "raw").glob("*.json"):
        path.unlink()
    scores = run(workplace)
    assert "judged_concept_accuracy_decoded" in scores
    assert not [name for name in scores if "colour" in name]


def test_concepts_that_the_judge_does_not_know_are_not_judged(workplace, monkeypatch):
    words = {**VOCABULARY, "concept": ("unicorn", *CONCEPTS[1:])}
    monkeypatch.setattr(StandInJudge, "vocabulary", words)
    scores = run(workplace)
    assert not [
        name for name in scores if "judged_concept" in name or "inception_score_judge" in name
    ]
    assert "judged_colour_accuracy_decoded" in scores
    rows = read_table(workplace / "judgements.parquet", JUDGEMENTS).to_pandas()
    assert set(rows["factor"]) == {"colour", "theme"}


def test_another_clip_than_the_one_that_embedded_is_refused(workplace):
    table = read_table(workplace / "image_vectors.parquet", IMAGE_VECTORS)
    turned = [list(np.roll(vector, 1)) for vector in table["vector"].to_pylist()]
    table = table.set_column(1, "vector", pa.array(turned, pa.list_(pa.float32())))
    write_table(table, workplace / "image_vectors.parquet", IMAGE_VECTORS)
    message = (
        "`evaluate.model` must be the model that embedded the stimuli; its vector of the first"
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        run(workplace)
    assert not (workplace / "evaluate.json").exists()


def test_scores_of_pictures_that_were_also_in_training_are_named_so(workplace):
    unknown = run(workplace)
    path = workplace / "trials.parquet"
    rows = read_table(path, TRIALS).to_pylist()
    known = {row["stimulus_id"] for row in rows if row["split"] == "test"}
    rows += [
        row | {"trial_id": row["trial_id"] + "x", "split": "train"}
        for row in rows
        if row["stimulus_id"] in known
    ]
    write_table(pa.Table.from_pylist(rows, TRIALS), path, TRIALS)
    scores = run(workplace)
    assert scores.keys() == {f"known_{name}" for name in unknown}
    stimulus = "stimulus_recall_at_1_of_50"
    assert scores[f"known_{stimulus}"] == unknown[stimulus]


def test_sets_of_too_few_pictures_have_no_distance(workplace, caplog):
    path = workplace / "renders.parquet"
    rows = read_table(path, RENDERS).to_pylist()
    few = sorted({row["trial_id"] for row in rows})[:3]
    rows = [row for row in rows if row["trial_id"] in few]
    write_table(pa.Table.from_pylist(rows, RENDERS), path, RENDERS)
    scores = run(workplace)
    assert not any(name.startswith(("kid_", "fid_", "is_")) for name in scores)
    assert "two_way_clip_decoded" in scores
    assert caplog.messages[-1] == (
        "Distances between sets need 4 pictures; there are 3, so none is scored."
    )
