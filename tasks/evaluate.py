"""Score the decoded words and the rendered pictures, each beside chance, ceiling and shuffled EEG."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.judgements import JUDGEMENTS
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import write_scores
from tasks.artifacts.splits import HELD_OUT, TRAIN
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.model import load_clip
from tasks.runtime.files import write_text
from tasks.runtime.params import Shared
from tasks.scores.concept import concept_confusion, decoding_scores, recall_curves
from tasks.scores.confidence import confidence_scores, validation_trials
from tasks.scores.failures import answers_of_another_kind, failure_examples, strayed_heads
from tasks.scores.feature import feature_scores, spaces_table
from tasks.scores.feature_spaces import FeatureWeights
from tasks.scores.fusion import learned_fusion_scores
from tasks.scores.held_out import KNOWN, HeldOut, one_split_per_stimulus, vectors_of
from tasks.scores.image_retrieval import image_scores
from tasks.scores.judged import (
    CONCEPT,
    Pictures,
    encode,
    judge_all,
    judgement_table,
    require_same_space,
    true_factors,
)
from tasks.scores.params import ScoreParams
from tasks.scores.picture import picture_scores
from tasks.scores.ranking import Vectors
from tasks.scores.render import hub_scores, nearest_captions, render_scores, true_captions
from tasks.simulation.judge import Judge
from tasks.statistics.corrections import holm_over_heads


class EvaluateParams(ScoreParams):
    """Which networks look at the pictures, and how scores are made."""

    model: Annotated[str, Shared("embed.model")]
    n_halves: PositiveInt
    largest_k: PositiveInt
    feature_weights: FeatureWeights


def evaluate(
    stimuli: Path,
    trials: Path,
    captions: Path,
    text_vectors: Path,
    image_vectors: Path,
    predictions: Path,
    image_predictions: Path,
    image_gallery: Path,
    retrievals: Path,
    renders: Path,
    render_images: Path,  # noqa: ARG001  (`renders` names the pictures in it)
    oracle: Path,
    clip_model: Path,
    judge_model: Path,
    raw: Path,  # noqa: ARG001  (`stimuli` names the pictures in it)
    *,
    judgements: Path,
    evaluate_metrics: Path,
    evaluate_plots: Path,
    params: EvaluateParams,
) -> None:
    """Score words and pictures.

    Parameters
    ----------
    stimuli, trials, captions, text_vectors, image_vectors : Path
        Tables of the stages before.
    predictions, image_predictions, image_gallery, retrievals, renders : Path
        Tables of the stages before.
    render_images : Path
        Folder of the rendered pictures.
    oracle : Path
        What the best possible decoder answers; no rows where the truth is unknown.
    clip_model, judge_model : Path
        Folders of the shipped models.
    raw : Path
        Folder of the shown pictures.
    judgements : Path
        Table to write: what the judge sees in each render.
    evaluate_metrics : Path
        Scores to write.
    evaluate_plots : Path
        Folder to write recall curves, confusions of concepts, examples of failures and what became of
        each feature space to, as CSV.
    params : EvaluateParams
        Which CLIP looks at the pictures, and how scores are made.
    """
    tables = (
        read_table(trials, TRIALS),
        read_table(captions, CAPTIONS),
        read_table(text_vectors, TEXT_VECTORS),
        read_table(predictions, PREDICTIONS),
    )
    held_out = HeldOut.join(*tables)
    retrieved = read_table(retrievals, RETRIEVALS).to_pandas()
    scores = decoding_scores(held_out, retrieved, read_table(oracle, ORACLE).to_pandas(), params)
    seen = read_table(image_predictions, IMAGE_PREDICTIONS)
    scores |= image_scores(held_out, seen, read_table(image_gallery, IMAGE_GALLERY), params)

    real, vectors = read_stimuli(stimuli, trials, image_vectors)
    source = f"local-dir:{clip_model}" if params.model == "shipped" else params.model
    encoder = load_clip(source).encode_images
    require_same_space(vectors[0], encode([real["image_path"][0]], encoder)[0])
    judge = Judge.load(judge_model)
    drawn = read_table(renders, RENDERS).to_pandas().merge(held_out.trials, on="trial_id")
    drawn = drawn[~drawn["flagged"]].reset_index(drop=True)  # withheld pictures are black
    paths = drawn["image_path"].tolist()
    rendered = Pictures(drawn, encode(paths, encoder), judge_all(paths, judge))
    unseen, training = real["split"].isin(HELD_OUT), real["trained"]
    rows = real[unseen].reset_index(drop=True)
    shown = Pictures(rows, vectors[unseen], judge_all(rows["image_path"].tolist(), judge))
    truth = true_factors(rows, judge.vocabulary)
    scores |= picture_scores(rendered, shown, vectors[training], truth, params, params.n_halves)
    scores |= render_scores(rendered, shown, held_out, truth, params)
    spaces = params.feature_weights
    scores |= feature_scores(
        rendered,
        shown,
        real.loc[training, "image_path"].tolist(),
        spaces,
        params,
        params.n_halves,
    )
    scores |= hub_scores(held_out, retrieved, params)
    strayed = strayed_heads(held_out, params.seed)
    scores |= answers_of_another_kind(strayed, params)
    validation = validation_trials(*tables)
    scores |= learned_fusion_scores(held_out, validation, params)
    calibrated, confidence = confidence_scores(held_out, validation, params)
    scores |= calibrated
    scores = holm_over_heads(scores, list(held_out.predicted))

    write_table(judgement_table(rendered, truth), judgements, JUDGEMENTS)
    for name, plot in plots(held_out, params.largest_k).items():
        write_text(evaluate_plots / f"{name}.csv", plot.to_csv(index=False, float_format="%.6g"))
    write_text(evaluate_plots / "feature_spaces.csv", spaces_table(spaces).to_csv(index=False))
    confidence_csv = confidence.to_csv(index=False, float_format="%.6g")
    write_text(evaluate_plots / "confidence.csv", confidence_csv)
    nearest = nearest_captions(held_out, retrieved)
    decoded = rendered.where(condition="decoded", sample=0)
    true = true_captions(held_out)
    examples = failure_examples(decoded, truth.get(CONCEPT, {}), nearest, true, strayed)
    write_text(evaluate_plots / "failures.csv", examples.to_csv(index=False))
    prefix = KNOWN if (unseen & training).any() else ""
    write_scores(evaluate_metrics, {prefix + name: score for name, score in scores.items()})


def read_stimuli(stimuli: Path, trials: Path, image_vectors: Path) -> tuple[pd.DataFrame, Vectors]:
    """Return the stimuli that have trials, with their split, and their vectors in the same order.

    A stimulus that is held out counts as that, also where it is ``trained`` on.
    """
    shown = read_table(trials, TRIALS, ["stimulus_id", "concept", "split"]).to_pandas()
    splits = one_split_per_stimulus(shown, HELD_OUT).drop(columns="concept")
    trained = shown.loc[shown["split"] == TRAIN, "stimulus_id"]
    splits["trained"] = splits["stimulus_id"].isin(trained)
    rows = read_table(stimuli, STIMULI).to_pandas().merge(splits, on="stimulus_id")
    rows = rows.sort_values("stimulus_id", ignore_index=True)
    vectors = vectors_of(
        read_table(image_vectors, IMAGE_VECTORS),
        "stimulus_id",
        rows["stimulus_id"].tolist(),
        "Run `dvc repro embed`.",
    )
    return rows, vectors


def plots(held_out: HeldOut, largest_k: int) -> dict[str, pd.DataFrame]:
    """Return the data of each plot: recall by k, and the concepts taken for one another."""
    confusion = concept_confusion(held_out.main())
    return {"recall": recall_curves(held_out, largest_k), "confusion": confusion}
