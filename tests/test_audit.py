"""The stage `audit` on a study whose encoder hears the pictures and nothing else."""

import re

import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tasks import audit as stage
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import write_table
from tasks.controls.registry import CONTROLS as CONTROLS_BY_NAME
from tasks.runtime.errors import PerceptError
from tasks.wiring.contract import reads
from tests.controls.test_controls import PARAMS as CONTROLS
from tests.listening_study import make_listening_study, write_epoch_files
from tests.qualified import is_qualified

PARAMS = stage.AuditParams(
    max_trials=300, max_training_trials=200, batch_size=64, seed=0, run="all", controls=CONTROLS
)
ABSENT = {
    "block_from_features",  # one block per subject
    "errors_follow_time",  # few mistakes
    "above_55_hz",  # sampled too slowly
    "any_head_correct",  # one head of the object tier
}
SUMMED_UP = {"encoder", "explained_by_drift", "explained_by_leakage"}
NAMES = {*CONTROLS_BY_NAME, *SUMMED_UP} - ABSENT


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
    write_table(study.tables.retrievals, folder / "retrievals", RETRIEVALS)
    write_table(study.stimuli, folder / "stimuli", STIMULI)
    write_table(study.image_vectors, folder / "image_vectors", IMAGE_VECTORS)
    write_recordings(study, folder / "recordings", timed=True)
    return {name: folder / name for name in reads(stage.audit)}


def write_recordings(study, path, timed):
    texts = {field.name: "" for field in RECORDINGS if field.type == pa.string()}
    numbers = {"timed": timed, "sfreq_hz": 100.0, "n_channels": 1, "duration_s": 1.0}
    names = sorted(set(study.tables.trials["recording_id"].to_pylist()))
    rows = [texts | numbers | {"recording_id": name} for name in names]
    write_table(pa.Table.from_pylist(rows, RECORDINGS), path, RECORDINGS)


def run(study, inputs, folder, params=PARAMS):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "load_encoder", lambda path: study.encoder)
        stage.audit(
            *inputs.values(),
            audit_metrics=folder / "audit.json",
            audit_plots=folder / "plots",
            params=params,
        )
    return folder


@pytest.fixture(scope="module")
def outputs(study, inputs, tmp_path_factory):
    return run(study, inputs, tmp_path_factory.mktemp("outputs"))


def test_encoder_passes_the_controls_that_it_should(outputs):
    scores = read_scores(outputs / "audit.json")
    assert set(scores) == NAMES
    assert scores["encoder"].value > 0.6
    for name in ("shuffled_eeg", "noise_eeg", "prestimulus", "subject_prior", "subject_only"):
        assert scores[name].value < 0.3, name
        assert scores[name].low <= scores[name].chance or scores[name].p_value > 0.05, name
    assert scores["gallery_permutation"].value == scores["batch_dependence"].value == 0
    assert scores["explained_by_drift"].verdict.startswith(
        "Partly open to drift: "
    )  # shown in order
    assert scores["explained_by_leakage"].verdict.startswith("No leak is found: ")
    assert scores["repetitions"].value > scores["encoder"].value - 0.1
    assert all(score.verdict for score in scores.values())


def test_every_control_says_how_sure_it_is(outputs):
    scores = read_scores(outputs / "audit.json")
    assert [name for name, score in scores.items() if not is_qualified(score)] == []
    assert scores["stimulus_overlap"].resampled == "counted"


def test_chosen_controls_alone_are_run(study, inputs, tmp_path):
    params = PARAMS.model_copy(update={"run": ("noise_eeg", "gallery_permutation")})
    scores = read_scores(run(study, inputs, tmp_path, params) / "audit.json")
    assert set(scores) == {"encoder", "noise_eeg", "gallery_permutation"}


def test_controls_of_time_are_left_out_where_a_recording_has_none(study, inputs, tmp_path):
    write_recordings(study, tmp_path / "recordings", timed=False)
    params = PARAMS.model_copy(update={"run": ("time_of_recording", "noise_eeg")})
    changed = inputs | {"recordings": tmp_path / "recordings"}
    scores = read_scores(run(study, changed, tmp_path, params) / "audit.json")
    assert set(scores) == {"encoder", "noise_eeg"}


def test_an_unknown_control_is_refused():
    with pytest.raises(
        ValidationError, match="seance is no control; known are simple_decoder, shuffled_eeg, noise"
    ):
        stage.AuditParams.model_validate(PARAMS.model_dump() | {"run": ("noise_eeg", "seance")})


def test_chart_and_table_show_every_control(outputs):
    assert (outputs / "plots" / "controls.png").stat().st_size > 10_000
    table = pd.read_csv(outputs / "plots" / "controls.csv")
    assert set(table["control"]) == NAMES
    assert table.columns[0] == "control"


def test_same_inputs_give_the_same_bytes(study, inputs, outputs, tmp_path):
    again = run(study, inputs, tmp_path)
    names = [f"plots/{path.name}" for path in (outputs / "plots").iterdir()]
    assert len(names) >= 2 + 2 * 5
    for name in ("audit.json", *names):
        assert (again / name).read_bytes() == (outputs / name).read_bytes()


def test_study_whose_test_concepts_were_never_trained_is_audited_on_those(study, inputs, tmp_path):
    trials = study.tables.trials.to_pandas()
    untrained = sorted(set(trials["concept"]))[:3]
    trials["split"] = trials["split"].replace("test", "zero_shot")
    trials["kept"] &= (trials["split"] == "zero_shot") == trials["concept"].isin(untrained)
    write_table(pa.Table.from_pandas(trials, TRIALS, preserve_index=False), tmp_path / "t", TRIALS)
    found = read_scores(run(study, inputs | {"trials": tmp_path / "t"}, tmp_path) / "audit.json")
    assert found["encoder"].chance == pytest.approx(1 / 3, abs=0.1)
    assert found["encoder"].value > 0.5


def test_study_without_held_out_trials_is_refused(study, inputs, tmp_path):
    trials = study.tables.trials.to_pandas()
    trials["kept"] &= ~trials["split"].isin(["test", "zero_shot"])
    write_table(pa.Table.from_pandas(trials, TRIALS, preserve_index=False), tmp_path / "t", TRIALS)
    message = (
        "Evaluation needs kept trials of the splits test, zero_shot; found none. "
        "Hold out stimuli in `preprocess`."
    )
    with pytest.raises(PerceptError, match=f"^{re.escape(message)}$"):
        run(study, inputs | {"trials": tmp_path / "t"}, tmp_path)


def test_the_course_over_time_is_a_share_of_trials_with_its_interval(outputs):
    course = pd.read_csv(outputs / "plots" / "decoding_over_time.csv")
    assert course["x"].is_monotonic_increasing
    assert (course["low"] <= course["value"]).all()
    assert (course["value"] <= course["high"]).all()
    chance = read_scores(outputs / "audit.json")["encoder"].chance
    assert course["low"].max() > chance
