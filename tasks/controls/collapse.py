"""Controls: whether the answers are many, or a few that are given again and again.

A generator makes fine pictures of a few clusters, whatever the brain says, and scores over pictures that lie
in the clusters of training do not show it (Shirakawa et al. 2024, "Spurious reconstruction from brain activity").
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tasks.artifacts.metrics import COUNTED, Score
from tasks.controls.evidence import Evidence, Finding
from tasks.scores.params import OBJECT_TIER
from tasks.scores.ranking import Vectors

VECTORS_AT_ONCE = 1024


def effective_rank(evidence: Evidence) -> Finding:
    """Count the dimensions that predictions span, beside those of the captions of what was shown.

    The exponential of the entropy of the normalised singular values (Roy & Vetterli 2007), less the mean vector;
    the mean over the heads of the object tier. Predictions that are all alike span 1.
    """
    held_out = evidence.held_out
    kinds = held_out.kinds(OBJECT_TIER)
    rows = _columns(evidence)
    shown = held_out.gallery(held_out.stimuli()).vectors
    predicted = float(np.mean([_effective_rank(held_out.predicted[kind]) for kind in kinds]))
    true = float(np.mean([_effective_rank(shown[kind][rows]) for kind in kinds]))
    return Finding(
        Score(
            value=predicted,
            n=len(rows),
            ceiling=true,
            resampled=COUNTED,
            unit="dimensions",
            verdict=(
                f"What the heads say spans {predicted:.1f} dimensions in effect, the captions of what was shown "
                f"{true:.1f}: the fewer, the fewer different answers there are."
            ),
        )
    )


def distinct_answers(evidence: Evidence) -> Finding:
    """Count the different captions that are retrieved, beside those that true vectors retrieve.

    The captions are those by which concepts are named; the mean over the heads of the object tier.
    """
    held_out = evidence.held_out
    kinds = held_out.kinds(OBJECT_TIER)
    rows = _columns(evidence)
    shown = held_out.gallery(held_out.stimuli()).vectors
    n_trials = len(rows)
    shares = []
    for kind in kinds:
        captions, _ = held_out.naming(kind)
        firsts = [
            (vectors @ captions.T).argmax(axis=1)
            for vectors in (held_out.predicted[kind], shown[kind][rows])
        ]
        shares.append([len(np.unique(first)) / n_trials for first in firsts])
    (found, true), counts = (
        np.mean(shares, axis=0),
        np.unique(evidence.named, return_counts=True)[1],
    )
    return Finding(
        Score(
            value=float(found),
            n=n_trials,
            resampled=COUNTED,
            unit="share",
            verdict=(
                f"The different captions that are retrieved first are {found:.1%} as many as the trials, {true:.1%} with the "
                f"vectors of what was shown; {len(counts)} concepts are named, the commonest in "
                f"{counts.max() / n_trials:.1%} of the trials."
            ),
        )
    )


def cluster_overlap(evidence: Evidence) -> Finding | None:
    """Count held-out pictures that lie as near to a training picture as training pictures to each other.

    The distance is that of CLIP's picture vectors; "as near" means at most the median distance of a training
    picture to its nearest neighbour among them. A split by lot gives a half, pictures of other kinds give less.

    Returns
    -------
    Finding or None
        None where there are fewer than two training pictures with a vector.
    """
    trained = sorted(set(evidence.trained["stimulus_id"]) & set(evidence.image_vectors))
    shown = sorted(set(evidence.shown["stimulus_id"]) & set(evidence.image_vectors))
    if len(trained) < 2 or not shown:
        return None
    known, asked = (
        np.stack([evidence.image_vectors[name] for name in names]) for names in (trained, shown)
    )
    usual = float(np.median(_nearest(known, known, themselves=True)))
    share = float((_nearest(asked, known, themselves=False) >= usual).mean())
    return Finding(
        Score(
            value=share,
            n=len(shown),
            chance=0.5,
            resampled=COUNTED,
            lower_is_better=True,
            verdict=(
                f"{share:.0%} of the audited pictures lie as near to a training picture as the typical training picture "
                f"to its nearest (cosine {usual:.2f}); a split by lot gives 50 %. The more, the less the score says of "
                "pictures of other kinds."
            ),
        )
    )


def _nearest(asked: Vectors, known: Vectors, *, themselves: bool) -> Float[np.ndarray, " n_asked"]:
    """Return the cosine of each vector to its nearest, itself left out where both are the same, block by block."""
    found = np.empty(len(asked))
    for start in range(0, len(asked), VECTORS_AT_ONCE):
        cosines = asked[start : start + VECTORS_AT_ONCE] @ known.T
        if themselves:
            rows = np.arange(len(cosines))
            cosines[rows, start + rows] = -np.inf
        found[start : start + len(cosines)] = cosines.max(axis=1)
    return found


def _columns(evidence: Evidence) -> np.ndarray:
    """Return the place of each trial's stimulus among all that were shown."""
    stimuli = evidence.held_out.trials["stimulus_id"].to_numpy(str)
    return np.searchsorted(evidence.held_out.stimuli(), stimuli)


def _effective_rank(vectors: Vectors) -> float:
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    shares = values / max(float(values.sum()), 1e-12)
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))
