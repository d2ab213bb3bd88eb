import re

import numpy as np
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.oracle import CONCEPT_BOUND, ORACLE
from tasks.runtime.errors import PerceptError
from tasks.scores.concept import concept_confusion, decoding_scores, recall_curves
from tasks.scores.held_out import HeldOut
from tasks.scores.params import ScoreParams
from tests.synthetic_study import CONCEPTS, make_study

PARAMS = ScoreParams(ks=(1, 5), n_resamples=300, n_permutations=300, confidence=0.95, seed=0)


def scores_of(study, params=PARAMS):
    held_out = HeldOut.join(*study.tables)
    retrievals, oracle = study.retrievals.to_pandas(), study.oracle.to_pandas()
    return decoding_scores(held_out, retrievals, oracle, params)


@pytest.fixture(scope="module")
def perfect():
    return scores_of(make_study(noise=0.0, n_per_split=6))


@pytest.fixture(scope="module")
def shuffled():
    return scores_of(make_study(noise=0.0, n_per_split=6, shuffled=True))


def test_perfect_predictions_score_one(perfect):
    for name in (
        "concept_recall_at_1_of_10",
        "concept_recall_at_1_of_10_ObjectSnap",
        "concept_recall_at_1_of_10_sub-01",
        "zero_shot_concept_recall_at_1_of_2",
        "zero_shot_concept_recall_at_1_of_10_all_concepts",
        "caption_recall_at_1_of_3_ThemeTag",
        "retrieved_concept_accuracy_ObjectSnap",
    ):
        assert perfect[name].value == pytest.approx(1), name
        assert perfect[name].low == pytest.approx(1), name
    assert perfect["caption_median_rank_of_3_ThemeTag"].value == 1
    assert perfect["concept_recall_at_1_of_10"].p_value == pytest.approx(1 / 301)


def test_each_score_stands_beside_chance_control_and_n(perfect):
    concept = perfect["concept_recall_at_1_of_10"]
    assert concept.n == 8 * 6 * 2 * 2
    assert concept.chance == 0.1
    assert concept.control_low <= 1 / 8 <= concept.control_high
    assert perfect["concept_recall_at_5_of_10"].chance == 0.5
    assert perfect["concept_recall_at_1_of_10_sub-02"].n == 8 * 6 * 2
    assert perfect["zero_shot_concept_recall_at_1_of_2"].chance == 0.5
    rank = perfect["stimulus_median_rank_of_60"]
    assert (rank.chance, rank.lower_is_better, rank.unit) == (30.5, True, "rank")
    assert all(s.control is not None and s.low <= s.value <= s.high for s in perfect.values())


def test_ceiling_is_the_oracle_on_the_same_trials(perfect):
    study = make_study(noise=0.0, n_per_split=6)
    oracle = study.oracle.to_pandas().merge(study.trials.to_pandas(), on="trial_id")
    test = oracle[oracle["split"] == "test"]
    expected = (test["predicted"] == test["actual"]).mean()
    assert perfect["concept_recall_at_1_of_10"].ceiling == pytest.approx(expected)
    of_subject = test[test["subject"] == "sub-01"]
    expected = (of_subject["predicted"] == of_subject["actual"]).mean()
    assert perfect["concept_recall_at_1_of_10_sub-01"].ceiling == pytest.approx(expected)
    assert perfect["concept_recall_at_5_of_10"].ceiling is None
    assert perfect["zero_shot_concept_recall_at_1_of_2"].ceiling is None


def test_no_oracle_no_ceiling():
    study = make_study()
    study.oracle = study.oracle.slice(0, 0)
    assert scores_of(study)["concept_recall_at_1_of_10"].ceiling is None


def test_a_bound_stands_as_the_ceiling_and_is_named_as_one():
    study = make_study()
    exact = scores_of(study)["concept_recall_at_1_of_10"]
    factor = pa.array([CONCEPT_BOUND] * len(study.oracle))
    study.oracle = study.oracle.set_column(1, ORACLE.field("factor"), factor)
    bound = scores_of(study)
    assert bound["concept_recall_at_1_of_10"].ceiling == exact.ceiling is not None
    assert "ceiling is a Monte Carlo bound, not exact" in bound["concept_recall_at_1_of_10"].verdict
    assert "bound" not in exact.verdict
    assert "bound" not in bound["concept_recall_at_5_of_10"].verdict


