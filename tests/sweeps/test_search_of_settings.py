"""The search of a sweep on a small study: halved by validation trials, resumed, never asked about held-out trials."""

import json
from pathlib import Path

import pytest
import torch

from tasks.encoder.resumption import SavedRun
from tasks.sweeps.plan import Sweep
from tasks.sweeps.search import SCORE, Search, run_attempt
from tests.encoder.small_study import ARCHITECTURES, PARAMS, written_study

LINEAR = {"name": "linear", **ARCHITECTURES["linear"]}
SETTINGS = {str(rate): {"optimiser": {"learning_rate": rate}} for rate in (1e-12, 1e-3, 3e-3, 1e-2)}
SWEEP = Sweep.model_validate(
    {
        "title": "t",
        "notes": "n",
        "studies": {"small": None},
        "protocols": ["pooled"],
        "seeds": [0],
        "train": {"schedule": {"max_epochs": 4}},
        "arms": {
            "ours": {"settings": SETTINGS},
            "linear": {
                "train": {"architecture": LINEAR},
                "settings": {"weak": {}, "strong": {"architecture": {"prior_trials": 1e6}}},
            },
            "fixed": {"train": {"architecture": LINEAR}},
        },
        "search": {"study": {}, "epochs": [1, 2, 4]},
    }
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield written_study(tmp_path_factory.mktemp("study"))
    torch.set_num_threads(n_threads)


def search_in(root, results):
    return Search(SWEEP, root, PARAMS.model_dump(mode="json"), results)


def one_by_one(work, items):
    for item in items:
        work(item)


def test_the_better_half_goes_on(root, tmp_path):
    search, done = search_in(root, tmp_path), []

    def noting(work, items):
        done.append([(a.arm, a.setting, a.n_epochs) for a in items])
        one_by_one(work, items)

    search.run(noting)
    assert [len(some) for some in done] == [4 + 2, 2 + 1, 1 + 1]
    rows = {(row["arm"], row["setting"]): row for row in search.rows()}
    first = {s: rows["ours", s]["scores"][1] for s in SETTINGS}
    went_on = {setting for arm, setting, n in done[1] if arm == "ours"}
    assert min(first[s] for s in went_on) >= max(first[s] for s in set(SETTINGS) - went_on)
    chosen = search.chosen()
    assert set(chosen) == {"ours", "linear"}
    assert [s for (arm, s), row in rows.items() if row["chosen"]] == [
        chosen["ours"],
        chosen["linear"],
    ]
    assert f"| ours | {chosen['ours']} |" in search.as_markdown()
    assert not list(tmp_path.rglob("state.pt"))


def test_a_round_goes_on_where_the_last_one_stopped(root, tmp_path):
    search_in(root, tmp_path / "rounds").run(one_by_one)
    whole = search_in(root, tmp_path / "whole")
    chosen = search_in(root, tmp_path / "rounds").chosen()["ours"]
    at_once = whole._attempt("ours", chosen, 4)
    run_attempt(at_once)
    in_rounds = search_in(root, tmp_path / "rounds")._attempt("ours", chosen, 4)
    assert in_rounds.log() == at_once.log()
    assert [row["epoch"] for row in at_once.log()] == [0, 1, 2, 3, 4]


def test_a_killed_search_pays_for_nothing_twice(root, tmp_path):
    search, ran = search_in(root, tmp_path), []

    def dying(work, items):
        for item in items:
            if len(ran) == 5:
                raise KeyboardInterrupt
            ran.append(item.record)
            work(item)

    with pytest.raises(KeyboardInterrupt):
        search.run(dying)
    assert "linear" not in search.chosen()
    search.run(lambda work, items: [(ran.append(i.record), work(i)) for i in items])
    assert len(ran) == len(set(ran)) == 6 + 3 + 2


def test_settings_are_chosen_by_validation_trials_alone(root, tmp_path):
    search = search_in(root, tmp_path)
    search.run(one_by_one)
    attempt = search._attempt("linear", "weak", 1)
    record = json.loads(attempt.record.read_text())
    assert set(record) == {"train", "log"}
    assert attempt.score() == max(row[SCORE] for row in record["log"])
    assert SavedRun(Path(attempt.folder)).load() is None
