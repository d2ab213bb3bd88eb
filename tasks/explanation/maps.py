"""From held-out trials to scalp maps and their scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from tasks.artifacts.metrics import Score
from tasks.explanation.heads import Epochs, Heads
from tasks.explanation.saliency import (
    ChannelWeights,
    Explained,
    Method,
    channel_weights,
)
from tasks.explanation.scalp import Map, Rotations, directions_of
from tasks.explanation.tier_maps import TierMaps, tier_maps
from tasks.explanation.tier_scores import (
    agreement_scores,
    agreement_with_controls,
    control_scores,
    matching_score,
    topography_scores,
)
from tasks.language.prompts import TIER_OF
from tasks.runtime.params import Params
from tasks.scores.held_out import HeldOut
from tasks.statistics.draws import derangement, has_derangement

logger = logging.getLogger(__name__)

MADE_BY = {
    "shuffled_eeg": "maps made with shuffled EEG",
    "random_weights": "maps of networks with shuffled weights",
}
"""Sanity check to what makes its maps."""


class MapParams(Params):
    """How scalp maps are made and tested.

    Attributes
    ----------
    attribution : {"gradient", "gradient_x_input", "integrated_gradients", "pattern"}
        See `tasks.explanation.saliency`.
    max_gradient_trials : int
        Trials explained by gradients.
    integration_steps : int
        Of integrated gradients.
    batch_size : int
        Trials at once.
    montage : str
        Standard montage of MNE that holds the channels.
    n_rotations : int
        Of the cap, for p-values of maps.
    n_controls : int
        Networks with shuffled weights, and shuffles of the EEG.
    n_resamples, confidence : int, float
        Of the bootstrap over subjects.
    seed : int
        Of everything random.
    """

    attribution: Method
    max_gradient_trials: PositiveInt
    integration_steps: PositiveInt
    batch_size: PositiveInt
    montage: str
    n_rotations: PositiveInt
    n_controls: PositiveInt
    n_resamples: PositiveInt
    confidence: float = Field(gt=0, lt=1)
    seed: NonNegativeInt


@dataclass(frozen=True)
class Maps:
    """What was found, beside the truth and the controls.

    Attributes
    ----------
    weights : Mapping[tuple[str, str], Float[np.ndarray, "n_channels"]]
        Subject and caption kind to channel weights.
    found, gradient, integrated : Mapping[str, Float[np.ndarray, "n_subjects n_channels"]]
        Maps of tiers: by the chosen attribution, by the plain gradient and by integrated gradients.
    shuffled, randomised : Sequence
        Maps of tiers for each shuffle of the EEG and for each network with shuffled weights.
    planted : Mapping[str, Float[np.ndarray, "n_channels"]]
        The truth; empty where unknown.
    """

    weights: ChannelWeights
    found: TierMaps
    gradient: TierMaps
    integrated: TierMaps
    shuffled: Sequence[TierMaps]
    randomised: Sequence[TierMaps]
    planted: Mapping[str, Map]


def explained_trials(held_out: HeldOut, eeg: Epochs) -> Explained:
    """Put the EEG, the predictions and the captions of trials side by side.

    Kinds are in the order of `TIER_OF`.

    Parameters
    ----------
    eeg : Float32[np.ndarray, "n_trials n_channels n_times"]
        In the order of `held_out.trials`.
    """
    stimuli = held_out.stimuli()
    vectors = held_out.gallery(stimuli).vectors
    rows = np.searchsorted(stimuli, held_out.trials["stimulus_id"].to_numpy(str))
    return Explained(
        eeg,
        held_out.trials["subject"].tolist(),
        held_out.trials["stimulus_id"].tolist(),
        {kind: held_out.predicted[kind] for kind in TIER_OF if kind in vectors},
        {kind: (own - own.mean(axis=0))[rows] for kind, own in vectors.items()},
    )


def make_maps(
    explained: Explained, heads: Heads, planted: Mapping[str, Map], params: MapParams
) -> Maps:
    """Attribute the heads' scores to channels, for the trained network and for the controls.

    Parameters
    ----------
    planted : Mapping[str, Float[np.ndarray, "n_channels"]]
        Tier to the truth; empty where unknown.
    """
    few = explained.sample(params.max_gradient_trials, params.seed)
    trials = explained if params.attribution == "pattern" else few
    seeds = range(params.seed, params.seed + params.n_controls)
    shuffles = []
    if has_derangement(trials.stimuli):
        shuffles = [trials.shuffled(derangement(trials.stimuli, seed)) for seed in seeds]
    else:
        logger.warning(
            "Most explained trials show one stimulus, so no map is made of shuffled EEG."
        )
    networks = [heads.randomised(seed) for seed in seeds]

    def of_tiers(
        seen: Explained, network: Heads, method: Method = params.attribution
    ) -> dict[str, np.ndarray]:
        steps = params.integration_steps
        return tier_maps(channel_weights(seen, network, method, steps), TIER_OF)

    weights = channel_weights(trials, heads, params.attribution, params.integration_steps)
    return Maps(
        weights,
        tier_maps(weights, TIER_OF),
        of_tiers(few, heads, "gradient"),
        of_tiers(few, heads, "integrated_gradients"),
        [of_tiers(shuffle, heads) for shuffle in shuffles],
        [of_tiers(trials.seen_by(network), network) for network in networks],
        planted,
    )


def map_scores(maps: Maps, channels: Sequence[str], params: MapParams) -> dict[str, Score]:
    """Score all maps against the truth, against each other and against their controls.

    Parameters
    ----------
    maps : Maps
        From `make_maps`.
    """
    rotations = Rotations.draw(
        directions_of(channels, params.montage), params.n_rotations, params.seed
    )
    scores = agreement_scores(maps.found, rotations)
    runs = {"random_weights": maps.randomised, "shuffled_eeg": maps.shuffled}
    for name, made in runs.items():
        if made:
            scores |= agreement_with_controls(maps.found, made, name, MADE_BY[name])
    if not maps.planted:
        return scores
    shuffled = control_scores(maps.shuffled, maps.planted, "shuffled_eeg", MADE_BY["shuffled_eeg"])
    scores |= shuffled | control_scores(
        maps.randomised, maps.planted, "random_weights", MADE_BY["random_weights"]
    )
    score = partial(
        topography_scores,
        planted=maps.planted,
        rotations=rotations,
        confidence=params.confidence,
    )
    scores |= score(maps.found, suffix="", controls=shuffled)
    scores |= score(maps.gradient, suffix="_gradient")
    scores |= score(maps.integrated, suffix="_integrated_gradients")
    return scores | {"saliency_matched_tiers": matching_score(maps.found, maps.planted)[1]}
