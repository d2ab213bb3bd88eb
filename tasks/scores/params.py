"""Params that all scores share."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pydantic import Field, NonNegativeInt, PositiveInt

from tasks.runtime.params import Params
from tasks.scores.score import columns_of
from tasks.statistics.resampling import Resampling

OBJECT_TIER = "object"
TIERS = (OBJECT_TIER, "spatial", "thematic")


class ScoreParams(Params):
    """Which ranks count, and how intervals and p-values are made."""

    ks: tuple[PositiveInt, ...] = Field(min_length=1)
    n_resamples: PositiveInt
    n_permutations: PositiveInt
    confidence: float = Field(gt=0, lt=1)
    seed: NonNegativeInt

    def draw_rows(self, rows: pd.DataFrame, stimulus_ids: Sequence[str]) -> Resampling:
        """Draw bootstrap samples and permutations for trials or pictures, of stimuli and subjects.

        Parameters
        ----------
        rows : pandas.DataFrame
            Column stimulus_id; subject, where there is one.
        """
        subjects = rows["subject"].tolist() if "subject" in rows else None
        return self.draw(rows["stimulus_id"].tolist(), stimulus_ids, subjects)

    def draw(
        self,
        items: Sequence[str],
        stimulus_ids: Sequence[str],
        subjects: Sequence[str] | None = None,
    ) -> Resampling:
        """Draw bootstrap samples and permutations for items (trials, pictures) of these stimuli."""
        return Resampling.draw(
            columns_of(items, stimulus_ids, "the scored stimuli"),
            len(stimulus_ids),
            n_resamples=self.n_resamples,
            n_permutations=self.n_permutations,
            confidence=self.confidence,
            seed=self.seed,
            subjects=subjects,
        )
