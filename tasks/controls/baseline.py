"""What a simple method names from the same trials: a linear discriminant on bins of time, given all training trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from tasks.artifacts.splits import VALIDATION
from tasks.controls.answers import in_words, resampling_of, score_guesses
from tasks.controls.evidence import Evidence, Finding
from tasks.controls.small_decoder import can_learn, fit_small_decoder, means_of_bins
from tasks.statistics.resampling import Estimate

N_BINS, N_COMPONENTS = (8, 16), (100, 300, 600)
"""Bins of time, and principal components of them, that validation trials choose among."""
TRIALS_AT_ONCE = 512


def simple_decoder(evidence: Evidence) -> Finding | None:
    """Train shrinkage LDA (Blankertz et al. 2011) on bins of time; None where it can name no audited concept.

    It sees every training trial that the encoder saw, and its bins and components are chosen on the validation trials
    by which the encoder's epoch is chosen.
    """
    trials, trained = evidence.trials, evidence.trained
    concepts = trained["concept"].tolist()
    if not can_learn(concepts) or not set(concepts) & set(evidence.shown["concept"]):
        return None
    validation = trials[(trials["split"] == VALIDATION) & trials["kept"]]
    best, guesses = -1.0, list[str]()
    for n_bins in N_BINS:
        taught, asked, *checked = _features(
            evidence, [trained, evidence.shown, *([validation] if len(validation) else [])], n_bins
        )
        for n_components in N_COMPONENTS:
            fitted = fit_small_decoder(taught, concepts, evidence.params.seed, n_components)
            right = sum(
                float(np.mean(fitted.predict(features) == validation["concept"].to_numpy(str)))
                for features in checked
            )
            if right > best:
                best, guesses = right, fitted.predict(asked).tolist()
    score = score_guesses(evidence.held_out, guesses, evidence.params)
    ahead = _ahead(evidence, guesses)
    verdict = (
        f"Shrinkage LDA on bins of time, a simple method, names the concept in {in_words(score)}; the "
        f"encoder names {ahead.value:+.3f} beside it ({ahead.low:+.3f} to {ahead.high:+.3f})."
    )
    return Finding(score.model_copy(update={"verdict": verdict}))


def _features(
    evidence: Evidence, parts: Sequence[pd.DataFrame], n_bins: int
) -> list[Float[np.ndarray, "n_trials n_features"]]:
    """Return the bins of some trials, less the mean of the subject in the first part, or of all for a stranger."""
    found = [_read(evidence, part["trial_id"].tolist(), n_bins) for part in parts]
    subjects = parts[0]["subject"].to_numpy(str)
    means = {s: found[0][subjects == s].mean(axis=0) for s in np.unique(subjects)}
    of_all = found[0].mean(axis=0)
    return [
        features - np.array([means.get(s, of_all) for s in part["subject"]]).reshape(features.shape)
        for features, part in zip(found, parts, strict=True)
    ]


def _read(
    evidence: Evidence, trial_ids: Sequence[str], n_bins: int
) -> Float[np.ndarray, "n_trials n_features"]:
    """Read epochs some hundred at a time, and keep their bins."""
    starts = range(0, len(trial_ids), TRIALS_AT_ONCE)
    parts = (evidence.read(trial_ids[start : start + TRIALS_AT_ONCE]) for start in starts)
    return np.concatenate([means_of_bins(part, n_bins) for part in parts])


def _ahead(evidence: Evidence, guesses: Sequence[str]) -> Estimate:
    """Return how much more often the encoder is right, on the same trials."""
    right = np.asarray(guesses) == evidence.shown["concept"].to_numpy(str)
    resampling = resampling_of(evidence.held_out.trials, evidence.params)
    return resampling.estimate(evidence.own_hits - right)
