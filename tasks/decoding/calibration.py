"""How often a caption that is found with such a cosine says what the picture's own caption says.

Platt scaling, as in `tasks.scores.confidence`, here for each kind of caption: a logistic regression from the
nearest caption's cosine and its margin over the next, fitted on validation trials, checked on test trials.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.clip.search import top_k
from tasks.clip.vectors import Vectors
from tasks.scores.confidence import MIN_TRIALS, calibration_error

Evidence = Float[np.ndarray, "n_trials 2"]


class Calibration(BaseModel):
    """A logistic regression in plain numbers.

    Attributes
    ----------
    slopes : tuple of float
        Of the cosine and of its margin over the next caption's.
    intercept : float
        Log odds where both are 0.
    n_trials : int
        Validation trials that it was fitted on.
    error : float or None
        Expected calibration error on test trials, of concepts that were trained; None where there are none.
    error_of_new_concepts : float or None
        The same on trials of concepts that were never trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    slopes: tuple[float, float]
    intercept: float
    n_trials: int
    error: float | None
    error_of_new_concepts: float | None

    def confidence(self, evidence: Evidence) -> Float[np.ndarray, " n_trials"]:
        """Return the probability that each caption says what the picture's own caption says."""
        odds = evidence @ np.array(self.slopes) + self.intercept
        return np.asarray(1 / (1 + np.exp(-odds)))


def evidence_of(vectors: Vectors, candidates: Vectors) -> Evidence:
    """Return the cosine of the nearest candidate, and its margin over the nearest that says something else.

    Parameters
    ----------
    candidates : Vectors
        Distinct ones, two at least.
    """
    _, cosines = top_k(vectors, candidates, 2)
    return np.stack([cosines[:, 0], cosines[:, 0] - cosines[:, 1]], axis=1).astype(np.float64)


def calibrate(
    validation: tuple[Evidence, Bool[np.ndarray, " n"]],
    test: tuple[Evidence, Bool[np.ndarray, " n"]],
    zero_shot: tuple[Evidence, Bool[np.ndarray, " n"]],
) -> Calibration | None:
    """Fit on validation trials and check on held-out trials; None where the former are too few.

    Where nearly all of them are right, or wrong, the confidence is their share (rule of succession), whatever the cosine.

    Parameters
    ----------
    validation, test, zero_shot : tuple
        What `evidence_of` returns, and whether the nearest caption is right.
    """
    evidence, right = validation
    if len(right) < MIN_TRIALS:
        return None
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if min(n_right, n_wrong) < MIN_TRIALS // 10:
        slopes, intercept = np.zeros(2), math.log((n_right + 1) / (n_wrong + 1))
    else:
        scaler, regression = StandardScaler(), LogisticRegression()
        make_pipeline(scaler, regression).fit(evidence, right)
        slopes = regression.coef_[0] / scaler.scale_
        intercept = float(regression.intercept_[0] - slopes @ scaler.mean_)
    found = Calibration(
        slopes=(float(slopes[0]), float(slopes[1])),
        intercept=intercept,
        n_trials=len(right),
        error=None,
        error_of_new_concepts=None,
    )
    errors = {"error": _error(found, *test), "error_of_new_concepts": _error(found, *zero_shot)}
    return found.model_copy(update=errors)


def _error(found: Calibration, evidence: Evidence, right: Bool[np.ndarray, " n"]) -> float | None:
    if not len(right):
        return None
    error = calibration_error(found.confidence(evidence), right.astype(np.float64))
    return round(float(np.squeeze(error)), 6)
