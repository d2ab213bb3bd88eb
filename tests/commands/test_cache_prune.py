"""`percept cache prune` says what can go before it goes, and what is in use stays."""

import os
from pathlib import Path

import numpy as np
import pytest

from tasks.__main__ import main
from tasks.eeg.epochs import EpochsInfo, path_of, write_epochs
from tasks.eeg.shards import ShardCache
from tasks.runtime.files import link_or_copy

INFO = EpochsInfo(("Fz", "Cz"), 100.0, 0.0, "uV", "average", "none")
PUBLISHED = Path("data/interim/epochs")


def finished(cache: ShardCache, recording: str, seed: int, inputs: str) -> Path:
    entry = cache.entry(recording, inputs)
    eeg = np.random.default_rng(seed).normal(size=(3, 2, 500)).astype(np.float32)
    write_epochs(entry.epochs, [f"{recording}_trial-{i:04d}" for i in range(3)], eeg, INFO)
    entry.finish({}, {})
    return entry.folder


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return finished recordings: two in use, one of other params, one of a step before, one half finished."""
    monkeypatch.chdir(tmp_path)
    cache = ShardCache(Path("data/cache/preprocess"))
    folders = {
        "other": finished(cache, "sub-01", 0, "other"),
        "before": finished(cache, "sub-02", 1, "cleaned"),
        "used": finished(cache, "sub-01", 2, "used"),
        "whitened": finished(cache, "sub-02-whitened", 3, "whitened"),
        "half": finished(cache, "sub-03", 4, "killed"),
    }
    (folders["half"] / "findings.json").unlink()
    link_or_copy(path_of(folders["used"], "epochs"), path_of(PUBLISHED, "sub-01"))
    link_or_copy(path_of(folders["whitened"], "epochs"), path_of(PUBLISHED, "sub-02"))
    return folders


def test_what_would_go_is_said_first_and_nothing_goes(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "prune"]) == 0
    said = capsys.readouterr().out
    for name, folder in folders.items():
        assert (str(folder) in said) == (name in ("other", "before", "half")), name
    assert "3 recordings" in said
    assert "`percept cache prune --yes` deletes them" in said
    assert all(folder.exists() for folder in folders.values())


def test_what_is_in_use_stays(folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "prune", "--yes"]) == 0
    assert "GB freed" in capsys.readouterr().out
    assert {name for name, folder in folders.items() if folder.exists()} == {"used", "whitened"}
    assert main(["cache", "prune", "--yes"]) == 0
    assert "nothing but the recordings" in capsys.readouterr().out


def test_of_the_same_epochs_the_last_one_is_in_use(folders: dict[str, Path]) -> None:
    cache = ShardCache(Path("data/cache/preprocess"))
    again = finished(cache, "sub-01", 2, "other code, same epochs")
    os.utime(again / "findings.json", (2**31, 2**31))
    assert set(cache.unused(PUBLISHED)) == set(folders.values()) - {folders["whitened"]}
