"""The stage `audit` on a study whose encoder hears the pictures and nothing else."""

import re

import pandas as pd
import pyarrow as pa
import pytest

from tasks import audit as stage
from tasks._errors import PerceptError
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import write_table
from tests.analysis.test_controls import PARAMS as CONTROLS
from tests.listening_study import make_listening_study, write_epoch_files

PARAMS = stage.AuditParams(
    max_trials=300, max_training_trials=200, batch_size=64, seed=0, controls=CONTROLS
)
NAMES = {
    "encoder", "shuffled_eeg", "label_permutation", "time_of_recording", "block_structure",
    "subject_prior", "noise_eeg", "prestimulus", "explained_by_drift",
}  # fmt: skip


@pytest.fixture(scope="module")
def study():
    return make_listening_study()


@pytest.fixture(scope="module")
def inputs(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_table(study.tables.trials, folder / "trials", TRIALS)
    write_table(study.tables.captions, folder / "captions", CAPTIONS)
    write_table(study.tables.text_vectors, folder / "text_vectors", TEXT_VECTORS)
    write_table(study.tables.predictions, folder / "predictions", PREDICTIONS)
    write_epoch_files(study, folder / "epochs")
    names = ("trials", "epochs", "captions", "text_vectors", "encoder", "predictions")
    return {name: folder / name for name in names}


def run(study, inputs, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "load_encoder", lambda path: study.encoder)
        stage.audit(
            *inputs.values(),
            audit_metrics=folder / "audit.json",
            audit_plots=folder / "plots",
            params=PARAMS,
        )
    return folder


@pytest.fixture(scope="module")
def outputs(study, inputs, tmp_path_factory):
    return run(study, inputs, tmp_path_factory.mktemp("outputs"))


def test_encoder_passes_the_controls_that_it_should(outputs):
    scores = read_scores(outputs / "audit.json")
    assert set(scores) == NAMES
    assert scores["encoder"].value > 0.6
    for name in ("shuffled_eeg", "noise_eeg", "prestimulus", "subject_prior"):
        assert scores[name].value < 0.3, name
        assert scores[name].low <= scores[name].chance or scores[name].p_value > 0.05, name
    assert all(score.verdict for score in scores.values())


def test_chart_and_table_show_every_control(outputs):
    assert (outputs / "plots" / "controls.png").stat().st_size > 10_000
    table = pd.read_csv(outputs / "plots" / "controls.csv")
    assert set(table["control"]) == NAMES
    assert table.columns[0] == "control"


def test_same_inputs_give_the_same_bytes(study, inputs, outputs, tmp_path):
    again = run(study, inputs, tmp_path)
    for name in ("audit.json", "plots/controls.png", "plots/controls.csv"):
        assert (again / name).read_bytes() == (outputs / name).read_bytes()


def test_study_without_test_trials_is_refused(study, inputs, tmp_path):
    trials = study.tables.trials.to_pandas()
    trials["kept"] &= trials["split"] != "test"
    write_table(pa.Table.from_pandas(trials, TRIALS, preserve_index=False), tmp_path / "t", TRIALS)
    message = (
        "The audit needs kept trials of the split 'test'; found none. "
        "Hold out pictures of trained concepts in `preprocess`."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(study, inputs | {"trials": tmp_path / "t"}, tmp_path)
