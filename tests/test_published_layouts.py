"""Studies as the field publishes them, from their files to the report."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tasks import STAGES
from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.splits import HELD_OUT, TRAIN, ZERO_SHOT, main_split
from tasks.artifacts.tables import read_table
from tasks.benchmark.benchmark import write_benchmark
from tasks.benchmark.controls import retrain
from tasks.benchmark.runs import open_run
from tasks.commands.outlook import expect
from tasks.eeg.sources.registry import parse_params
from tasks.runtime.map import serial_map
from tasks.wiring.contract import call, load_stage, read_params
from tasks.wiring.presets import merged, preset_names, splice
from tests.conftest import REPOSITORY
from tests.published_layouts import WRITERS

PRESETS = REPOSITORY / "presets"
SMALL = {
    "caption.backend": "file",
    "embed.model": "shipped",
    "train.batch_size": 16,
    "train.architecture": {
        "name": "linear",
        "n_components": 4,
        "bin_samples": 4,
        "n_scores": 50,
        "prior_trials": 5.0,
    },
    "retrieve.k": 1,
    "render.model": "shipped",
    "render.max_trials": 4,
    "render.conditions": ["decoded", "true_captions", "shuffled_eeg"],
    "explain.max_trials": 40,
    "explain.maps.integration_steps": 2,
    "explain.maps.n_rotations": 19,
    "explain.maps.n_resamples": 20,
    "explain.separation.n_permutations": 9,
    "explain.separation.max_points": 40,
    "explain.separation.perplexity": 5.0,
}
"""What a small study on a small machine needs, beside what the preset `tiny` says of the later stages."""


def write_workspace(
    root: Path, layout: str, changes: Mapping[str, Any] | None = None, recipe: str = ""
) -> Path:
    """Write a study and the params that its preset gives it, or a recipe for it; return the params file."""
    preset, write = WRITERS[layout]
    text = merged(recipe or preset, PRESETS)
    folder = root / "data" / "raw" / yaml.safe_load(text)["ingest"]["source"]["folder"]
    folder.mkdir(parents=True)
    needed = write(folder)
    tiny = yaml.safe_load((PRESETS / "tiny.yaml").read_text())
    own = ("simulate.", "preprocess.", "train." if recipe else "train.architecture.")
    later = {k: v for k, v in tiny.items() if not k.startswith(own)}
    kept = {"train.architecture"} if recipe else set()
    if yaml.safe_load(text)["caption"]["backend"] == "concept":
        kept.add("caption.backend")
    small = {k: v for k, v in SMALL.items() if k not in kept}
    for values in (later, small, needed, changes or {}):
        text = splice(text, yaml.safe_dump(dict(values), sort_keys=False), Path("params.yaml"))
    path = root / "params.yaml"
    path.write_text(text)
    (root / "data" / "models").symlink_to(REPOSITORY / "data" / "models")
    return path


def run(root: Path, params: Path, last: str = STAGES[-1]) -> Artifacts:
    """Run every stage up to the last."""
    artifacts = Artifacts(root)
    for name in STAGES[: STAGES.index(last) + 1]:
        call(load_stage(name), artifacts, params, serial_map)
    return artifacts


QUICK = "epochs_npy"
SLOW = "things_eeg2_nice"
"""The one layout that goes the whole way in the long tests; the others do so at night."""
CHAINS = [
    pytest.param(layout, marks=pytest.mark.slow if layout == SLOW else pytest.mark.nightly)
    for layout in WRITERS
]


def split_by(strategy: str, **more: Any) -> dict[str, Any]:
    """Return the params of a split; a subject that is left out has no filters of its own."""
    split = {"strategy": strategy} | more
    params: dict[str, Any] = {"preprocess.split": split}
    return params | ({"train.per_subject": False} if "test_subject" in more else {})


SEEDED = {"seed": 0, "validation_fraction": 0.1}
CHUNKS = {"n_chunks": 5, "test_chunk": 4, "validation_chunk": 2, "guard_s": 1.0}
STRATEGIES = {
    "image": split_by("image", **SEEDED, zero_shot_fraction=0.2, test_fraction=0.25),
    "concept": split_by("concept", **SEEDED, zero_shot_fraction=0.35),
    "official": split_by("official", **SEEDED),
    "official and subject": split_by("official", **SEEDED, test_subject="sub-02"),
    "subject": split_by("subject", **SEEDED, test_subject="sub-02"),
    "time_chunk": split_by("time_chunk", **CHUNKS),
}


def check_outcome(artifacts: Artifacts) -> None:
    """Check that the planted responses are found, that noise is at chance, and that there is a report."""
    scores = read_scores(artifacts.evaluate_metrics)
    (name,) = (n for n in scores if re.fullmatch(r"(known_)?stimulus_recall_at_1_of_\d+", n))
    found = scores[name]
    assert found.value > max(found.chance, found.control)
    if int(name.rpartition("_")[2]) > 3:  # with fewer pictures, no permutation is rare
        assert found.p_value < 0.05
    audited = read_scores(artifacts.audit_metrics)
    noise = audited["noise_eeg"]
    assert noise.value < audited["encoder"].value
    assert noise.low <= noise.chance or noise.p_value > 0.05
    assert ("time_of_recording" in audited) == all(rows(artifacts, "recordings")["timed"])
    assert artifacts.report_page.stat().st_size > 100_000


def rows(artifacts: Artifacts, name: str) -> pd.DataFrame:
    return read_table(getattr(artifacts, name), Artifacts.all()[name].schema).to_pandas()


def blocked(params: Path, root: Path) -> list[str]:
    """Return what would stop a stage, as the doctor says it."""
    content = read_params(params)
    source = parse_params(json.dumps(content["ingest"]["source"]))
    return [text for mark, text in expect(content, source, Artifacts(root)) if mark == "!!"]


@pytest.mark.parametrize("layout", CHAINS)
def test_a_published_study_goes_from_its_files_to_the_report(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = write_workspace(tmp_path, layout)
    assert blocked(params, tmp_path) == []
    check_outcome(run(tmp_path, params))


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_split_goes_from_files_to_the_report(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = write_workspace(tmp_path, "bids", STRATEGIES[strategy])
    assert blocked(params, tmp_path) == []
    artifacts = run(tmp_path, params)
    check_outcome(artifacts)
    trials = rows(artifacts, "trials")
    held_out = trials[trials["split"].isin(HELD_OUT)]
    if "subject" in strategy:
        assert set(held_out["subject"]) == {"sub-02"}
        assert set(trials.loc[trials["split"] == TRAIN, "subject"]) == {"sub-01"}
    if strategy.startswith("official"):
        assert set(held_out["stimulus_id"].str[-5:]) == {"3.png"}  # as the table of stimuli says
    if strategy == "concept":
        assert main_split(held_out["split"]) == ZERO_SHOT


FEW = {
    "embed.image": {"name": "clip", "layers": [], "blur_px": [0.0]},
    "train.batch_size": 8,
    "train.channels": "all",
    "train.optimiser.learning_rate": 0.001,
    "train.schedule": {"name": "constant", "max_epochs": 60},
    "check_captions.retrain": False,
}
"""What makes a recipe small: the shipped CLIP's final vectors, few channels, trials and epochs."""
RECIPES = [n for n in preset_names(PRESETS) if n.startswith(("things_eeg2_", "eegcvpr_"))]


