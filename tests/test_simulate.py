import csv
import json

import mne
import numpy as np
import pytest
from PIL import Image

from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.tables import read_table
from tasks.runtime.files import sha256_of
from tasks.runtime.map import serial_map
from tasks.simulate import simulate
from tasks.simulation.head import CHANNELS
from tasks.simulation.recording import STEP_UV, SimulationError
from tasks.simulation.scene import Scene, draw
from tasks.simulation.study import make_study
from tests.simulation.studies import make_params

PARAMS = make_params(n_stimuli=40, n_presentations=2, n_sessions=2)


class Interrupted(Exception):
    """Stands for a kill."""


def run(folder, params=PARAMS, map=serial_map):
    simulated = folder / "raw" / "simulated"
    simulate(simulated=simulated, params=params, map=map)
    return simulated


def interrupted_map(work, shards, /):
    work(next(iter(shards)))
    raise Interrupted


def finished(folder):
    return sorted(folder.glob("cache/simulate/*/*/*_eeg.fif"))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return run(tmp_path_factory.mktemp("study"))


def checksums(folder):
    return {str(p.relative_to(folder)): sha256_of(p) for p in folder.rglob("*") if p.is_file()}


def test_recordings_are_the_simulated_eeg(simulated):
    study = make_study(PARAMS)
    for session in (1, 2):
        path = simulated / "recordings" / f"sub-01_ses-0{session}_eeg.fif"
        raw = mne.io.read_raw_fif(path, verbose="ERROR")
        assert raw.ch_names == list(CHANNELS)
        assert raw.info["sfreq"] == 250.0
        assert raw.get_montage() is not None
        error_uv = raw.get_data() * 1e6 - study.record(1, session)
        assert np.abs(error_uv).max() <= STEP_UV * 1.01


def test_events_tell_what_was_shown_when(simulated):
    study = make_study(PARAMS)
    schedule = study.schedule(1, 2)
    path = simulated / "recordings" / "sub-01_ses-02_events.tsv"
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    names = list(study.stimuli)
    assert [int(r["presentation_order"]) for r in rows] == list(range(40))
    assert [r["stimulus_id"] for r in rows] == [names[i] for i in schedule.stimuli]
    assert [round(float(r["onset_s"]) * 250) for r in rows] == list(schedule.onsets)
    assert {r["repetition"] for r in rows} == {"1"}


def test_stimuli_are_drawn_scenes_of_balanced_concepts(simulated):
    listed = [line.split("\t") for line in (simulated / "stimuli.tsv").read_text().splitlines()[1:]]
    assert len({concept for _, concept in listed}) == 40
    for name, concept in listed[:5]:
        scene = Scene.from_json(json.loads((simulated / f"stimuli/{name}.json").read_text()))
        with Image.open(simulated / f"stimuli/{name}.png") as picture:
            assert picture.tobytes() == draw(scene, 64).tobytes()
        assert scene.concept == concept


def test_truth_is_written_for_every_trial_and_channel(simulated):
    oracle = read_table(simulated / "truth" / "oracle.parquet", ORACLE).to_pylist()
    events = (simulated / "recordings" / "sub-01_ses-01_events.tsv").read_text().splitlines()
    assert len(oracle) == 2 * 40 * 5
    first = next(r for r in oracle if r["factor"] == "concept")
    shown = events[1].split("\t")[3]
    assert first["trial_id"] == "sub-01_ses-01_trial-0000"
    assert first["actual"] == make_study(PARAMS).stimuli[shown].concept
    topographies = read_table(simulated / "truth" / "topographies.parquet", TOPOGRAPHIES)
    assert topographies.num_rows == 5 * 128
    planted = json.loads((simulated / "study.json").read_text())
    assert planted["bad_channels"]["sub-01_ses-01"] == make_study(PARAMS).bad_channels(1, 1)
    assert planted["params"]["seed"] == PARAMS.seed


def test_a_study_of_factors_is_drawn_as_ever():
    """From the version before there was another kind of brain; 16 bits resolve 0.05 uV."""
    study = make_study(make_params(n_stimuli=40))
    expected = [
        [6.51, -14.68, -6.73, -6.85],
        [5.63, 3.1, 3.64, 0.12],
        [-23.23, -3.1, 14.12, -0.79],
        [12.53, 0.52, 7.92, -2.49],
    ]
    assert study.record(1, 1)[::40, ::2500] == pytest.approx(np.array(expected), abs=0.01)
    scene = study.stimuli["stim-0007"]
    assert (scene.concept, scene.colour, scene.relation) == ("dove", "orange", "above")


def test_same_params_give_the_same_bytes(simulated, tmp_path):
    assert checksums(run(tmp_path)) == checksums(simulated)


def test_another_seed_gives_another_study(simulated, tmp_path):
    other = checksums(run(tmp_path, PARAMS.model_copy(update={"seed": 8})))
    same = {name for name, value in checksums(simulated).items() if other.get(name) == value}
    assert same == {"stimuli.tsv"}  # the concepts, balanced, whatever the seed


def test_an_interrupted_run_goes_on_where_it_stopped(simulated, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, map=interrupted_map)
    (kept,) = finished(tmp_path)
    inode = kept.stat().st_ino
    resumed = run(tmp_path)
    assert (resumed / "recordings" / kept.name).stat().st_ino == inode
    assert checksums(resumed) == checksums(simulated)
    assert not finished(tmp_path)


def test_an_unfinished_recording_is_made_again(simulated, tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, map=interrupted_map)
    (kept,) = finished(tmp_path)
    kept.with_name("checksums.json").unlink()
    kept.write_bytes(b"half")
    assert checksums(run(tmp_path)) == checksums(simulated)


def test_other_params_do_not_take_what_was_kept(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, map=interrupted_map)
    (kept,) = finished(tmp_path)
    run(tmp_path, PARAMS.model_copy(update={"seed": 8}))
    assert finished(tmp_path) == [kept]


def test_a_changed_recording_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, map=interrupted_map)
    (kept,) = finished(tmp_path)
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(SimulationError) as caught:
        run(tmp_path)
    assert str(caught.value) == (
        f"The finished recording {kept.parent} must be as it was written; {kept.name} changed. "
        "Delete that folder and run the stage again: the other recordings are kept."
    )


def test_amplitudes_beyond_16_bits_are_refused(tmp_path):
    noise = {"bad_channel_uv": 2000.0}
    with pytest.raises(SimulationError, match=r"must stay within \+-1638 uV; sub-01_ses-01_eeg"):
        run(tmp_path, make_params(n_stimuli=40, noise=noise))


def test_a_smaller_study_leaves_nothing_of_a_larger_one(tmp_path):
    run(tmp_path, PARAMS)
    smaller = run(tmp_path, PARAMS.model_copy(update={"n_sessions": 1}))
    names = sorted(path.name for path in (smaller / "recordings").iterdir())
    assert names == ["sub-01_ses-01_eeg.fif", "sub-01_ses-01_events.tsv"]
    assert [path.name for path in smaller.parent.iterdir()] == ["simulated"]


def test_no_design_gives_an_empty_study(tmp_path):
    simulated = run(tmp_path, make_params(schedule={"design": "none"}))
    assert [path.name for path in simulated.iterdir()] == ["study.json"]


def test_sessions_must_divide_presentations():
    with pytest.raises(
        ValueError, match="n_presentations must be a multiple of n_sessions; found 3"
    ):
        make_params(n_presentations=3, n_sessions=2)
