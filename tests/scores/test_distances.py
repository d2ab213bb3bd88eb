import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from tasks.runtime.errors import PerceptError
from tasks.scores.distances import (
    SPLIT_SEED,
    Halves,
    frechet_distance,
    inception_score,
    kernel_distance,
)

HALVES = Halves(n_halves=60, confidence=0.95, seed=0)
DISTANCES = [kernel_distance, frechet_distance]


class Identity(torch.nn.Module):
    num_features = 16

    def forward(self, x):
        return x


def features(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 16)) + shift * np.eye(16)[0]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def metric(of, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchmetrics warns that it keeps features
        return of(feature=Identity(), **options)


def test_kid_of_one_distribution_is_near_zero_and_of_two_is_not():
    same = kernel_distance(features(150, 0), features(150, 1), HALVES)
    other = kernel_distance(features(150, 0), features(150, 1, shift=2), HALVES)
    assert same.low < 0 < same.high
    assert abs(same.value) < 0.05 * other.value
    assert other.low > 0


def test_fid_tells_distributions_apart_beyond_its_floor():
    floor = frechet_distance(features(150, 0), features(150, 1), HALVES)
    other = frechet_distance(features(150, 0), features(150, 1, shift=2), HALVES)
    assert 0 < floor.high < other.low


def test_fid_equals_that_of_torchmetrics():
    real, generated = features(80, 0), features(60, 1, shift=1)
    theirs = metric(FrechetInceptionDistance)
    theirs.update(torch.from_numpy(real).double(), real=True)
    theirs.update(torch.from_numpy(generated).double(), real=False)
    ours = frechet_distance(real, generated, HALVES).value
    assert ours == pytest.approx(float(theirs.compute()))


def test_kid_equals_that_of_torchmetrics():
    real, generated = features(80, 0), features(80, 1, shift=1)
    theirs = metric(KernelInceptionDistance, subsets=400, subset_size=40, gamma=1.0)
    theirs.update(torch.from_numpy(real), real=True)
    theirs.update(torch.from_numpy(generated), real=False)
    torch.manual_seed(0)
    mean, spread = (float(number) for number in theirs.compute())
    ours = kernel_distance(real, generated, Halves(400, 0.95, 0))
    assert ours.value == pytest.approx(mean, rel=0.1)
    assert ours.high - ours.value == pytest.approx(1.96 * spread, rel=0.15)


def test_inception_score_equals_that_of_torchmetrics():
    logits = 4 * np.random.default_rng(0).standard_normal((90, 16))
    theirs = metric(InceptionScore, splits=10)
    theirs.update(torch.from_numpy(logits))
    order = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(90))
    with pytest.MonkeyPatch.context() as patch:  # the same pictures in each split
        patch.setattr(torch, "randperm", lambda n: order)
        expected = float(theirs.compute()[0])
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    assert inception_score(probabilities, HALVES).value == pytest.approx(expected)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert inception_score(np.full((40, 8), 1 / 8), HALVES).value == pytest.approx(1)
    certain = np.eye(8)[np.arange(4000) % 8]
    assert inception_score(certain, HALVES).value == pytest.approx(8, rel=0.03)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_inception_score_of_rows_by_class_is_that_of_shuffled_rows(seed):
    """A block design stores one class after another: a tenth of the rows holds a tenth of the classes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(400, 20)) + 6 * np.eye(20)[np.arange(400) // 20]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    halves = Halves(2, 0.95, 0)
    in_order = inception_score(probabilities, halves).value
    mixed = inception_score(probabilities[rng.permutation(400)], halves).value
    assert in_order == pytest.approx(mixed, rel=0.1)


def test_interval_has_the_width_of_repeated_samples():
    estimates = [
        kernel_distance(features(60, s), features(60, 1000 + s, shift=1), HALVES) for s in range(60)
    ]
    spread = np.std([estimate.value for estimate in estimates])
    margin = np.mean([estimate.high - estimate.value for estimate in estimates])
    assert margin == pytest.approx(1.96 * spread, rel=0.35)


@pytest.mark.parametrize("distance", DISTANCES)
def test_too_few_pictures_are_an_error(distance):
    message = (
        "A distance between sets needs at least 4 pictures in each; found 3. "
        "Raise `render.max_trials`."
    )
    with pytest.raises(PerceptError, match=re.escape(message)):
        distance(features(40, 0), features(3, 1), HALVES)
