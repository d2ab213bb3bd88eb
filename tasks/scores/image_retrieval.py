"""The field's headline: which picture's own vector the image head's prediction is nearest to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tasks.artifacts.metrics import Score
from tasks.scores.held_out import HeldOut, vectors_of
from tasks.scores.params import ScoreParams
from tasks.scores.ranking import Ranking, Vectors, rank
from tasks.scores.score import ranking_scores


def image_scores(
    held_out: HeldOut, predictions: pa.Table, gallery: pa.Table, params: ScoreParams
) -> dict[str, Score]:
    """Score the identification of the picture among all held-out pictures, by their own vectors.

    Where the encoder has no image head, there is no score.

    Parameters
    ----------
    predictions, gallery : pyarrow.Table
        `image_predictions` and `image_gallery`.
    """
    if not len(predictions):
        return {}
    some = held_out.main()
    stimulus_ids, remedy = some.stimuli(), "Run `dvc repro retrieve`."
    seen = vectors_of(predictions, "trial_id", some.trials["trial_id"].tolist(), remedy)
    candidates = vectors_of(gallery, "stimulus_id", stimulus_ids, remedy)
    ranking = image_ranking(seen, candidates)
    resampling = params.draw_rows(some.trials, stimulus_ids)
    return ranking_scores("image", "", ranking, len(stimulus_ids), params.ks, resampling)


def image_ranking(seen: Vectors, candidates: Vectors) -> Ranking:
    """Rank pictures by what was decoded; pictures with one and the same vector share their places.

    Parameters
    ----------
    seen : Float[np.ndarray, "n_trials dim"]
        Unit vectors decoded from the trials.
    candidates : Float[np.ndarray, "n_stimuli dim"]
        Unit vectors of the pictures.
    """
    distinct, of, sizes = np.unique(candidates, axis=0, return_inverse=True, return_counts=True)
    return rank(seen @ distinct.T, sizes).for_stimuli(of)
