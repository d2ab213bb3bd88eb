"""Controls of the scoring itself, and what a score is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Int

from tasks.artifacts.metrics import COUNTED, Score
from tasks.controls.answers import (
    Hits,
    concept_hits,
    in_words,
    resampling_of,
    score_hits,
    shown_stimuli,
)
from tasks.controls.evidence import Evidence, Finding
from tasks.scores.concept import concept_ranking
from tasks.scores.held_out import HeldOut
from tasks.scores.params import OBJECT_TIER
from tasks.scores.ranking import Vectors, mean_cosines, prototypes
from tasks.statistics.resampling import mean, own_values
from tasks.statistics.verdicts import beats_chance

MAX_DIFFERENCE = 1e-4
"""Of two predictions for one trial: more is not rounding."""
ENOUGH = 0.9
"""Share of the whole margin over chance that a bottleneck must reach."""


def gallery_permutation(evidence: Evidence) -> Finding:
    """Put the candidates in another order: no answer may change, or their order gives answers away."""
    held_out = evidence.held_out
    names = held_out.candidates()
    mixed = [names[i] for i in np.random.default_rng(evidence.params.seed).permutation(len(names))]
    kinds = held_out.kinds(OBJECT_TIER)
    before = concept_ranking(held_out, kinds, names).first
    after = concept_ranking(held_out, kinds, mixed).first
    columns = [mixed.index(name) for name in names]
    changed = (before != after[:, columns]).any(axis=1)
    verdict = (
        f"{changed.mean():.1%} of the rankings change with the order of the candidates: the order gives "
        "answers away, or candidates are equal."
        if changed.any()
        else "No ranking changes with the order of the candidates."
    )
    value = float(changed.mean())
    return Finding(
        Score(
            value=value,
            n=len(changed),
            chance=0.0,
            resampled=COUNTED,
            lower_is_better=True,
            verdict=verdict,
        )
    )


def batch_dependence(evidence: Evidence) -> Finding:
    """Predict trials beside other trials: no prediction may change, or test trials inform each other."""
    rows = np.random.default_rng(evidence.params.seed).permutation(len(evidence.eeg))
    rows = np.sort(rows[: max(1, len(rows) // 4)])
    subjects = evidence.held_out.trials["subject"].iloc[rows].tolist()
    alone = evidence.predict(evidence.eeg[rows], subjects)
    changed = np.zeros(len(rows), bool)
    for kind, vectors in evidence.held_out.predicted.items():
        changed |= np.abs(alone[kind] - vectors[rows]).max(axis=1) > MAX_DIFFERENCE
    verdict = (
        f"{changed.mean():.1%} of the stored predictions are not those that the encoder gives for the "
        "same trial beside fewer others: trials inform each other, or the predictions are stale."
        if changed.any()
        else "The encoder predicts each trial the same beside other trials: nothing is transductive."
    )
    value = float(changed.mean())
    return Finding(
        Score(
            value=value,
            n=len(rows),
            chance=0.0,
            resampled=COUNTED,
            lower_is_better=True,
            verdict=verdict,
        )
    )


def bottleneck(evidence: Evidence) -> Finding:
    """Let only a few dimensions of each prediction through, and see how soon the score is reached.

    After BrainBits (Mayo et al. 2024): the fewer dimensions give the whole score, the less of the brain
    it shows. Dimensions are the principal components of training captions.
    """
    held_out, encoder = evidence.held_out, evidence.encoder
    kinds = held_out.kinds(OBJECT_TIER)
    full = min(held_out.predicted[kind].shape[1] for kind in kinds)
    widths = [width for width in evidence.params.bottlenecks if width < full]
    rows, samples = [], []
    resampling = resampling_of(held_out.trials, evidence.params)
    for width in widths:
        narrow = {
            kind: _squeezed(held_out.predicted[kind], held_out.naming(kind)[0], width)
            for kind in kinds
        }
        squeezed = replace(held_out, predicted=narrow)
        hits = concept_hits(squeezed)
        found = score_hits(held_out.trials, hits, evidence.params)
        samples.append(mean(own_values(hits, resampling.own), resampling.weights))
        rows.append(("encoder", width, found.value, found.low, found.high))
    rows.append(("encoder", full, encoder.value, encoder.low, encoder.high))
    curve = pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])
    chance = encoder.chance or 0.0
    margin = ENOUGH * (encoder.value - chance)
    samples.append(mean(evidence.own_hits.astype(float), resampling.weights))
    enough = next(int(row[1]) for row in rows if row[2] - chance >= margin)
    verdict = (
        f"{enough} of {full} dimensions give {ENOUGH:.0%} of the score's margin over chance: so much of a "
        "prediction is used, and no more can be claimed to be read from the brain."
        if beats_chance(encoder)
        else "The score cannot be told from guessing, so nothing passes the bottleneck."
    )
    drawn = np.array(samples)  # width by bootstrap sample: the first width with enough in each
    firsts = (drawn - chance >= ENOUGH * (drawn[-1] - chance)).argmax(axis=0)
    tail = (1 - evidence.params.confidence) / 2
    low, high = np.quantile(np.array([*widths, full])[firsts], [tail, 1 - tail])
    score = Score(
        value=enough,
        n=encoder.n,
        ceiling=full,
        low=min(float(low), enough),
        high=max(float(high), enough),
        resampled=resampling.resampled,
        unit="dimensions",
        verdict=verdict,
    )
    return Finding(score, curve, "dimensions let through", "share of trials whose concept is named")


def repetitions(evidence: Evidence) -> Finding | None:
    """Average predictions over presentations of a picture to a subject, one by one.

    As many as two pictures at least were shown: one alone has nothing to be taken for.
    """
    held_out = evidence.held_out
    keys = held_out.trials[["subject", "stimulus_id"]].apply(tuple, axis=1)
    place = keys.groupby(keys).cumcount().to_numpy()
    counts = keys.map(keys.value_counts()).to_numpy()
    most = _most_of_two_pictures(counts, held_out.trials["stimulus_id"])
    if most < 2:
        return None
    enough = counts >= most
    rows = []
    found: dict[int, Score] = {}
    for count in range(1, most + 1):
        averaged = _averaged(held_out, keys, enough & (place < count))
        found[count] = score_hits(averaged.trials, concept_hits(averaged), evidence.params)
        score = found[count]
        rows.append(("mean of presentations", count, score.value, score.low, score.high))
    curve = pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])
    single, all_of = found[1], found[most]
    verdict = (
        f"One presentation names the concept in {in_words(single)}, the mean of {most} in "
        f"{in_words(all_of)}, over pictures shown {most} times. Other scores here rest on single trials."
    )
    last = all_of.model_copy(update={"verdict": verdict})
    return Finding(last, curve, "presentations averaged", "share whose concept is named")


def _most_of_two_pictures(
    counts: Int[np.ndarray, " n_trials"], stimulus_ids: pd.Series[str]
) -> int:
    """Return the largest number of presentations that two pictures reach; 0 where there is one picture."""
    largest = pd.Series(counts).groupby(stimulus_ids.to_numpy()).max().nlargest(2)
    return int(largest.iloc[-1]) if len(largest) == 2 else 0


def random_codebook(evidence: Evidence) -> Finding:
    """Replace each prediction by a code that knows the named concept and nothing else of the picture.

    Li et al. (2021): random codes, one per class, drive a generator as well as EEG does, so fine
    pictures show no more than a class. Random codes lead to the mean caption of their class, whatever they
    are; here they are asked for the picture, among pictures of one concept.
    """
    held_out = evidence.held_out
    names, named = held_out.candidates(), evidence.named
    codes = {
        kind: prototypes(*held_out.naming(kind), names)[[names.index(name) for name in named]]
        for kind in held_out.predicted
    }
    encoder = score_hits(held_out.trials, _within_concept(held_out), evidence.params)
    coded = replace(held_out, predicted=codes)
    found_by_codes = score_hits(held_out.trials, _within_concept(coded), evidence.params)
    low, high = encoder.low or 0.0, found_by_codes.high or 0.0
    more = low > high
    found = (
        f"among pictures of one concept the encoder prefers the one shown in {encoder.value:.3f} of all "
        f"pairs, a random code per concept in {found_by_codes.value:.3f}"
    )
    verdict = (
        f"More than a class is decoded: {found}."
        if more
        else f"Nothing beyond a class is shown to be decoded: {found}."
    )
    return Finding(found_by_codes.model_copy(update={"verdict": verdict}))


def _within_concept(held_out: HeldOut) -> Hits:
    """Return the share of other pictures of a column's concept that are less preferred than it."""
    gallery = held_out.gallery(held_out.stimuli())
    likeness = mean_cosines(held_out.predicted, gallery.vectors)
    concepts = shown_stimuli(held_out.trials)["concept"].to_numpy(str)
    better = np.full(likeness.shape, 0.5)
    for concept in np.unique(concepts):
        columns = np.flatnonzero(concepts == concept)
        if len(columns) > 1:
            own = likeness[:, columns]
            beaten = (own[:, :, None] > own[:, None]).sum(axis=2)
            equal = (own[:, :, None] == own[:, None]).sum(axis=2) - 1
            better[:, columns] = (beaten + equal / 2) / (len(columns) - 1)
    return better


def _averaged(held_out: HeldOut, keys: pd.Series, rows: np.ndarray) -> HeldOut:
    """Return one trial per subject and picture, with the mean of the predictions of its rows."""
    chosen = held_out.of(pd.Series(rows))
    groups, first = np.unique(
        [f"{s}/{p}" for s, p in keys[rows]], return_inverse=True, return_index=True
    )[1:]
    counts = np.bincount(first)[:, None]
    predicted = {}
    for kind, vectors in chosen.predicted.items():
        total = np.zeros((len(groups), vectors.shape[1]), vectors.dtype)
        np.add.at(total, first, vectors)
        mean = total / counts
        predicted[kind] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    trials = chosen.trials.iloc[groups].reset_index(drop=True)
    return replace(chosen, trials=trials, predicted=predicted)


def _squeezed(vectors: Vectors, captions: Vectors, width: int) -> Vectors:
    """Return what is left of vectors in the first principal components of captions."""
    mean = captions.mean(axis=0)
    components = np.linalg.svd(captions - mean, full_matrices=False)[2][:width]
    squeezed = (vectors - mean) @ components.T @ components + mean
    return np.asarray(squeezed / np.linalg.norm(squeezed, axis=1, keepdims=True))