@pytest.mark.nightly
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_goes_from_files_to_the_report_and_a_benchmark(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted responses are found, and an encoder that was trained on noise scores like guessing."""
    monkeypatch.chdir(tmp_path)
    study = "eegcvpr" if recipe.startswith("eegcvpr") else "things_eeg2"
    layout = "eegcvpr" if study == "eegcvpr" else "things_eeg2_arrays"
    file = {"ingest.source.file": "eeg_5_95_std.pth"} if recipe.startswith("eegcvpr_") else {}
    params = write_workspace(tmp_path, layout, FEW | file, recipe)
    artifacts = run(tmp_path, params)
    assert artifacts.report_page.stat().st_size > 100_000
    ours = open_run("ours", tmp_path)
    learns_pictures = yaml.safe_load(params.read_text())["train"]["target"]["image"] > 0
    if learns_pictures:
        retrain(ours, "noise")
    page, table, _ = write_benchmark(study, [ours], report=tmp_path / "benchmark")
    found = pd.read_csv(table)
    if learns_pictures:
        among = found["gallery"].fillna("").str.endswith("test pictures")
        top_1 = found[among & (found["metric"] == "top-1") & (found["subject"] == "mean")]
        scores = top_1.set_index("row")["value"]
        (of_noise,) = (v for name, v in scores.items() if "retrained on noise" in str(name))
        assert scores["ours"] > max(of_noise, scores["chance"]), scores
    assert "chance" in page.read_text()


def test_a_lab_gets_from_its_epochs_to_trials_without_a_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = write_workspace(tmp_path, QUICK, STRATEGIES["image"])
    assert blocked(params, tmp_path) == []
    trials = rows(run(tmp_path, params, last="preprocess"), "trials")
    assert trials["kept"].all()
    assert set(trials["split"]) == {"train", "validation", "test", "zero_shot"}
    assert blocked(params, tmp_path) == []  # from the tables of ingest, too
