"""How like its stimulus a render is, pixel by pixel, and how well a classifier tells its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tasks.artifacts.metrics import Score
from tasks.scores.judged import CONCEPT, Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.published import SIDE_PX, n_way, pixel_correlations, structural_similarities
from tasks.scores.ranking import Vectors
from tasks.scores.score import columns_of, score
from tasks.statistics.draws import derangement
from tasks.statistics.permutation import sign_flip_p_value
from tasks.statistics.resampling import STIMULI, Resampling
from tasks.statistics.verdicts import against_shuffled

N_EXCHANGES = 9
"""Times that renders are compared with other stimuli than their own, for chance."""

SSIM_EXCHANGES = 3
"""The same of SSIM, which takes 20 ms a pair."""

N_FITS = 20
"""Rounds in which the parts of renders and of stimuli are fitted: more change nothing that is seen."""

MIN_STIMULI = 3
"""Fewer have no other stimuli that renders could be compared with."""

N_WAYS: Sequence[tuple[int, int]] = ((2, 1), (10, 1), (40, 1), (50, 1), (50, 5), (100, 1))
"""How many classes a trial is asked among, and how many guesses count, where a classifier has so many."""


def pixel_scores(renders: Pictures, stimuli: Pictures, params: ScoreParams) -> dict[str, Score]:
    """Score the correlation of pixels (PixCorr) and structural similarity (SSIM) with the stimulus.

    Parameters
    ----------
    renders, stimuli : Pictures
        Of one condition, and of all rendered stimuli.
    """
    stimulus_ids = sorted(set(renders.rows["stimulus_id"]))
    rows = columns_of(stimulus_ids, stimuli.rows["stimulus_id"], "`stimuli`")
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    drawn = renders.rows["image_path"].tolist()
    shown = stimuli.rows["image_path"].iloc[rows].to_numpy(str)
    correlations = np.asarray(pixel_correlations(drawn, shown.tolist()), np.float64)
    scores = {"pixcorr": score(correlations, resampling, chance=None, unit="correlation")}
    similarity = against_others(
        lambda own: structural_similarities(drawn, shown[own].tolist()),
        renders.rows["stimulus_id"].tolist(),
        resampling,
        params,
        unit="similarity",
        n_exchanges=SSIM_EXCHANGES,
    )
    if similarity is not None:
        note = f"At {SIDE_PX} px, as published: chance is what another test picture gets."
        scores["ssim"] = similarity.model_copy(update={"verdict": f"{similarity.verdict} {note}"})
    return scores


def against_others(
    compare: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, " n"]],
    stimuli: Sequence[str],
    resampling: Resampling,
    params: ScoreParams,
    *,
    unit: str,
    lower_is_better: bool = False,
    n_exchanges: int = N_EXCHANGES,
) -> Score | None:
    """Score a measure of pairs, by chance of the same pictures beside other stimuli; None for too few.

    Parameters
    ----------
    compare : Callable[[Int[np.ndarray, "n"]], Float[np.ndarray, "n"]]
        Columns of stimuli, one per render, to the measure of each pair.
    stimuli : Sequence[str]
        Own stimulus of each render.
    unit, lower_is_better : str, bool
        As in `Score`.
    n_exchanges : int
        How many other stimuli each picture is compared with.
    """
    if len(set(stimuli)) < MIN_STIMULI:
        return None
    seeds = range(params.seed, params.seed + n_exchanges)
    sources = [derangement(stimuli, seed) for seed in seeds]
    own = compare(resampling.own)
    others = np.stack([compare(resampling.own[source]) for source in sources])
    gain = own - _without_pair(others, np.stack(sources), resampling.own)
    scatter = np.sqrt(1 + 2 / n_exchanges)  # of the fits
    gain = gain.mean() + (gain - gain.mean()) / scatter
    p_value = sign_flip_p_value(
        -gain if lower_is_better else gain,
        pd.DataFrame({"stimulus_id": stimuli}),
        "stimuli",
        params.n_permutations,
        params.seed,
    )
    found = Score(
        **vars(resampling.estimate(own)),
        n=len(own),
        chance=float(others.mean()),
        p_value=p_value,
        exchanged=STIMULI,
        lower_is_better=lower_is_better,
        unit=unit,
        resampled=resampling.resampled,
    )
    return found.model_copy(update={"verdict": against_shuffled(found)})


def _without_pair(
    others: Float[np.ndarray, "n_exchanges n"],
    sources: Int[np.ndarray, "n_exchanges n"],
    own: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Return what a pair would score if render and stimulus had nothing to do with each other.

    That is a part of the render plus a part of the stimulus, fitted to pairs that do not belong together by
    alternating least squares: some pictures are like everything, and that is no likeness of a pair.
    """
    of = own[sources]
    counts = np.maximum(np.bincount(of.ravel(), minlength=int(own.max()) + 1), 1)
    of_stimulus = np.zeros(len(counts))
    for _ in range(N_FITS):
        of_render = (others - of_stimulus[of]).mean(axis=0)
        left = (others - of_render).ravel()
        of_stimulus = np.bincount(of.ravel(), weights=left, minlength=len(counts)) / counts
    return np.asarray(of_render + of_stimulus[own])


def n_way_scores(
    renders: Pictures, stimuli: Pictures, params: ScoreParams
) -> dict[tuple[int, int], Score]:
    """Score n-way top-k classification: is the class of the stimulus among the k likeliest of n.

    Parameters
    ----------
    renders, stimuli : Pictures
        Of one condition, and of all rendered stimuli.

    Returns
    -------
    dict[tuple[int, int], Score]
        By n and k.
    """
    stimulus_ids = sorted(set(renders.rows["stimulus_id"]))
    rows = columns_of(stimulus_ids, stimuli.rows["stimulus_id"], "`stimuli`")
    drawn, shown = (p.judgement.probabilities[CONCEPT] for p in (renders, stimuli))
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    return {
        (n, k): score(n_way(drawn, shown[rows], n, k), resampling, chance=k / n)
        for n, k in N_WAYS
        if n <= drawn.shape[1]
    }


def clip_scores(
    renders: Pictures,
    captions: Mapping[str, Vectors],
    stimulus_ids: Sequence[str],
    params: ScoreParams,
) -> Score:
    """Score CLIPScore on its scale of 0 to 100: a render against the true captions of its stimulus.

    Parameters
    ----------
    captions : Mapping[str, Float[np.ndarray, "n_stimuli dim"]]
        Kind to text vectors of all rendered stimuli, in the order of `stimulus_ids`.
    """
    cosines = [renders.vectors @ vectors.T for vectors in captions.values()]
    matrix = 100 * np.mean([np.clip(c, 0, None) for c in cosines], axis=0)
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    found = score(matrix, resampling, chance=None, unit="of 100")
    note = "100 times the cosine of picture and true captions, mean over kinds; Hessel et al. scale by 2.5."
    return found.model_copy(update={"verdict": f"{found.verdict} {note}"})
