"""A confidence that means what it says, and where none can be had."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.scores.confidence import calibration_error, confidence_scores, validation_trials
from tasks.scores.held_out import HeldOut
from tasks.scores.params import ScoreParams
from tests.synthetic_study import make_study

PARAMS = ScoreParams(ks=(1,), n_resamples=200, n_permutations=20, confidence=0.95, seed=0)


def checked(study):
    trials = study.trials.to_pandas()
    number = trials["stimulus_id"].str[-3:].astype(int)
    trials.loc[(trials["split"] == "test") & (number % 2 == 0), "split"] = "validation"
    study.trials = pa.Table.from_pandas(trials, study.trials.schema, preserve_index=False)
    held_out = HeldOut.join(*study.tables)
    return confidence_scores(held_out, validation_trials(*study.tables), PARAMS)


def test_the_error_is_that_of_the_bins():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=20_000)
    honest = (rng.uniform(size=20_000) < confidence).astype(float)
    assert calibration_error(confidence, honest) < 0.02
    assert calibration_error(confidence, 1 - honest) > 0.4
    assert calibration_error(np.full(400, 0.75), np.arange(400) % 4 > 0) == pytest.approx(0)
    twice = np.vstack([np.ones(100), np.r_[np.ones(50), np.zeros(50)]])
    found = calibration_error(np.full(100, 0.75), np.r_[np.ones(50), np.zeros(50)], twice)
    assert found == pytest.approx([0.5, 0.25])


@pytest.fixture(scope="module")
def noisy():
    return checked(make_study(noise=1.0, n_per_split=30))


def test_sure_answers_are_right_more_often(noisy):
    scores, table = noisy
    assert 0.1 < table["correct"].mean() < 0.95
    surest = scores["concept_accuracy_of_surest_25_percent"]
    assert surest.low <= surest.value <= surest.high
    assert surest.value > surest.chance == pytest.approx(table["correct"].mean())
    assert scores["concept_calibration_error"].value < 0.1
    sure = table[table["confidence"] >= 0.5]
    assert scores["concept_accuracy_answered_at_half"].value == pytest.approx(
        sure["correct"].mean()
    )
    share = scores["concept_share_answered_at_half"]
    assert share.value == pytest.approx(len(sure) / len(table))
    assert share.n == len(table)


def test_without_validation_trials_there_is_no_confidence():
    study = make_study(noise=1.0, n_per_split=6)
    held_out = HeldOut.join(*study.tables)
    scores, table = confidence_scores(held_out, None, PARAMS)
    assert scores == {}
    assert table.empty
