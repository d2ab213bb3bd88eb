"""Explain which electrodes each head listens to, and whether the heads say different things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import NonNegativeInt, PositiveInt

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.saliency import SALIENCY
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.metrics import write_scores
from tasks.artifacts.tables import read_table, write_table
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import load_encoder
from tasks.explanation.dissimilarity import concept_dissimilarity
from tasks.explanation.heads import Heads
from tasks.explanation.maps import MapParams, explained_trials, make_maps, map_scores
from tasks.explanation.occlusion import (
    dominance,
    maps_over_time,
    occlude,
    occlusion_scores,
    over_time,
)
from tasks.explanation.plots import (
    draw_maps,
    draw_maps_over_time,
    draw_second_opinions,
    draw_separation,
    map_regions,
)
from tasks.explanation.saliency import ChannelWeights
from tasks.explanation.scalp import regions_of
from tasks.explanation.separation import SeparationParams, separate
from tasks.explanation.tier_maps import (
    planted_maps,
)
from tasks.language.prompts import TIER_OF
from tasks.runtime.params import Params
from tasks.scores.figures import write_csv
from tasks.scores.held_out import HeldOut
from tasks.statistics.draws import choose


class ExplainParams(Params):
    """Which trials are explained, and how.

    Attributes
    ----------
    max_trials : int
        Held-out trials, drawn at random if there are more.
    seed : int
        Of that draw.
    maps : MapParams
        Of the scalp maps.
    separation : SeparationParams
        Of the comparison of heads.
    """

    max_trials: PositiveInt
    seed: NonNegativeInt
    maps: MapParams
    separation: SeparationParams


def explain(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    encoder: Path,
    predictions: Path,
    topographies: Path,
    *,
    saliency: Path,
    explain_metrics: Path,
    explain_plots: Path,
    params: ExplainParams,
) -> None:
    """Map each head's saliency on the scalp, test the maps, and tell the heads apart.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, encoder, predictions, topographies : Path
        Read. `topographies` has no rows where the truth is unknown; scores that need it are absent then.
    saliency, explain_metrics, explain_plots : Path
        Written: channel weights, scores, and a folder of PNG and CSV files.
    params : ExplainParams
        Section `explain` of params.yaml.
    """
    held_out = _sample(
        HeldOut.join(
            read_table(trials, TRIALS),
            read_table(captions, CAPTIONS),
            read_table(text_vectors, TEXT_VECTORS),
            read_table(predictions, PREDICTIONS),
        ),
        params,
    )
    eeg, info = read_epochs(epochs, held_out.trials["trial_id"].tolist())
    planted = planted_maps(read_table(topographies, TOPOGRAPHIES).to_pandas(), info.channels)
    explained = explained_trials(held_out, eeg)
    model = load_encoder(encoder)
    model.require_channels(info.channels)
    heads = Heads.of(model, params.maps.batch_size)
    maps = make_maps(explained, heads, planted, params.maps)
    separation = separate(held_out, params.separation)

    write_table(_saliency_table(maps.weights, info.channels), saliency, SALIENCY)
    draw_maps(explain_plots, maps, info.channels, params.maps)
    draw_separation(explain_plots, separation)
    few = explained.sample(params.maps.max_gradient_trials, params.maps.seed)
    drops = occlude(few, heads, regions_of(info.channels, params.maps.montage))
    times_s = info.tmin_s + np.arange(eeg.shape[-1]) / info.sfreq_hz
    confidence = params.maps.confidence
    winners, dominant = dominance(held_out, params.maps.n_resamples, confidence, params.maps.seed)
    courses = over_time(explained, times_s, confidence)
    draw_second_opinions(explain_plots, drops, courses, winners)
    moving = maps_over_time(explained, times_s)
    draw_maps_over_time(explain_plots, moving, info.channels, params.maps.montage)
    unlike = concept_dissimilarity(held_out)
    if unlike is not None:
        write_csv(unlike, explain_plots / "concept_dissimilarity.csv")
    scores = map_scores(maps, info.channels, params.maps) | separation.scores | dominant
    scores |= occlusion_scores(drops, map_regions(maps, info.channels, params.maps), confidence)
    write_scores(explain_metrics, scores)


def _sample(held_out: HeldOut, params: ExplainParams) -> HeldOut:
    rows = pd.Series(False, held_out.trials.index)
    rows.iloc[choose(len(rows), params.max_trials, params.seed)] = True
    return held_out.of(rows)


def _saliency_table(weights: ChannelWeights, channels: Sequence[str]) -> pa.Table:
    rows = [
        (subject, kind, channel, TIER_OF[kind].value, float(weight))
        for (subject, kind), values in weights.items()
        for channel, weight in zip(channels, values, strict=True)
    ]
    columns = zip(*rows, strict=True)
    return pa.table(
        dict(zip(("subject", "kind", "channel", "tier", "weight"), map(list, columns), strict=True))
    )
