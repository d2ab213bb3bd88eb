"""Whitening makes the noise of the channels equal, and knows nothing of held-out trials."""

import math
from pathlib import Path

import numpy as np
import pytest

from tasks.eeg.epochs import EpochsInfo, read_file, write_epochs
from tasks.eeg.shards import Findings, ShardCache
from tasks.eeg.whitening import (
    Session,
    WhiteningError,
    WhiteningParams,
    fit_session,
    fit_whitener,
    inverse_square_root,
    whiten_session,
)

N_CHANNELS = 5
INFO = EpochsInfo(tuple("abcde"), 100.0, -0.1, "uV", "average", "none")
RNG = np.random.default_rng(0)
MIXING = (np.eye(N_CHANNELS) + 0.2 * RNG.normal(size=(N_CHANNELS, N_CHANNELS))) * [
    [1],
    [1],
    [1],
    [1],
    [3],
]
TIME = WhiteningParams(covariance_of="time", shrinkage="auto")
ALL = [
    WhiteningParams(covariance_of=of, shrinkage=shrinkage)
    for of in ("time", "epochs")
    for shrinkage in ("auto", "ledoit_wolf")
]


def make_epochs(n_trials: int = 200, n_times: int = 400, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(n_trials, N_CHANNELS, n_times))
    return (MIXING @ noise).astype(np.float32)


def stimuli_of(n_trials: int, n_repetitions: int = 4) -> list[str]:
    return [f"s{i // n_repetitions}" for i in range(n_trials)]


def make_session(
    folder: Path, epochs: dict[str, np.ndarray], n_train: int, name: str = "sub-01 ses-01"
) -> Session:
    """Return a session whose first trials of each recording are for training."""
    recordings, stimulus_of = {}, {}
    for recording, eeg in epochs.items():
        ids = [f"{recording}_trial-{i:04d}" for i in range(len(eeg))]
        write_epochs(folder / f"{recording}.arrow", ids, eeg, INFO)
        reasons = dict.fromkeys(ids, "")
        recordings[recording] = Findings(folder / f"{recording}.arrow", reasons, {"x": math.nan})
        stimulus_of |= dict(zip(ids[:n_train], stimuli_of(n_train), strict=True))
    return Session(name, recordings, stimulus_of)


@pytest.mark.parametrize("params", ALL)
def test_noise_becomes_white(params: WhiteningParams) -> None:
    eeg, stimuli = make_epochs(800, 800), stimuli_of(800)  # many, so that little is shrunk
    whitener = fit_whitener(eeg, stimuli, params)
    assert whitener == pytest.approx(whitener.T)
    after = whitener @ MIXING @ MIXING.T @ whitener
    assert np.abs(after - np.eye(N_CHANNELS)).max() < 0.1


def test_over_time_the_answer_to_the_stimulus_is_no_noise() -> None:
    eeg, stimuli = make_epochs(n_times=20), stimuli_of(200)
    answers = np.random.default_rng(1).normal(size=(50, N_CHANNELS, 20)) * 100
    with_answers = eeg + np.repeat(answers, 4, axis=0).astype(np.float32)
    alone = fit_whitener(eeg, stimuli, TIME)
    assert fit_whitener(with_answers, stimuli, TIME) == pytest.approx(alone, rel=1e-3, abs=1e-3)


def test_a_direction_without_variance_stays_empty() -> None:
    covariance = np.cov(make_epochs(1)[0] - make_epochs(1)[0].mean(axis=0))  # average reference
    whitener = inverse_square_root(covariance)
    assert np.abs(whitener.sum(axis=0)).max() < 1e-4
    assert np.linalg.matrix_rank(whitener @ covariance @ whitener) == N_CHANNELS - 1


@pytest.mark.parametrize("params", ALL)
def test_scrambled_test_trials_change_nothing(tmp_path: Path, params: WhiteningParams) -> None:
    eeg = {"a": make_epochs(40, 30), "b": make_epochs(40, 30, seed=1)}
    expected = fit_session(make_session(tmp_path, eeg, n_train=24), params)
    rng = np.random.default_rng(2)
    for epochs in eeg.values():
        epochs[24:] = rng.permuted(epochs[24:], axis=1) * 50
    assert np.array_equal(fit_session(make_session(tmp_path, eeg, n_train=24), params), expected)
    eeg["a"][:24] = rng.permuted(eeg["a"][:24], axis=1)
    assert not np.allclose(fit_session(make_session(tmp_path, eeg, n_train=24), params), expected)


def test_all_trials_of_a_session_are_multiplied_by_one_matrix(tmp_path: Path) -> None:
    eeg = {"a": make_epochs(40, 30), "b": make_epochs(300, 30, seed=1)}
    session = make_session(tmp_path, eeg, n_train=24)
    cache = ShardCache(tmp_path / "cache")
    found = whiten_session(cache, TIME, session)
    whitener = fit_session(session, TIME)
    for name, epochs in eeg.items():
        ids, whitened, info = read_file(found[name].epochs)
        assert ids == list(session.recordings[name].reject_reasons)
        assert whitened == pytest.approx(whitener @ epochs, rel=1e-3, abs=1e-3)
        assert info.unit == "whitened"
        assert found[name].reject_reasons == session.recordings[name].reject_reasons
    written = {path: path.stat().st_mtime_ns for path in cache.folder.rglob("*.arrow")}
    assert whiten_session(cache, TIME, session)["a"].epochs == found["a"].epochs
    assert {p: p.stat().st_mtime_ns for p in cache.folder.rglob("*.arrow")} == written
    fewer = make_session(tmp_path, eeg, n_train=20)
    assert whiten_session(cache, TIME, fewer)["a"].epochs != found["a"].epochs


def test_too_few_training_trials_are_refused(tmp_path: Path) -> None:
    none = make_session(tmp_path, {"a": make_epochs(8, 30)}, n_train=0)
    with pytest.raises(WhiteningError) as error:
        fit_session(none, TIME)
    assert str(error.value) == (
        "Each session must have kept training trials to be whitened; sub-01 ses-01 has none. "
        "Set preprocess.whitening to null, or change preprocess.split."
    )
    with pytest.raises(WhiteningError, match=r"6 stimuli were shown once\. Set it to epochs"):
        fit_whitener(make_epochs(6, 30), list("uvwxyz"), TIME)
