"""Answers of a decoder, or of a guesser, scored against the concepts that were shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field, NonNegativeInt, PositiveInt

from tasks._params import Params
from tasks.analysis.decoding import OBJECT_TIER, concept_ranking
from tasks.analysis.held_out import HeldOut
from tasks.analysis.scores import SIGNIFICANCE, agreement, columns_of, score
from tasks.analysis.statistics import Resampling
from tasks.artifacts.metrics import Score

Hits = Float[np.ndarray, "n_trials n_stimuli"]
"""What the answer for a trial scores if the stimulus had been that of the column."""


class ControlParams(Params):
    """How intervals and p-values of controls are made.

    Attributes
    ----------
    n_shuffles : int
        Shuffles whose mean is the shuffled-EEG control.
    prestimulus_end_s : float
        Relative to picture onset: what comes later cannot be known to the prestimulus control.
    n_resamples, n_permutations : int
        Of the bootstrap over stimuli and of stimuli.
    confidence : float
        Of intervals.
    seed : int
        Of everything random.
    """

    n_shuffles: PositiveInt
    prestimulus_end_s: float
    n_resamples: PositiveInt
    n_permutations: PositiveInt
    confidence: float = Field(gt=0, lt=1)
    seed: NonNegativeInt


def concept_hits(held_out: HeldOut) -> Hits:
    """Return 1 where the concept that is named from a trial is that of a stimulus."""
    names = held_out.concepts()
    ranking = concept_ranking(held_out, held_out.kinds(OBJECT_TIER), names)
    shown = shown_stimuli(held_out.trials)
    columns = columns_of(shown["concept"].tolist(), names, "the candidate concepts")
    return ranking.for_stimuli(columns).recall(1)


def score_guesses(held_out: HeldOut, guesses: Sequence[str], params: ControlParams) -> Score:
    """Score one guessed concept per trial."""
    shown = shown_stimuli(held_out.trials)
    return score_hits(held_out.trials, agreement(guesses, shown["concept"].tolist()), params)


def score_hits(trials: pd.DataFrame, hits: Hits, params: ControlParams) -> Score:
    """Score answers against what was shown; chance is what they score for permuted stimuli."""
    stimuli = shown_stimuli(trials)["stimulus_id"].tolist()
    resampling = Resampling.draw(
        columns_of(trials["stimulus_id"].tolist(), stimuli, "the scored stimuli"),
        len(stimuli),
        n_resamples=params.n_resamples,
        n_permutations=params.n_permutations,
        confidence=params.confidence,
        seed=params.seed,
    )
    return score(hits, resampling, chance=None)


def shown_stimuli(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one trial of each stimulus, in the order of their ids."""
    return trials.drop_duplicates("stimulus_id").sort_values("stimulus_id")


def beats_chance(found: Score, n_tests: int = 1) -> bool:
    """Tell whether a score is above chance, by its interval and by its permutation p-value.

    Parameters
    ----------
    found : Score
        With an interval and a p-value.
    n_tests : int
        How many scores are asked at once; the level of the test is divided by it.
    """
    above = found.low is None or found.chance is None or found.low > found.chance
    return above and (found.p_value is None or found.p_value < SIGNIFICANCE / n_tests)


def in_words(found: Score) -> str:
    """Say a score beside what guessing scores."""
    return f"{found.value:.3f} (chance {found.chance:.3f})"


def judged(found: Score, above: str, at_chance: str) -> Score:
    """Add the sentence that fits: above chance, or not."""
    verdict = above if beats_chance(found) else at_chance
    return found.model_copy(update={"verdict": verdict})
