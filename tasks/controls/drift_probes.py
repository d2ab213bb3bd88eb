"""Probes of slow drift: whether anything that changes with time alone reaches the answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.signal import detrend
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from tasks.artifacts.metrics import Score
from tasks.controls.answers import (
    beats_chance,
    in_words,
    judged,
    resampling_of,
    score_correlation,
    score_labels,
)
from tasks.controls.evidence import Evidence, Finding
from tasks.controls.noise import Epochs
from tasks.controls.small_decoder import binned, can_learn, fit_small_decoder
from tasks.statistics.permutation import permutation_p_value

N_FOLDS = 5
N_PARTS = 5
"""Points of a curve of accuracy against time."""
MIN_ERRORS = 20
"""Fewer wrong answers have no pattern."""


def block_from_features(evidence: Evidence) -> Finding | None:
    """Decode the block of a trial from what the heads say; None where no two blocks have trials enough."""
    shown = evidence.shown
    labels = (shown["recording_id"] + "/" + shown["block"].astype(str)).to_numpy(str)
    subjects = shown["subject"].to_numpy(str)
    answers = np.full(len(shown), "", dtype=labels.dtype)
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        for known, asked in _folds(shown.iloc[rows]):
            if can_learn(labels[rows[known]].tolist()):
                features, seed = evidence.features, evidence.params.seed
                fitted = fit_small_decoder(
                    features[rows[known]], labels[rows[known]].tolist(), seed
                )
                answers[rows[asked]] = fitted.predict(features[rows[asked]])
    if not (answers != "").any():
        return None
    score = score_labels(
        shown, answers.tolist(), labels.tolist(), evidence.params, subjects.tolist()
    )
    return Finding(
        judged(
            score,
            f"What the heads say tells the block of a trial in {in_words(score)}: something that "
            "changes from block to block reaches the answers. It can help only where concepts "
            "come in blocks.",
            f"What the heads say does not tell the block of a trial ({in_words(score)}).",
        )
    )


def time_from_features(evidence: Evidence) -> Finding:
    """Decode the time of a trial within its recording from what the heads say."""
    shown = evidence.shown
    recordings = shown["recording_id"].to_numpy(str)
    onsets_s, guessed = shown["onset_s"].to_numpy(float), np.zeros(len(shown))
    for recording in np.unique(recordings):
        rows = np.flatnonzero(recordings == recording)
        for known, asked in _folds(shown.iloc[rows]):
            ridge = RidgeCV(alphas=np.logspace(-2, 4, 7))
            ridge.fit(evidence.features[rows[known]], onsets_s[rows[known]])
            told = ridge.predict(evidence.features[rows[asked]])
            guessed[rows[asked]] = told - onsets_s[rows[known]].mean()
    score = score_correlation(shown, guessed, onsets_s, evidence.params, recordings.tolist())
    found = f"rank correlation {score.value:.2f}, chance {score.chance:.2f}"
    return Finding(
        judged(
            score,
            f"What the heads say tells the time of a trial within its recording ({found}): drift "
            "reaches the answers. It can help only where neighbours in time show the same concept.",
            f"What the heads say does not tell the time of a trial ({found}).",
        )
    )


def pseudo_labels(evidence: Evidence) -> Finding | None:
    """Give every block a label at random and train a decoder on it: only drift can teach it.

    Li et al. (2021) could decode such labels from block-design recordings as well as classes. A
    recording of few blocks is cut into stretches of time instead.
    """
    both = pd.concat([evidence.training, evidence.shown], ignore_index=True)
    asked = np.arange(len(both)) >= len(evidence.training)
    subjects = both["subject"].to_numpy(str)
    features = binned(np.concatenate([evidence.training_eeg, evidence.eeg]), subjects.tolist())
    blocks = _stretches(both, evidence.params.n_time_segments)
    answers, truth = [], []
    rng = np.random.default_rng(evidence.params.seed)
    for _ in range(evidence.params.n_pseudo_labels):
        labels = _labels_of_blocks(blocks, both["recording_id"].to_numpy(str), rng)
        answers += _learnt(features, labels, subjects, asked, evidence.params.seed)
        truth += labels[asked].tolist()
    if set(answers) == {"?"}:
        return None
    repeated = pd.concat([evidence.shown] * evidence.params.n_pseudo_labels, ignore_index=True)
    groups = repeated["recording_id"].tolist()
    score = score_labels(repeated, answers, truth, evidence.params, groups)
    return Finding(
        judged(
            score,
            f"Labels drawn at random for blocks can be decoded in {in_words(score)}, though they mean "
            "nothing: the EEG tells stretches of time apart. Where a block shows one concept, drift "
            "and concept cannot be told from each other.",
            f"Labels drawn at random for blocks cannot be decoded ({in_words(score)}): the EEG does not "
            "tell stretches of time apart.",
        )
    )


def _learnt(
    features: Float[np.ndarray, "n n_features"],
    labels: np.ndarray,
    subjects: np.ndarray,
    asked: Bool[np.ndarray, " n"],
    seed: int,
) -> list[str]:
    """Return what a decoder trained on the other trials of a subject says of those asked for."""
    said = np.full(len(labels), "?")
    for subject in np.unique(subjects[asked]):
        own = subjects == subject
        known = own & ~asked
        if can_learn(labels[known].tolist()):
            fitted = fit_small_decoder(features[known], labels[known].tolist(), seed)
            said[own & asked] = fitted.predict(features[own & asked])
    answers: list[str] = said[asked].tolist()
    return answers


def high_pass(evidence: Evidence) -> Finding | None:
    """Train a stand-in decoder on epochs without what is slow; None where it has nothing to learn from."""
    if not can_learn(evidence.training["concept"].tolist()):
        return None
    sfreq_hz = 1 / float(np.diff(evidence.times_s).mean())
    steps = {"as they are": 0.0, "less the mean": 0.0, "less mean and slope": 0.0}
    cut_offs_hz = [hz for hz in evidence.params.high_pass_hz if hz < sfreq_hz / 2]
    steps |= {f"above {hz:g} Hz": hz for hz in cut_offs_hz}
    scores = {name: _stand_in_score(evidence, name, hz, sfreq_hz) for name, hz in steps.items()}
    rows = [("stand-in decoder", n, s.value, s.low, s.high) for n, s in scores.items()]
    curve = pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])
    whole, level = scores["as they are"], scores["less mean and slope"]
    left = _share_left(level, whole)
    sentence = (
        f"A small decoder, trained anew on epochs without their mean and slope, names the concept in "
        f"{in_words(level)}, on epochs as they are in {whole.value:.3f}"
    )
    update = {
        "verdict": f"{sentence}: it cannot be told from guessing."
        if not beats_chance(whole)
        else f"{sentence}: {min(left, 1):.0%} of its margin does not need what is slower than an epoch."
    }
    return Finding(
        level.model_copy(update=update), curve, "epochs", "share of trials whose concept is named"
    )


def _stand_in_score(evidence: Evidence, name: str, high_pass_hz: float, sfreq_hz: float) -> Score:
    training = _without_slow(evidence.training_eeg, name, high_pass_hz, sfreq_hz)
    asked = _without_slow(evidence.eeg, name, high_pass_hz, sfreq_hz)
    fitted = fit_small_decoder(
        _binned_or_power(training, evidence.training["subject"].tolist(), high_pass_hz),
        evidence.training["concept"].tolist(),
        evidence.params.seed,
    )
    subjects = evidence.shown["subject"].tolist()
    answers = fitted.predict(_binned_or_power(asked, subjects, high_pass_hz))
    concepts = evidence.shown["concept"].tolist()
    return score_labels(
        evidence.shown, answers.tolist(), concepts, evidence.params, ["all"] * len(concepts)
    )


def _binned_or_power(
    eeg: Epochs, subjects: list[str], high_pass_hz: float
) -> Float[np.ndarray, "n_trials n_features"]:
    """Return means in bins; of fast signals, whose mean is naught, their power too."""
    means = binned(eeg, subjects)
    return np.concatenate([means, binned(eeg**2, subjects)], axis=1) if high_pass_hz else means


def _without_slow(eeg: Epochs, name: str, high_pass_hz: float, sfreq_hz: float) -> Epochs:
    if name == "as they are":
        return eeg
    if name == "less the mean":
        return np.asarray(eeg - eeg.mean(axis=-1, keepdims=True))
    level = detrend(eeg, axis=-1).astype(np.float32)
    if not high_pass_hz:
        return np.asarray(level)
    spectrum = np.fft.rfft(level, axis=-1)
    spectrum[..., np.fft.rfftfreq(eeg.shape[-1], 1 / sfreq_hz) < high_pass_hz] = 0
    return np.fft.irfft(spectrum, eeg.shape[-1], axis=-1).astype(np.float32)


def time_to_training(evidence: Evidence) -> Finding | None:
    """Ask whether trials near in time to a training trial of their concept are named better."""
    gap_s = _nearest_in_time(evidence, evidence.shown["concept"].tolist())
    known = np.isfinite(gap_s)
    if known.sum() < MIN_ERRORS:
        return None
    shown, hits = evidence.shown[known], evidence.own_hits[known]
    score = score_correlation(
        shown, hits, -gap_s[known], evidence.params, shown["recording_id"].tolist()
    )
    found = f"rank correlation {score.value:.2f} of being right with being near, chance 0"
    verdict = judged(
        score,
        "Trials near in time to a training trial of the same concept are named better "
        f"({found}): what drifts with time helps.",
        f"Nearness in time to a training trial of the same concept does not help ({found}).",
    )
    curve = curve_of_parts("test trials", gap_s[known], hits)
    return Finding(verdict, curve, "s to the nearest training trial of the concept", "share named")


def errors_follow_time(evidence: Evidence) -> Finding | None:
    """Ask whether a concept is taken for those that were shown at about the same time.

    Concepts are put in the order in which a recording shows them, by the mean onset of their training
    trials; in a confusion matrix in that order, drift heaps mistakes about the diagonal.
    """
    shown, training, named = evidence.shown, evidence.trained, evidence.named
    lags, rows, n_places = [], [], 0
    for recording, own in shown.groupby("recording_id"):
        onsets_s = training[training["recording_id"] == recording].groupby("concept")["onset_s"]
        place = onsets_s.mean().rank().to_dict()
        n_places = max(n_places, len(place))
        for row, concept in zip(own.index, own["concept"], strict=True):
            if concept in place and named[row] in place and named[row] != concept:
                lags.append(abs(place[concept] - place[named[row]]))
                rows.append(row)
    if len(rows) < MIN_ERRORS:
        return None
    wrong = shown.iloc[rows]
    nearness = -np.array(lags)
    expected = _permuted_lags(wrong, [named[row] for row in rows], training, evidence)
    score = _nearness_score(evidence, wrong, nearness, expected, n_places)
    curve = _lag_curve(-nearness, -expected, n_places)
    return Finding(score, curve, "places apart in order of presentation", "share of mistakes")


def _permuted_lags(
    wrong: pd.DataFrame, named: list[str], training: pd.DataFrame, evidence: Evidence
) -> Float[np.ndarray, "n_permutations n_wrong"]:
    """Return the same nearness for mistakes exchanged within a recording."""
    places = {
        str(recording): own.groupby("concept")["onset_s"].mean().rank()
        for recording, own in training.groupby("recording_id")
    }
    rng = np.random.default_rng(evidence.params.seed)
    recordings = wrong["recording_id"].to_numpy(str)
    lags = np.zeros((evidence.params.n_permutations, len(wrong)))
    for recording in np.unique(recordings):
        rows = np.flatnonzero(recordings == recording)
        place = places[str(recording)]
        own = place[wrong["concept"].iloc[rows]].to_numpy()
        said = place[[named[row] for row in rows]].to_numpy()
        for draw in range(len(lags)):
            lags[draw, rows] = -np.abs(own - said[rng.permutation(len(rows))])
    return lags


def _nearness_score(
    evidence: Evidence,
    wrong: pd.DataFrame,
    nearness: Float[np.ndarray, " n_wrong"],
    expected: Float[np.ndarray, "n_permutations n_wrong"],
    n_places: int,
) -> Score:
    scale = max(n_places - 1, 1)
    resampling = resampling_of(wrong, evidence.params)
    estimate = resampling.estimate(1 + nearness / scale)
    means = 1 + expected.mean(axis=1) / scale
    p_value = permutation_p_value(estimate.value, means, higher_is_better=True)
    score = Score(
        **vars(estimate),
        n=len(wrong),
        chance=float(means.mean()),
        p_value=p_value,
        resampled=resampling.resampled,
    )
    found = f"nearness {score.value:.2f} of 1, chance {score.chance:.2f}"
    return judged(
        score,
        f"Concepts are taken for those shown at about the same time ({found}): mistakes follow drift.",
        f"Mistakes do not follow the order of presentation ({found}).",
    )


def _lag_curve(
    lags: Float[np.ndarray, " n_wrong"], expected: Float[np.ndarray, "n n_wrong"], n_places: int
) -> pd.DataFrame:
    edges = np.linspace(0.5, n_places - 0.5, min(9, n_places))
    middles = (edges[1:] + edges[:-1]) / 2
    parts = []
    for series, values in (("mistakes", lags), ("mistakes exchanged", expected.ravel())):
        counts = np.histogram(values, edges)[0]
        share = counts / max(1, counts.sum())
        parts.append(pd.DataFrame({"series": series, "x": middles, "value": share}))
    return pd.concat(parts, ignore_index=True)


def _nearest_in_time(evidence: Evidence, concepts: list[str]) -> Float[np.ndarray, " n_trials"]:
    """Return the time from each trial to the nearest training trial of a concept, in its recording."""
    onsets = {
        key: own.to_numpy(float)
        for key, own in evidence.trained.groupby(["recording_id", "concept"])["onset_s"]
    }
    keys = zip(evidence.shown["recording_id"], concepts, evidence.shown["onset_s"], strict=True)
    return np.array(
        [
            np.abs(onsets[recording, concept] - onset_s).min()
            if (recording, concept) in onsets
            else np.inf
            for recording, concept, onset_s in keys
        ]
    )


def curve_of_parts(
    series: str, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]
) -> pd.DataFrame:
    """Return the mean of y in parts of equal size along x."""
    parts = np.array_split(np.argsort(x, kind="stable"), N_PARTS)
    rows = [
        (series, float(np.median(x[part])), float(y[part].mean())) for part in parts if len(part)
    ]
    return pd.DataFrame(rows, columns=["series", "x", "value"])


def _folds(shown: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return folds that share no stimulus."""
    n_stimuli = shown["stimulus_id"].nunique()
    if n_stimuli < 2:
        return []
    folds = GroupKFold(min(N_FOLDS, n_stimuli)).split(shown, groups=shown["stimulus_id"])
    return [(known, asked) for known, asked in folds]


def _stretches(trials: pd.DataFrame, n_time_segments: int) -> np.ndarray:
    """Return the block of each trial, or its stretch of time where a recording has few blocks."""
    names = np.empty(len(trials), dtype=object)
    for recording, own in trials.groupby("recording_id"):
        blocks = own["block"].to_numpy()
        if len(np.unique(blocks)) < n_time_segments:
            rank = own["onset_s"].rank(method="first").to_numpy() - 1
            blocks = (rank * n_time_segments // len(own)).astype(int)
        names[own.index] = [f"{recording}/{block}" for block in blocks]
    return names.astype(str)


def _labels_of_blocks(
    blocks: np.ndarray, recordings: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return one of two labels for each trial, the same in a block, half of a recording's blocks each."""
    label = {}
    for recording in np.unique(recordings):
        names = np.unique(blocks[recordings == recording])
        for place, name in enumerate(rng.permutation(names)):
            label[name] = "ab"[place % 2]
    return np.array([label[name] for name in blocks])


def _share_left(score: Score, whole: Score) -> float:
    margin = whole.value - (whole.chance or 0)
    return max(0.0, (score.value - (score.chance or 0)) / margin) if margin > 0 else 0.0
