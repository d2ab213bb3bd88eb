"""Cells from end to end on a small study: trained once, resumed, scored, put into one table."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.tables import write_table
from tasks.encoder.resumption import SavedRun
from tasks.sweeps.cells import read_result, run_cell
from tasks.sweeps.plan import Sweep, cells_of
from tasks.sweeps.table import as_markdown, long_table
from tests.encoder.small_study import (
    ARCHITECTURES,
    PARAMS,
    SUBJECTS,
    make_small_study,
    written_study,
)

LINEAR = {"name": "linear", **ARCHITECTURES["linear"]}

SWEEP = Sweep.model_validate(
    {
        "title": "A small sweep",
        "notes": "Two epochs.",
        "studies": {"small": None},
        "protocols": ["within_subject", "leave_one_subject_out"],
        "seeds": [0, 1],
        "train": {"schedule": {"max_epochs": 2}},
        "arms": {
            "linear": {"train": {"architecture": LINEAR}},
            "ours": {},
            "permuted": {"permuted_labels": True, "train": {"architecture": LINEAR}},
            "once": {
                "n_presentations": 1,
                "share_of_stimuli": 0.5,
                "train": {"architecture": LINEAR},
            },
        },
    }
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    study, artifacts = make_small_study(), Artifacts(written_study(root))
    test = study.trials[study.trials["split"] == "test"]
    rows = test[["trial_id"]].assign(factor="concept", predicted="cat", actual=test["concept"])
    write_table(pa.Table.from_pandas(rows, preserve_index=False), artifacts.oracle, ORACLE)
    base = PARAMS.model_dump(mode="json")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield cells_of(SWEEP, "small", root, list(SUBJECTS), base, root / "cells", {})
    torch.set_num_threads(n_threads)


def test_the_table_says_what_the_cells_answered(cells):
    for cell in cells:
        run_cell(cell)
    table = long_table(cells, "ours")
    everybody = table[(table["question"] == "concept") & (table["subject"] == "all")]
    values = everybody.set_index(["protocol", "arm"])["value"]
    assert values["within_subject", "linear"] > 0.8 > values["within_subject", "permuted"]
    for cell, result in ((cell, read_result(cell)) for cell in cells):
        answers = pd.DataFrame(result["answers"]["concept"])
        assert set(answers["subject"]) == {cell.fold}
    of_linear = [c for c in cells if c.arm == "linear" and c.protocol == "within_subject"]
    answers = [read_result(c)["answers"]["concept"]["correct"] for c in of_linear]
    assert values["within_subject", "linear"] == pytest.approx(np.mean(answers))
    assert everybody["oracle"].unique() == pytest.approx([1 / 3])
    assert set(table[table["question"] == "concept"]["subject"]) == {"all", *SUBJECTS}
    page = as_markdown(SWEEP, table, len(cells), len(cells) + 1)
    assert f"**{len(cells)} of {len(cells) + 1} trainings are done" in page
    assert "## Study small, leave one subject out" in page
    assert "| ours | " in page
    assert "Chance, one by the number of candidates: concept 0.333" in page


def test_arms_are_compared_with_the_first_one_trial_by_trial(cells):
    for cell in cells:
        run_cell(cell)
    rows = long_table(cells, "ours").query("question == 'concept' and subject == 'all'")
    rows = rows.set_index(["protocol", "arm"])
    for protocol in ("within_subject", "leave_one_subject_out"):
        ours, linear = rows.loc[(protocol, "ours")], rows.loc[(protocol, "linear")]
        assert np.isnan(ours["difference"])
        assert linear["difference"] == pytest.approx(linear["value"] - ours["value"])
        assert linear["difference_low"] <= linear["difference"] <= linear["difference_high"]
        assert (ours["n_steps"], linear["n_steps"]) == (2 * (ours["n_steps"] // 2), 0)


def test_less_data_means_fewer_trials(cells):
    n_trials = {cell.arm: read_result(cell)["n_training_trials"] for cell in cells[:8]}
    assert n_trials["once"] * 6 == n_trials["linear"] == n_trials["ours"]


def test_a_cell_is_trained_once_and_resumed_to_the_same_answers(cells, tmp_path, monkeypatch):
    cell = next(c for c in cells if c.arm == "ours")
    before = read_result(cell)
    again = replace(cell, results=str(tmp_path))
    save = SavedRun.save

    def save_then_die(self, state):
        save(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SavedRun, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            run_cell(again)
    assert read_result(again) is None
    run_cell(again)
    assert read_result(again)["answers"] == before["answers"]
    again.result.write_text(json.dumps({"kept": True}))
    run_cell(again)
    assert read_result(again) == {"kept": True}
