"""Renders scored as published tables score them, row by row: ours, its controls, another test picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.special import softmax
from torch_fidelity.metric_isc import isc_features_to_metric

from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.tables import read_table
from tasks.benchmark.runs import Run
from tasks.scores.distances import (
    MIN_PICTURES,
    Halves,
    frechet_distance,
    kernel_distance,
    score_over_splits,
)
from tasks.scores.feature_spaces import NEEDED, Features, FeatureWeights, open_spaces
from tasks.scores.published import (
    n_way,
    pixel_correlations,
    standardised,
    structural_similarities,
    two_way,
)
from tasks.statistics.draws import derangement, has_derangement
from tasks.wiring.contract import read_params

ANOTHER = "another test picture"
DECODED = "decoded"
IS_SPLITS = 10
HALVES = Halves(n_halves=50, confidence=0.95, seed=0)
"""KID is the mean over these subsets."""


@dataclass(frozen=True)
class Column:
    """A column of a published table.

    Attributes
    ----------
    name : str
        As published.
    lower_is_better : bool
        Of distances.
    space : str or None
        Param of `evaluate.feature_weights` whose network it takes; None: it takes none.
    layer : str
        Features of that network.
    chance : float or None
        What guessing scores; None: what another test picture scores.
    study : str
        Whose table it stands in.
    """

    name: str
    lower_is_better: bool = False
    space: str | None = None
    layer: str = ""
    chance: float | None = None
    study: str = "things_eeg2"


COLUMNS = (
    Column("PixCorr"),
    Column("SSIM"),
    Column("AlexNet(2)", space="alexnet", layer="alexnet_2", chance=0.5),
    Column("AlexNet(5)", space="alexnet", layer="alexnet_5", chance=0.5),
    Column("Inception", space="inception_v3", layer="inception_v3", chance=0.5),
    Column("CLIP", space="clip_vit_l_14", layer="clip_vit_l_14", chance=0.5),
    Column("EffNet-B", lower_is_better=True, space="efficientnet", layer="efficientnet"),
    Column("SwAV", lower_is_better=True, space="swav", layer="swav"),
    Column("IS", study="eegcvpr"),
    Column("IS (torch-fidelity, 10 splits)", space="inception", layer="logits", study="eegcvpr"),
    Column("IS (CATVis, one split)", space="inception_v3", layer="logits", study="eegcvpr"),
    Column("FID", lower_is_better=True, space="inception", layer="inception", study="eegcvpr"),
    Column("ACC", space="vit_h_14", layer="classes", chance=1 / 50, study="eegcvpr"),
    Column("KID", lower_is_better=True, space="inception", layer="inception", study="eegcvpr"),
)
"""`IS` is whatever the authors of a published row mean by it: ours stands in the two named ones."""

See = Callable[[tuple[str, ...]], Features]


def columns_of(study: str) -> list[Column]:
    """Return the columns of a study's table, in order."""
    return [column for column in COLUMNS if column.study == study]


def picture_scores(run: Run, study: str) -> tuple[pd.DataFrame, list[str]]:
    """Score the renders of a run, and each shown picture beside another one.

    Two-way identification is among all rendered stimuli of the run. Scores of pairs are means over the
    renders of a subject, scores of sets are of all renders of a condition.

    Returns
    -------
    pandas.DataFrame
        Columns row, protocol, subject, metric, value, n.
    list[str]
        One sentence for each column that is missing.
    """
    if not run.artifacts.renders.exists():
        return pd.DataFrame(), [
            f"{run.name}: no pictures, because {run.artifacts.renders} does not exist. "
            f"`dvc repro render` in {run.root.resolve()} makes it."
        ]
    table = read_table(run.artifacts.renders, RENDERS).to_pandas()
    renders = table[~table["flagged"]].merge(run.trials, on="trial_id")
    if renders.empty:
        return pd.DataFrame(), [
            f"{run.name}: no pictures, because {run.artifacts.renders} holds none of the held-out trials that "
            "the safety checker let pass."
        ]
    renders["image_path"] = [str(run.root / path) for path in renders["image_path"]]
    shown = run.gallery[run.gallery["stimulus_id"].isin(renders["stimulus_id"])]
    shown = shown.reset_index(drop=True)
    spaces, notes = _spaces(run, study)
    parts = [
        _of_row(run, rows, shown, spaces, study).assign(row=_row(run.name, str(condition)))
        for condition, rows in renders.groupby("condition", sort=False)
    ]
    ids = shown["stimulus_id"].tolist()
    if len(ids) > 1 and has_derangement(ids):
        other = shown["image_path"].to_numpy()[derangement(ids, seed=0)]
        pairs = renders[["subject", "stimulus_id"]].drop_duplicates()
        of = dict(zip(ids, other, strict=True))
        pairs["image_path"] = [of[stimulus] for stimulus in pairs["stimulus_id"]]
        parts.append(_of_row(run, pairs, shown, spaces, study).assign(row=ANOTHER))
        same_set = parts[-1]["metric"].isin(["FID", "KID"])
        parts[-1] = parts[-1][~same_set]
        notes += [f"{ANOTHER}: no FID and no KID, because it is the same set of pictures."] * (
            study == "eegcvpr" and "inception" in spaces
        )
    found = pd.concat(parts, ignore_index=True)
    scored = set(found["metric"])
    few = [c.name for c in columns_of(study) if c.space in spaces and c.name not in scored]
    if few:
        notes.append(
            f"{run.name}: no {', '.join(few)}, because it takes more than {len(renders)} pictures."
        )
    return found, notes


