"""Scores of renders: equal to those of torchmetrics on the same pictures, and what failures look like."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torchmetrics.image.inception import InceptionScore

from tasks.artifacts.metrics import Score
from tasks.scores.distances import SPLIT_SEED, score_over_splits
from tasks.scores.failures import (
    answers_of_another_kind,
    distinct_pictures,
    failure_examples,
    hallucinations,
    hubs,
    strayed_heads,
)
from tasks.scores.held_out import HeldOut
from tasks.scores.judged import Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.pixel import against_others, n_way_scores
from tasks.scores.published import n_way_hits, standardised
from tasks.simulation.judge import Judgement
from tasks.statistics.corrections import holm, holm_over_heads
from tests.synthetic_study import make_study

PARAMS = ScoreParams(ks=(1,), n_resamples=200, n_permutations=200, confidence=0.95, seed=0)
CONCEPTS = tuple(f"c{i}" for i in range(12))


def pictures(seen, probability=0.95, vectors=None):
    """Return one picture per stimulus in which the judge sees these concepts."""
    n = len(seen)
    rest = (1 - probability) / (len(CONCEPTS) - 1)
    probabilities = np.full((n, len(CONCEPTS)), rest)
    probabilities[np.arange(n), [CONCEPTS.index(c) for c in seen]] = probability
    rows = pd.DataFrame(
        {
            "stimulus_id": [f"s{i:02d}" for i in range(n)],
            "trial_id": [f"t{i:02d}" for i in range(n)],
            "condition": "decoded",
            "sample": 0,
        }
    )
    judgement = Judgement({"concept": tuple(seen)}, {"concept": probabilities})
    return Pictures(rows, np.eye(n) if vectors is None else vectors, judgement)


def test_pixcorr_is_the_correlation_of_pixels():
    rng = np.random.default_rng(0)
    a, b = rng.random((4, 300)), rng.random((3, 300))
    ours = standardised(a) @ standardised(b).T
    assert ours == pytest.approx(np.corrcoef(a, b)[:4, 4:])


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save:UserWarning")
def test_inception_score_over_splits_is_that_of_torchmetrics():
    probabilities = np.random.default_rng(0).dirichlet(np.full(10, 0.3), 40)

    class Logits(torch.nn.Module):
        def forward(self, pictures):
            return pictures

    metric = InceptionScore(feature=Logits(), splits=4)
    theirs_order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).numpy()
    shuffled = np.empty_like(probabilities)  # so that both split the pictures alike
    shuffled[np.random.default_rng(SPLIT_SEED).permutation(40)] = probabilities[theirs_order]
    metric.update(torch.from_numpy(np.log(probabilities)))
    torch.manual_seed(0)
    theirs = metric.compute()
    ours = score_over_splits(shuffled, n_splits=4)
    assert ours[0] == pytest.approx(float(theirs[0]), rel=1e-4)
    assert ours[2] == 4


def test_n_way_is_the_expectation_of_random_draws():
    rng = np.random.default_rng(0)
    likelier, n, k = 7, 5, 2
    others = np.arange(11) < likelier
    drawn = [rng.permutation(others)[: n - 1].sum() < k for _ in range(20_000)]
    assert n_way_hits(12, n, k)[likelier] == pytest.approx(np.mean(drawn), abs=0.01)
    assert n_way_hits(12, 12, 1).tolist() == [1, *[0] * 11]


def test_n_way_knows_no_more_classes_than_the_classifier():
    shown = pictures(CONCEPTS)
    found = n_way_scores(shown, shown, PARAMS)
    assert set(found) == {(2, 1), (10, 1)}
    assert {s.value for s in found.values()} == {1}
    assert found[10, 1].chance == 0.1


def test_a_sure_and_wrong_picture_is_a_hallucination():
    shown = dict(zip([f"s{i:02d}" for i in range(12)], CONCEPTS, strict=True))
    wrong = [*CONCEPTS[:9], "c0", "c1", "c2"]
    assert hallucinations(pictures(wrong), shown, PARAMS).value == pytest.approx(3 / 12)
    assert hallucinations(pictures(wrong, probability=0.6), shown, PARAMS).value == 0
    found = failure_examples(pictures(wrong), shown, retrieved(), retrieved())
    examples = found[found["signature"] == "hallucination"]
    assert examples["trial_id"].tolist() == ["t09", "t10", "t11"]
    assert examples["note"].iloc[0] == "The judge is 95% sure of a c0."


def test_pictures_that_are_all_alike_are_a_collapse():
    same = np.tile(np.eye(12)[:1], (12, 1))
    score = distinct_pictures(pictures(CONCEPTS, vectors=same), np.eye(12), PARAMS)
    assert score.value == pytest.approx(1 / 12)
    assert score.ceiling == 1
    assert distinct_pictures(pictures(CONCEPTS), np.eye(12), PARAMS).value == 1
    found = failure_examples(pictures(CONCEPTS, vectors=same), {}, retrieved(), retrieved())
    assert (found["signature"] == "mode collapse").sum() == 6


def retrieved(hub=False):
    text = ["a dog"] * 12 if hub else [f"a {c}" for c in CONCEPTS]
    ids = [f"{i:02d}" for i in range(12)]
    return pd.DataFrame(
        {
            "trial_id": [f"t{i}" for i in ids],
            "stimulus_id": [f"s{i}" for i in ids],
            "kind": "ObjectSnap",
            "text": text,
        }
    )


def test_a_caption_for_all_is_a_hub():
    found = hubs(retrieved(hub=True), retrieved(), 100, 0)[
        "most_retrieved_caption_share_ObjectSnap"
    ]
    assert (found.value, found.ceiling) == (1, pytest.approx(1 / 12))
    assert "“a dog”, is nearest to 100.0% of the trials" in found.verdict
    assert (
        hubs(retrieved(), retrieved(), 100, 0)["most_retrieved_caption_share_ObjectSnap"].low
        >= 1 / 12
    )


def test_a_hub_is_more_frequent_than_any_caption_of_its_kind_is_true():
    """Of a kind with two captions, one is nearest to half of the trials when all is right."""
    two = retrieved().assign(text=["indoors", "outdoors"] * 6)
    found = failure_examples(pictures(CONCEPTS), {}, two, two)
    assert "hub" not in set(found["signature"])
    found = failure_examples(pictures(CONCEPTS), {}, two.assign(text="indoors"), two)
    hub = found[found["signature"] == "hub"]
    assert len(hub) == 6
    assert hub["note"].iloc[0] == (
        "“indoors” (ObjectSnap) is nearest to 100% of the trials; the most frequent true caption of its kind "
        "belongs to 50%."
    )


@pytest.mark.parametrize("n_samples", [1, 4, 8])
def test_samples_of_one_stimulus_are_no_independent_likeness(n_samples):
    """Renders of the same words are alike: chance likeness of one is that of all."""
    rng, n_stimuli, p_values = np.random.default_rng(0), 20, []
    own = np.repeat(np.arange(n_stimuli), n_samples)
    for seed in range(120):
        found = rng.normal(size=(n_stimuli, n_stimuli))[own] + 2 * rng.normal(size=n_stimuli)
        params = PARAMS.model_copy(update={"seed": seed, "n_resamples": 2})
        resampling = params.draw([f"{s:02d}" for s in own], [f"{s:02d}" for s in range(n_stimuli)])
        p_values.append(
            against_others(
                lambda of, found=found: found[np.arange(len(of)), of],
                [f"{s:02d}" for s in own],
                resampling,
                params,
                unit="similarity",
            ).p_value
        )
    assert np.mean(np.array(p_values) <= 0.05) <= 0.12  # 0.05 and three standard errors


def test_holm_adjusts_within_a_family_and_never_reorders():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    scores = {
        "caption_recall_at_1_of_161_ObjectSnap": Score(value=0.5, n=9, p_value=0.01),
        "caption_recall_at_1_of_4_SpatialLink": Score(value=0.5, n=9, p_value=0.04),
        "concept_recall_at_1_of_40_ObjectSnap": Score(value=0.5, n=9, p_value=0.04),
        "concept_recall_at_1_of_40": Score(value=0.5, n=9, p_value=0.04),
    }
    found = holm_over_heads(scores, ["ObjectSnap", "SpatialLink"])
    assert [s.p_holm for s in found.values()] == pytest.approx([0.02, 0.04, 0.04, None])


def test_a_head_that_answers_for_another_is_a_collapse():
    held_out = HeldOut.join(*make_study(noise=0.0, n_per_split=4).tables)
    first, second = list(held_out.predicted)[:2]
    honest = answers_of_another_kind(strayed_heads(held_out, 0), PARAMS)
    copied = {**held_out.predicted, first: held_out.predicted[second]}
    collapsed = replace(held_out, predicted=copied)
    strayed = strayed_heads(collapsed, 0)
    found = answers_of_another_kind(strayed, PARAMS)
    assert found[f"answers_of_another_kind_{first}"].value > 0.9
    assert found[f"answers_of_another_kind_{first}"].p_value < 0.05
    assert (
        f"most often {second}: more often than" in found[f"answers_of_another_kind_{first}"].verdict
    )
    assert honest[f"answers_of_another_kind_{first}"].value < 0.2
    trials = held_out.trials["trial_id"].head(12).tolist()
    renders = pictures(CONCEPTS)
    renders.rows["trial_id"] = trials
    examples = failure_examples(renders, {}, retrieved(), retrieved(), strayed)
    notes = examples.loc[examples["signature"] == "head collapse", "note"]
    assert notes.iloc[0].startswith(f"The {first} head is nearest to a {second} caption, “")
