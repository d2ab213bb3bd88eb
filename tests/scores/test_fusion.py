"""Weights of heads that validation trials choose."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.scores.confidence import validation_trials
from tasks.scores.fusion import fusion_weights, learned_fusion_scores
from tasks.scores.held_out import HeldOut
from tasks.scores.params import ScoreParams
from tasks.scores.retrieval import stimulus_scores
from tests.synthetic_study import make_study

PARAMS = ScoreParams(ks=(1,), n_resamples=20, n_permutations=20, confidence=0.95, seed=0)


def test_a_head_that_knows_is_trusted_and_one_that_guesses_is_not():
    rng = np.random.default_rng(0)
    shown = rng.integers(8, size=500)
    cosines = rng.normal(0, 0.1, (3, 500, 8))
    cosines[0, np.arange(500), shown] += 0.3
    cosines[1, np.arange(500), shown] += 0.1
    knows, hints, guesses = fusion_weights(cosines, shown)
    assert knows > 2 * hints > 0
    assert guesses < hints / 3
    assert knows == pytest.approx(0.3 / 0.1**2, rel=0.3)  # what Gaussian evidence is worth


def study_with_validation():
    study = make_study(noise=1.0, n_per_split=30)
    trials = study.trials.to_pandas()
    number = trials["stimulus_id"].str[-3:].astype(int)
    trials.loc[(trials["split"] == "test") & (number % 2 == 0), "split"] = "validation"
    study.trials = pa.Table.from_pandas(trials, study.trials.schema, preserve_index=False)
    held_out = HeldOut.join(*study.tables)
    validation = validation_trials(*study.tables)
    rng = np.random.default_rng(0)
    spoilt = next(iter(held_out.predicted))
    for part in (held_out, validation):
        vectors = rng.standard_normal(part.predicted[spoilt].shape)
        part.predicted[spoilt] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return held_out, validation


def test_learned_fusion_is_better_than_a_mean_where_a_head_only_guesses():
    held_out, validation = study_with_validation()
    (name,) = {n for n in learned_fusion_scores(held_out, validation, PARAMS) if "recall" in n}
    learned = learned_fusion_scores(held_out, validation, PARAMS)[name]
    plain = stimulus_scores(held_out, "", PARAMS)[name.replace("learned_fused_", "")]
    assert learned.value > 1.2 * plain.value
    assert learned.p_value < 0.1


def test_without_validation_trials_nothing_is_learned():
    held_out, _ = study_with_validation()
    assert learned_fusion_scores(held_out, None, PARAMS) == {}