def _row(name: str, condition: str) -> str:
    return name if condition == DECODED else f"{name}, {condition.replace('_', ' ')}"


def _spaces(run: Run, study: str) -> tuple[dict[str, See], list[str]]:
    """Open the networks that a table needs and whose weights are named; say which are not."""
    params = read_params(run.root / "params.yaml")
    named = params.get("evaluate", {}).get(
        "feature_weights", {}
    )  # a run may be older than a network
    wanted = {column.space for column in columns_of(study) if column.space}
    files = {name: run.root / path for name, path in named.items() if path and name in wanted}
    weights = FeatureWeights.model_validate(dict.fromkeys(FeatureWeights.model_fields) | files)
    notes = []
    for name in sorted(wanted):
        if getattr(weights, name) is None:
            missing = ", ".join(c.name for c in columns_of(study) if c.space == name)
            notes.append(
                f"{run.name}: no {missing}, because `evaluate.feature_weights.{name}` names no file of "
                f"weights of {NEEDED[name][0]}."
            )
    opened = open_spaces(weights)
    return {name: cache(_seen(space.see)) for name, space in opened.items()}, notes


def _seen(see: Callable[[Sequence[str]], Features]) -> See:
    return lambda files: see(files)


def _of_row(
    run: Run, drawn: pd.DataFrame, shown: pd.DataFrame, spaces: Mapping[str, See], study: str
) -> pd.DataFrame:
    """Score pictures (columns subject, stimulus_id, image_path) against the stimuli."""
    place = {stimulus: index for index, stimulus in enumerate(shown["stimulus_id"])}
    own = drawn["stimulus_id"].map(place).to_numpy(np.int64)
    files, real = tuple(drawn["image_path"]), tuple(shown["image_path"])
    subjects = drawn["subject"].to_numpy()
    protocols = {subject: run.protocol(subject) for subject in subjects}
    found = []
    for column in columns_of(study):
        if column.name == "IS" or (column.space and column.space not in spaces):
            continue
        see = spaces.get(column.space or "")
        pairs = _of_pairs(column, files, real, own, see)
        if pairs is not None:
            means = pd.Series(pairs).groupby(subjects).agg(value="mean", n="size")
            rows = means.rename_axis("subject").reset_index()
            found.append(
                rows.assign(
                    metric=column.name, protocol=[protocols[subject] for subject in rows["subject"]]
                )
            )
            continue
        assert see is not None
        value = _of_sets(column, see(files), see(real))
        if value is not None:
            whole = {"subject": "all", "value": value, "n": len(files), "metric": column.name}
            protocol = "/".join(sorted(set(protocols.values())))
            found.append(pd.DataFrame([whole | {"protocol": protocol}]))
    return (
        pd.concat(found, ignore_index=True)
        if found
        else pd.DataFrame(columns=["subject", "value", "n", "metric", "protocol"])
    )


def _of_pairs(
    column: Column,
    files: tuple[str, ...],
    real: tuple[str, ...],
    own: Int[np.ndarray, " n"],
    see: See | None,
) -> Float[np.ndarray, " n"] | None:
    """Return a score of each render; None where the column is about sets."""
    rows = np.arange(len(own))
    if column.name == "PixCorr":
        return np.asarray(pixel_correlations(files, real)[rows, own])
    if column.name == "SSIM":
        return structural_similarities(files, [real[index] for index in own])
    assert see is not None
    if column.layer == "classes":
        return np.asarray(n_way(see(files)["classes"], see(real)["classes"], n=50, k=1)[rows, own])
    if column.study == "eegcvpr":
        return None
    correlations = standardised(see(files)[column.layer]) @ standardised(see(real)[column.layer]).T
    if column.lower_is_better:
        return np.asarray(1 - correlations[rows, own])
    return two_way(correlations, own) if len(real) > 1 else np.full(len(own), np.nan)


def _of_sets(column: Column, drawn: Features, shown: Features) -> float | None:
    """Return a score of a set of renders; None where there are too few of them."""
    features, real = drawn[column.layer], shown[column.layer]
    if column.name.startswith("IS (torch"):
        if len(features) < IS_SPLITS:
            return None
        found = isc_features_to_metric(
            torch.from_numpy(features), splits=IS_SPLITS, shuffle=True, rng_seed=2020
        )
        return float(found["inception_score_mean"])
    if min(len(features), len(real)) < MIN_PICTURES:
        return None
    if column.name.startswith("IS"):
        return score_over_splits(softmax(features, axis=1), 1)[0]
    if column.name == "FID":
        return frechet_distance(real, features, HALVES).value
    return kernel_distance(real, features, HALVES, gamma=None).value
