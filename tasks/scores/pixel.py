"""How like its stimulus a render is, pixel by pixel, and how well a classifier tells its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.stats import hypergeom
from torchmetrics.functional.image import structural_similarity_index_measure

from tasks.artifacts.metrics import Score
from tasks.artifacts.pictures import open_rgb
from tasks.scores.judged import CONCEPT, Pictures
from tasks.scores.params import ScoreParams
from tasks.scores.ranking import Vectors
from tasks.scores.score import columns_of, score
from tasks.statistics.draws import derangement
from tasks.statistics.permutation import sign_flip_p_value
from tasks.statistics.resampling import STIMULI, Resampling
from tasks.statistics.verdicts import against_shuffled

SIDE_PX = 64
"""Pictures are compared at this size."""

N_EXCHANGES = 9
"""Times that renders are compared with other stimuli than their own, for chance."""

N_FITS = 20
"""Rounds in which the parts of renders and of stimuli are fitted: more change nothing that is seen."""

MIN_STIMULI = 3
"""Fewer have no other stimuli that renders could be compared with."""

N_WAYS: Sequence[tuple[int, int]] = ((2, 1), (10, 1), (40, 1), (50, 1), (50, 5), (100, 1))
"""How many classes a trial is asked among, and how many guesses count, where a classifier has so many."""

Pixels = Float[np.ndarray, "n side side 3"]


def load_pixels(paths: Sequence[str]) -> Pixels:
    """Return pictures of one size, in 0..1."""
    size = (SIDE_PX, SIDE_PX)
    pictures = [np.asarray(open_rgb(Path(p)).resize(size), np.float32) for p in paths]
    return np.stack(pictures) / 255


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
    drawn = load_pixels(renders.rows["image_path"].tolist())
    shown = load_pixels(stimuli.rows["image_path"].iloc[rows].tolist())
    correlations = (
        standardised(drawn.reshape(len(drawn), -1)) @ standardised(shown.reshape(len(shown), -1)).T
    )
    scores = {"pixcorr": score(correlations, resampling, chance=None, unit="correlation")}
    similarity = against_others(
        lambda own: structural_similarity(drawn, shown[own]),
        renders.rows["stimulus_id"].tolist(),
        resampling,
        params,
        unit="similarity",
    )
    if similarity is not None:
        note = (
            f"Structural similarity of grey pictures of {SIDE_PX} px, as torchmetrics computes it."
        )
        scores["ssim"] = similarity.model_copy(update={"verdict": note})
    return scores


def against_others(
    compare: Callable[[Int[np.ndarray, " n"]], Float[np.ndarray, " n"]],
    stimuli: Sequence[str],
    resampling: Resampling,
    params: ScoreParams,
    *,
    unit: str,
    lower_is_better: bool = False,
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
    """
    if len(set(stimuli)) < MIN_STIMULI:
        return None
    seeds = range(params.seed, params.seed + N_EXCHANGES)
    sources = [derangement(stimuli, seed) for seed in seeds]
    own = compare(resampling.own)
    others = np.stack([compare(resampling.own[source]) for source in sources])
    gain = own - _without_pair(others, np.stack(sources), resampling.own)
    gain = gain.mean() + (gain - gain.mean()) / np.sqrt(
        1 + 2 / N_EXCHANGES
    )  # the fits scatter, too
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


def standardised(features: Vectors) -> Vectors:
    """Return features whose products are Pearson correlations."""
    centred = features - features.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm > 0, norm, 1))


def structural_similarity(drawn: Pixels, shown: Pixels) -> Float[np.ndarray, " n"]:
    """Return the SSIM of each pair of pictures, in grey.

    Parameters
    ----------
    drawn, shown : Float[np.ndarray, "n side side 3"]
        Pictures in 0..1, pair by pair.
    """
    grey = [
        torch.from_numpy(p @ np.array([0.299, 0.587, 0.114], np.float32))[:, None]
        for p in (drawn, shown)
    ]
    found = structural_similarity_index_measure(*grey, data_range=1.0, reduction="none")
    return np.asarray(found.numpy(), np.float64).reshape(-1)


def n_way_scores(
    renders: Pictures, stimuli: Pictures, params: ScoreParams
) -> dict[tuple[int, int], Score]:
    """Score n-way top-k classification: is the class of the stimulus among the k likeliest of n.

    As the field does it, the right class is what the classifier sees in the stimulus, and the other
    n - 1 are drawn at random; their expectation is exact here, not sampled.

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
    right = stimuli.judgement.probabilities[CONCEPT][rows].argmax(axis=1)
    probabilities = renders.judgement.probabilities[CONCEPT]
    n_classes = probabilities.shape[1]
    above = (probabilities[:, None, :] > probabilities[:, right][:, :, None]).sum(axis=2)
    resampling = params.draw_rows(renders.rows, stimulus_ids)
    return {
        (n, k): score(n_way_hits(n_classes, n, k)[above], resampling, chance=k / n)
        for n, k in N_WAYS
        if n <= n_classes
    }


def n_way_hits(n_classes: int, n: int, k: int) -> Float[np.ndarray, " n_classes"]:
    """Return the chance of a hit by how many of all classes are likelier than the right one.

    Parameters
    ----------
    n_classes, n, k : int
        Classes that there are, that are asked among, and guesses that count.
    """
    likelier = np.arange(n_classes)
    return np.asarray(hypergeom.cdf(k - 1, n_classes - 1, likelier, n - 1))


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