def test_shuffled_predictions_lie_at_chance(shuffled):
    for name, chance in (
        ("concept_recall_at_1_of_10", 1 / 8),
        ("zero_shot_concept_recall_at_1_of_2", 1 / 2),
        ("stimulus_recall_at_5_of_60", 5 / 60),
        ("caption_recall_at_1_of_3_ThemeTag", 1 / 3),
    ):
        score = shuffled[name]
        assert score.control_low <= chance <= score.control_high, name
        assert score.control_low <= score.value <= score.control_high, name
        assert score.p_value > 0.02, name
        assert "Not told from" in score.verdict


def test_noise_lowers_scores_but_not_to_chance():
    noisy = scores_of(make_study(noise=0.35, n_per_split=6))["concept_recall_at_1_of_10"]
    assert 0.3 < noisy.value < 0.99
    assert noisy.low < noisy.value < noisy.high
    assert noisy.control_high < noisy.low


def test_stimuli_with_equal_captions_share_their_places(perfect):
    study = make_study(n_per_split=6)
    captions = study.captions.to_pandas()
    held_out = HeldOut.join(*study.tables)
    texts = captions[captions["stimulus_id"].isin(held_out.stimuli())]
    signature = texts.sort_values("kind").groupby("stimulus_id")["text"].agg("|".join)
    sharing = signature.map(signature.value_counts())
    expected = (1 / sharing[held_out.trials["stimulus_id"]]).mean()
    assert expected < 1
    assert perfect["stimulus_recall_at_1_of_60"].value == pytest.approx(expected)


def test_order_of_rows_does_not_matter():
    study = make_study(noise=0.3)
    expected = scores_of(study)
    rng = np.random.default_rng(5)
    for name in ("trials", "captions", "text_vectors", "predictions", "retrievals", "oracle"):
        table = getattr(study, name)
        setattr(study, name, table.take(rng.permutation(len(table))))
    assert scores_of(study) == expected


def test_rejected_trials_do_not_count():
    study = make_study()
    trials = study.trials.to_pandas()
    trials.loc[trials["subject"] == "sub-02", "kept"] = False
    study.trials = study.trials.set_column(11, "kept", [trials["kept"].tolist()])
    assert scores_of(study)["concept_recall_at_1_of_10"].n == 8 * 3 * 2


def test_a_study_without_held_out_concepts_has_no_zero_shot_scores():
    study = make_study()
    keep = [split != "zero_shot" for split in study.trials["split"].to_pylist()]
    study.trials = study.trials.filter(keep)
    assert not [name for name in scores_of(study) if "zero_shot" in name]


def test_confusion_and_curves():
    held_out = HeldOut.join(*make_study().tables)
    test = held_out.of(held_out.trials["split"] == "test")
    confusion = concept_confusion(test)
    assert (confusion["actual"] == confusion["predicted"]).all()
    assert set(confusion["actual"]) == set(CONCEPTS[:8])
    curves = recall_curves(held_out, largest_k=6)
    assert set(curves["score"]) == {
        "concept",
        "stimulus",
        "stimulus_object",
        "stimulus_spatial",
        "stimulus_thematic",
    }
    for _, curve in curves.groupby("score"):
        assert curve["k"].tolist() == [1, 2, 3, 4, 5, 6]
        assert curve["value"].is_monotonic_increasing
        assert curve["chance"].iloc[0] == 1 / curve["n_items"].iloc[0]


def test_missing_rows_are_named():
    study = make_study()
    study.predictions = study.predictions.slice(3)
    message = (
        "Every trial_id needs a vector; 1 of 120 have none, 'sub-01_ses-01_trial-0003' first. "
        "Run `dvc repro retrieve`."
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        scores_of(study)


def test_missing_caption_is_named():
    study = make_study()
    study.captions = study.captions.filter(
        [caption != "stimulus-003_ThemeTag" for caption in study.captions["caption_id"].to_pylist()]
    )
    message = (
        "Every held-out stimulus needs a caption of kind ThemeTag; 1 have none, 'stimulus-003' "
        "first. Run `dvc repro caption`."
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        scores_of(study)


def test_no_held_out_trial_is_an_error():
    study = make_study()
    study.trials = study.trials.filter([s == "train" for s in study.trials["split"].to_pylist()])
    message = "Evaluation needs kept trials of the splits test, zero_shot; found none."
    with pytest.raises(PerceptError, match=message):
        scores_of(study)
