"""The stage `explain` on a study whose EEG is known to the last electrode."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks import explain as stage
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.saliency import SALIENCY
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import read_scores
from tasks.artifacts.tables import empty_table, read_table, write_table
from tasks.explanation import maps
from tasks.explanation.separation import SeparationParams
from tests.explanation.test_saliency import PARAMS as MAPS
from tests.listening_study import CHANNELS, PEAKS, make_listening_study, write_epoch_files
from tests.qualified import is_qualified

PARAMS = stage.ExplainParams(
    max_trials=300,
    seed=0,
    maps=MAPS,
    separation=SeparationParams(n_permutations=19, max_points=60, perplexity=10, seed=0),
)
INPUTS = ("trials", "epochs", "captions", "text_vectors", "encoder", "predictions", "topographies")
OUTPUTS = ("saliency", "explain_metrics", "explain_plots")


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
    write_table(study.topographies, folder / "topographies", TOPOGRAPHIES)
    write_epoch_files(study, folder / "epochs")
    return {name: folder / name for name in INPUTS}


def run(study, inputs, folder):
    outputs = dict(
        zip(
            OUTPUTS, (folder / "saliency.parquet", folder / "m.json", folder / "plots"), strict=True
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "load_encoder", lambda path: study.encoder)
        stage.explain(*inputs.values(), **outputs, params=PARAMS)
    return outputs


@pytest.fixture(scope="module")
def outputs(study, inputs, tmp_path_factory):
    return run(study, inputs, tmp_path_factory.mktemp("outputs"))


def test_saliency_has_a_row_per_subject_kind_and_channel(outputs):
    table = read_table(outputs["saliency"], SALIENCY).to_pandas()
    assert len(table) == 3 * 3 * len(CHANNELS)
    assert (table.groupby(["subject", "kind"])["weight"].max() == 1).all()
    strongest = table.loc[table.groupby(["subject", "tier"])["weight"].idxmax()]
    assert (strongest["channel"] == strongest["tier"].map(PEAKS)).mean() > 0.5


def test_scores_find_the_planted_topographies(outputs):
    scores = read_scores(outputs["explain_metrics"])
    for tier in PEAKS:
        assert scores[f"saliency_contrast_topography_correlation_{tier}"].value > 0.8
    assert {"head_cka_between_tiers", "silhouette_of_kinds"} <= set(scores)


def test_figures_and_tables_are_drawn(outputs):
    folder = outputs["explain_plots"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "concept_dissimilarity.csv",
        "dominance_of_heads.csv",
        "head_overlap.csv",
        "occlusion_by_region.csv",
        "saliency_by_region.csv",
        "saliency_by_region.png",
        "saliency_by_topography.csv",
        "saliency_over_time.csv",
        "saliency_over_time.png",
        "saliency_over_time_by_head.csv",
        "saliency_over_time_by_head.png",
        "scalp_maps_by_kind.png",
        "scalp_maps_by_tier.png",
        "scalp_maps_over_time.csv",
        "scalp_maps_over_time.png",
        "tsne_of_concepts.csv",
        "tsne_of_heads.csv",
        "tsne_of_heads.png",
    ]
    for path in folder.glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 300
        assert pixels.std() > 10
    regions = pd.read_csv(folder / "saliency_by_region.csv")
    assert regions.groupby("tier")["share"].sum().to_numpy() == pytest.approx(1, abs=1e-4)
    frontal = regions[regions["region"] == "frontal"].set_index("tier")["share"]
    assert frontal.idxmax() == "thematic"


def test_occlusion_agrees_with_saliency(outputs):
    drops = pd.read_csv(outputs["explain_plots"] / "occlusion_by_region.csv")
    cost = drops.groupby(["tier", "region"])["drop"].mean().unstack()  # noqa: PD010
    assert cost.loc["thematic"].idxmax() == "frontal"
    assert cost.loc["object"].idxmax() == "occipital"
    scores = read_scores(outputs["explain_metrics"])
    assert scores["saliency_agreement_with_occlusion_thematic"].value > 0


def test_evidence_over_time_and_winners_are_shares(outputs):
    course = pd.read_csv(outputs["explain_plots"] / "saliency_over_time.csv")
    assert course.groupby("series")["value"].max().to_numpy() == pytest.approx(1)
    winners = pd.read_csv(outputs["explain_plots"] / "dominance_of_heads.csv")
    assert winners.groupby("concept")["share"].sum().to_numpy() == pytest.approx(1, abs=1e-4)
    regions = pd.read_csv(outputs["explain_plots"] / "saliency_by_region.csv")
    assert (regions["low"] <= regions["share"] + 0.02).all()
    assert (regions["share"] <= regions["high"] + 0.02).all()


def test_every_score_says_how_sure_it_is(outputs):
    scores = read_scores(outputs["explain_metrics"])
    assert [name for name, score in scores.items() if not is_qualified(score)] == []
    assert scores["head_cka_between_tiers"].resampled == "halves of the stimuli"
    assert scores["saliency_agreement_of_subjects_object"].p_value < 0.05


def test_integrated_gradients_stand_beside_the_pattern_and_the_gradient(outputs):
    scores = read_scores(outputs["explain_metrics"])
    for tier in PEAKS:
        found = scores[f"saliency_contrast_topography_correlation_{tier}_integrated_gradients"]
        assert found.value > 0.3


def test_every_head_has_a_course_over_time(outputs):
    courses = pd.read_csv(outputs["explain_plots"] / "saliency_over_time_by_head.csv")
    assert courses["series"].nunique() == 3
    assert (courses["low"] <= courses["value"] + 1e-6).all()
    assert (courses["value"] <= courses["high"] + 1e-6).all()


def test_same_inputs_give_the_same_bytes(study, inputs, outputs, tmp_path):
    again = run(study, inputs, tmp_path)
    assert digests(again) == digests(outputs)


def test_nothing_is_said_of_an_unknown_truth(study, inputs, tmp_path):
    write_table(empty_table(TOPOGRAPHIES), tmp_path / "topographies", TOPOGRAPHIES)
    outputs = run(study, inputs | {"topographies": tmp_path / "topographies"}, tmp_path)
    scores = read_scores(outputs["explain_metrics"])
    assert not [name for name in scores if "topography" in name or "matched" in name]
    assert not (outputs["explain_plots"] / "saliency_by_topography.csv").exists()
    assert (
        pd.read_csv(outputs["explain_plots"] / "saliency_by_region.csv")["planted_share"]
        .isna()
        .all()
    )


def test_trials_mostly_of_one_stimulus_have_no_map_of_shuffled_eeg(
    study, inputs, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(maps, "has_derangement", lambda groups: False)
    outputs = run(study, inputs, tmp_path)
    scores = read_scores(outputs["explain_metrics"])
    assert not [name for name in scores if "shuffled_eeg" in name]
    assert [name for name in scores if "random_weights" in name]
    assert "Most explained trials show one stimulus" in caplog.text


def digests(outputs):
    files = [
        outputs["saliency"],
        outputs["explain_metrics"],
        *sorted(outputs["explain_plots"].iterdir()),
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_maps_over_time_hold_every_channel_in_every_window(outputs):
    maps = pd.read_csv(outputs["explain_plots"] / "scalp_maps_over_time.csv")
    assert set(maps["tier"]) == set(PEAKS)
    assert (maps.groupby(["tier", "window"]).size() == len(CHANNELS)).all()
    assert (maps["weight"] >= 0).all()
