"""Which electrodes each projection head listens to.

What is attributed is the contrastive score of a trial's own caption: the cosine of a head's output with
the caption, less the mean cosine with the captions of other stimuli. The paper (arXiv 2507.07157) maps
the gradient of its loss. The gradient of a decoder is a spatial *filter*: it is large wherever a channel
helps, also by cancelling noise, and need not be large where the signal is. Haufe et al. (2014, "On the
interpretation of weight vectors of linear models in multivariate neuroimaging") show how to get from the
filter to the *pattern*, the covariance of the EEG with the decoder's output. `pattern` below is that
covariance times the input, the form that Kindermans et al. (2018, "PatternAttribution") give to
attributions. The plain gradient is offered beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from jaxtyping import Float, Int

from tasks.explanation.heads import Epochs, Heads, Vectors
from tasks.runtime.errors import PerceptError
from tasks.statistics.draws import choose

Method = Literal["gradient", "gradient_x_input", "integrated_gradients", "pattern"]
ChannelWeights = Mapping[tuple[str, str], Float[np.ndarray, " n_channels"]]
"""Subject and caption kind to the weight of each channel, 1 at the strongest."""


@dataclass(frozen=True)
class Explained:
    """Trials to be explained: what went in, what came out, and what should have.

    Attributes
    ----------
    eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        Epochs, as the encoder takes them.
    subjects, stimuli : Sequence[str]
        One each per trial.
    predicted : Mapping[str, Float[np.ndarray, "n_trials dim"]]
        Caption kind to the output of its head.
    directions : Mapping[str, Float[np.ndarray, "n_trials dim"]]
        Caption kind to the direction whose product with the output is the contrastive score: the text
        vector of the own caption, less the mean over the captions of other stimuli.
    """

    eeg: Epochs
    subjects: Sequence[str]
    stimuli: Sequence[str]
    predicted: Mapping[str, Vectors]
    directions: Mapping[str, Vectors]

    def sample(self, at_most: int, seed: int) -> Self:
        """Return a random choice of trials."""
        return self.of(choose(len(self.eeg), at_most, seed))

    def seen_by(self, heads: Heads) -> Self:
        """Return the trials with the outputs of another network."""
        return replace(self, predicted=heads.predict(self.eeg, self.subjects))

    def shuffled(self, source: Int[np.ndarray, " n_trials"]) -> Self:
        """Return the trials with the captions of others: a control that destroys what was shown."""
        directions = {kind: vectors[source] for kind, vectors in self.directions.items()}
        return replace(self, directions=directions)

    def of(self, trials: Int[np.ndarray, " n_chosen"]) -> Self:
        """Return the chosen trials alone."""
        return replace(
            self,
            eeg=self.eeg[trials],
            subjects=[self.subjects[trial] for trial in trials],
            stimuli=[self.stimuli[trial] for trial in trials],
            predicted={kind: vectors[trials] for kind, vectors in self.predicted.items()},
            directions={kind: vectors[trials] for kind, vectors in self.directions.items()},
        )

    def by_subject(self) -> dict[str, Self]:
        """Return the trials of each subject.

        Raises
        ------
        PerceptError
            If a subject has fewer than two.
        """
        names, counts = np.unique(np.asarray(self.subjects), return_counts=True)
        if counts.min(initial=2) < 2:
            raise PerceptError(
                f"Saliency needs at least two held-out trials of each subject; "
                f"{names[counts.argmin()]} has one. Raise `explain.max_trials` and "
                "`explain.maps.max_gradient_trials`, or hold out more."
            )
        of = np.asarray(self.subjects)
        return {str(name): self.of(np.flatnonzero(of == name)) for name in names}


def channel_weights(
    explained: Explained, heads: Heads, method: Method, n_steps: int
) -> ChannelWeights:
    """Return how strongly each channel drives each head, for each subject.

    Parameters
    ----------
    explained : Explained
        At least two trials of each subject.
    heads : Heads
        The network; `pattern` needs no more of it than the outputs in `explained`.
    method : {"gradient", "gradient_x_input", "integrated_gradients", "pattern"}
        All but `pattern` take the mean absolute attribution over trials and times.
    """
    weights = {}
    for subject, trials in explained.by_subject().items():
        for kind in explained.predicted:
            if method == "pattern":
                raw = pattern(trials.eeg, trials.predicted[kind], trials.directions[kind])
            else:
                gradients = heads.gradients(
                    trials.eeg, trials.subjects, trials.directions[kind], kind, method, n_steps
                )
                raw = np.abs(gradients).mean(axis=(0, 2))
            weights[subject, kind] = raw / (raw.max() or 1.0)
    return weights


def pattern(
    eeg: Epochs, predicted: Vectors, directions: Vectors
) -> Float[np.ndarray, " n_channels"]:
    """Return the strength, per channel, of the EEG that carries a head's score of the own caption.

    The score of trial i's caption, s_i(x) = predicted(x) . direction_i, has the pattern
    A_i = cov(x, s_i(x)) over all trials but i. Its product with the EEG of trial i is the evidence for
    the own caption, positive where the trial's EEG agrees with what the head calls that caption. Noise
    has no part in it on average. Summed over times and averaged over trials, negative sums are
    evidence of nothing; the root makes it an amplitude.

    Parameters
    ----------
    predicted, directions : Float[np.ndarray, "n_trials dim"]
        Output of the head, and the contrastive directions of the trials' own captions.
    """
    n_trials = len(eeg)
    found = evidence(eeg, predicted, directions).sum(axis=1)
    return np.asarray(np.sqrt(np.clip(found, 0, None) / (n_trials * (n_trials - 1))))


def evidence(
    eeg: Epochs, predicted: Vectors, directions: Vectors
) -> Float[np.ndarray, "n_channels n_times"]:
    """Return the evidence for the own caption at each channel and time, summed over pairs of trials.

    Parameters
    ----------
    predicted, directions : Float[np.ndarray, "n_trials dim"]
        As in `pattern`.
    """
    n_trials = len(eeg)
    flat = (eeg - eeg.mean(axis=0)).reshape(n_trials, -1)
    output = (predicted - predicted.mean(axis=0)).astype(np.float32)
    truth = (directions - directions.mean(axis=0)).astype(np.float32)
    products = ((output.T @ flat) * (truth.T @ flat)).sum(axis=0, dtype=np.float64)
    own = np.einsum("n,nf,nf->f", (output * truth).sum(axis=1), flat, flat)
    return np.asarray((products - own).reshape(eeg.shape[1:]))
