"""A confidence is as often right as it says, also where nearly every answer is right."""

import numpy as np
import pytest

from tasks.decoding.calibration import calibrate


def drawn(n: int, level: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return evidence, and answers that are right the more often the larger the margin is."""
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0.0, 1.0, (n, 2))
    odds = level + 2 * evidence[:, 1]
    return evidence, rng.random(n) < 1 / (1 + np.exp(-odds))


@pytest.mark.parametrize("level", [-1.0, 0.0, 2.0])
def test_a_confidence_is_right_as_often_as_it_says(level: float) -> None:
    found = calibrate(drawn(2000, level, 0), drawn(4000, level, 1), drawn(0, level, 2))
    assert found.error < 0.05
    assert found.error_of_new_concepts is None
    assert found.slopes[1] > 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_all_answers_are_alike_their_share_is_the_confidence(share: float) -> None:
    evidence, right = drawn(100, 0.0, 0)[0], np.full(100, bool(share))
    found = calibrate((evidence, right), (evidence, right), (evidence, ~right))
    assert found.confidence(evidence) == pytest.approx((100 * share + 1) / 102)
    assert found.error < 0.05
    assert found.error_of_new_concepts > 0.9


def test_few_trials_calibrate_nothing() -> None:
    assert calibrate(*[drawn(10, 0.0, seed) for seed in range(3)]) is None
