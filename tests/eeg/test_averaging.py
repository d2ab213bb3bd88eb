"""Averages are of one picture, one subject and one part; every trial says where it went."""

from pathlib import Path

import numpy as np
import pytest

from tasks.eeg.averaging import RepetitionParams, Subject, average_subject, group_trials
from tasks.eeg.epochs import EpochsInfo, read_file, recording_of, write_epochs
from tasks.eeg.shards import Findings, ShardCache

INFO = EpochsInfo(("Cz", "Pz"), 100.0, 0.0, "whitened", "average", "none")
PARAMS = RepetitionParams(train=2, validation=1, test=80, zero_shot=1)
TRIALS = [f"sub-01_ses-0{s}_trial-{i:04d}" for s in (1, 2) for i in range(6)]
PICTURES = [("a", "train"), ("b", "test"), ("c", "validation")] * 4
REJECTED = TRIALS[4]  # of b


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    recordings = {}
    for name in dict.fromkeys(map(recording_of, TRIALS)):
        own = [t for t in TRIALS if recording_of(t) == name]
        kept = [t for t in own if t != REJECTED]
        eeg = np.array([np.full((2, 3), TRIALS.index(t), np.float32) for t in kept])
        write_epochs(tmp_path / f"{name}.arrow", kept, eeg, INFO)
        reasons = {t: "flat" if t == REJECTED else "" for t in own}
        recordings[name] = Findings(tmp_path / f"{name}.arrow", reasons, {"recording_id": name})
    return Subject(recordings, dict(zip(TRIALS, PICTURES, strict=True)))


def test_groups_are_of_kept_trials_in_the_order_of_presentation(subject: Subject) -> None:
    first_of = group_trials(subject, PARAMS)
    assert REJECTED not in first_of
    assert [first_of[TRIALS[i]] for i in (0, 3, 6, 9)] == [TRIALS[i] for i in (0, 0, 6, 6)]
    assert [first_of[TRIALS[i]] for i in (1, 7, 10)] == [TRIALS[1]] * 3
    assert [first_of[TRIALS[i]] for i in (2, 5, 8, 11)] == [TRIALS[i] for i in (2, 5, 8, 11)]


def test_an_average_takes_the_place_of_its_first_trial(subject: Subject, tmp_path: Path) -> None:
    done = average_subject(ShardCache(tmp_path / "cache"), PARAMS, subject)
    found = {}
    for name in done:
        trial_ids, eeg, info = read_file(done[name].epochs)
        assert info == INFO
        found |= {
            TRIALS.index(t): float(epoch[0, 0]) for t, epoch in zip(trial_ids, eeg, strict=True)
        }
    assert found == {0: 1.5, 1: 6.0, 2: 2.0, 5: 5.0, 6: 7.5, 8: 8.0, 11: 11.0}
    reasons = {t: r for found in done.values() for t, r in found.reject_reasons.items()}
    assert reasons[REJECTED] == "flat"
    assert reasons[TRIALS[3]] == f"averaged into {TRIALS[0]}"
    assert reasons[TRIALS[7]] == f"averaged into {TRIALS[1]}"
    assert [t for t, reason in reasons.items() if not reason] == [TRIALS[i] for i in sorted(found)]


def test_what_was_averaged_before_is_not_averaged_again(subject: Subject, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache")
    first = average_subject(cache, PARAMS, subject)
    stamp = {name: found.epochs.stat().st_mtime_ns for name, found in first.items()}
    second = average_subject(cache, PARAMS, subject)
    assert {name: found.epochs.stat().st_mtime_ns for name, found in second.items()} == stamp
