"""Probes of slow drift: whether anything that changes with time alone reaches the answers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.signal import detrend
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from tasks.artifacts.metrics import Score
from tasks.controls.answers import (
    ControlParams,
    in_words,
    resampling_of,
    score_correlation,
    score_guesses,
    score_labels,
)
from tasks.controls.evidence import Evidence, Finding
from tasks.controls.noise import Epochs
from tasks.controls.small_decoder import binned, can_learn, fit_small_decoder
from tasks.statistics.permutation import permutation_p_value
from tasks.statistics.verdicts import beats_chance, missed

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
        shown, answers.tolist(), labels.tolist(), evidence.params, "stimuli", subjects.tolist()
    )
    return Finding.judged(
        score,
        f"What the heads say tells the block of a trial in {in_words(score)}",
        "something that changes from block to block reaches the answers, which can help only where "
        "concepts come in blocks",
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
    score = score_correlation(
        shown, guessed, onsets_s, evidence.params, "stimuli", recordings.tolist()
    )
    return Finding.judged(
        score,
        "The time of a trial within its recording, as what the heads say tells it, has rank correlation "
        f"{score.value:.2f} with the true one (chance 0)",
        "drift reaches the answers, which can help only where neighbours in time show the same concept",
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
    draws = range(evidence.params.n_pseudo_labels)
    shown = evidence.shown.assign(block=blocks[asked])
    repeated = pd.concat([shown.assign(block=shown["block"] + f"/{d}") for d in draws])
    groups = [f"{recording}/{d}" for d in draws for recording in shown["recording_id"]]
    score = score_labels(repeated, answers, truth, evidence.params, "blocks", groups)
    return Finding.judged(
        score,
        f"Labels drawn at random for blocks are decoded in {in_words(score)}",
        "they mean nothing, so the EEG tells stretches of time apart, and where a block shows one concept, "
        "drift and concept cannot be told from each other",
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
        "verdict": f"{sentence}; {missed(whole)}."
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
    return score_guesses(evidence.held_out, answers.tolist(), evidence.params)


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
        shown,
        hits,
        -gap_s[known],
        evidence.params,
        "concepts",  # what is often trained is near in time, and known better
        shown["recording_id"].tolist(),
    )
    return Finding.judged(
        score,
        "Nearness in time to a training trial of the same concept has rank correlation "
        f"{score.value:.2f} with being named (chance 0)",
        "what drifts with time helps",
        curve_of_parts("test trials", gap_s[known], hits),
        "s to the nearest training trial of the concept",
        "share named",
    )


def errors_follow_time(evidence: Evidence) -> Finding | None:
    """Ask whether a concept is taken for those that were shown at about the same time.

    Concepts are put in the order in which a recording shows them, by the mean onset of their training
    trials; in a confusion matrix in that order, drift heaps mistakes about the diagonal.
    """
    shown, training, named = evidence.shown, evidence.trained, evidence.named
    places: dict[str, pd.Series[float]] = {
        str(recording): own.groupby("concept")["onset_s"].mean().rank()
        for recording, own in training.groupby("recording_id")
    }
    wrong = [
        (recording, row, concept, named[row])
        for row, (recording, concept) in enumerate(
            zip(shown["recording_id"], shown["concept"], strict=True)
        )
        if recording in places and {concept, named[row]} <= set(places[recording].index)
        if named[row] != concept
    ]
    if len(wrong) < MIN_ERRORS:
        return None
    mistakes = pd.DataFrame(wrong, columns=["recording_id", "row", "concept", "named"])
    n_places = max(map(len, places.values()))
    lags = lags_of(mistakes, places)
    expected = exchanged_lags(mistakes, places, evidence.params)
    score = _nearness_score(evidence, shown.iloc[mistakes["row"]], lags, expected, n_places)
    nearness = f"nearness {score.value:.2f} of 1, chance {score.chance:.2f}"
    return Finding.judged(
        score,
        f"Concepts are taken for those shown at about the same time ({nearness})",
        "mistakes follow drift",
        _lag_curve(lags, expected, n_places),
        "places apart in order of presentation",
        "share of mistakes",
    )


def lags_of(
    mistakes: pd.DataFrame, places: Mapping[str, pd.Series[float]]
) -> Float[np.ndarray, " n_wrong"]:
    """Return how many places apart the concepts of each mistake were shown in its recording."""
    lags = np.zeros(len(mistakes))
    for recording, rows in mistakes.groupby("recording_id").indices.items():
        own, place = mistakes.iloc[rows], places[str(recording)]
        lags[rows] = np.abs(place[own["concept"]].to_numpy() - place[own["named"]].to_numpy())
    return lags


def exchanged_lags(
    mistakes: pd.DataFrame, places: Mapping[str, pd.Series[float]], params: ControlParams
) -> Float[np.ndarray, "n_permutations n_wrong"]:
    """Return the same lags where whole concepts change places, in all recordings alike.

    Concepts that are easily confused are so in every trial: only their places can be exchanged.
    """
    names = pd.Index(sorted(set().union(*(place.index for place in places.values()))))
    rng = np.random.default_rng(params.seed)
    keys = rng.random((params.n_permutations, len(names)))
    lags = np.zeros((len(keys), len(mistakes)))
    for recording, rows in mistakes.groupby("recording_id").indices.items():
        place, own = places[str(recording)], mistakes.iloc[rows]
        order = keys[:, names.get_indexer(place.index)].argsort(axis=1)
        moved = place.to_numpy()[order]
        asked, said = (
            place.index.get_indexer(pd.Index(own[column])) for column in ("concept", "named")
        )
        lags[:, rows] = np.abs(moved[:, asked] - moved[:, said])
    return lags


def _nearness_score(
    evidence: Evidence,
    wrong: pd.DataFrame,
    lags: Float[np.ndarray, " n_wrong"],
    expected: Float[np.ndarray, "n_permutations n_wrong"],
    n_places: int,
) -> Score:
    scale = max(n_places - 1, 1)
    resampling = resampling_of(wrong, evidence.params)
    estimate = resampling.estimate(1 - lags / scale)
    means = 1 - expected.mean(axis=1) / scale
    return Score(
        **vars(estimate),
        n=len(wrong),
        chance=float(means.mean()),
        p_value=permutation_p_value(estimate.value, means, higher_is_better=True),
        exchanged="concepts",
        resampled=resampling.resampled,
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
