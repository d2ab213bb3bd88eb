"""Which trials are rendered, and whose captions each condition takes.

``decoded`` is what the EEG gives. The others say what it is worth: ``true_captions`` is the ceiling,
``class_name`` what a perfect classifier would give, ``predicted_class`` what this encoder gives as a
classifier, ``shuffled_eeg`` and ``noise_eeg`` what encoder, gallery and generator give without the trial's
own EEG, ``random_caption`` what the generator gives without any of them, and ``mean_embedding`` what it
gives for the mean of all it may be told, the same for every trial.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from tasks.artifacts.splits import HELD_OUT
from tasks.clip.galleries import GALLERY_SPLITS
from tasks.language.prompts import TIER_OF, Tier
from tasks.runtime.errors import PerceptError
from tasks.statistics.draws import derangement, seed_of

Condition = Literal[
    "decoded",
    "true_captions",
    "shuffled_eeg",
    "noise_eeg",
    "class_name",
    "predicted_class",
    "random_caption",
    "mean_embedding",
]
HELD_OUT_SPLITS = HELD_OUT
GALLERY = "train"
"""Decoded captions are those of training pictures: none was written about the picture shown."""
CLASS_NAME = "class_name"
"""The kind of the caption that is the name of the concept alone."""
N_AVERAGED = 64
"""Training pictures, drawn at random, whose captions make the mean embedding."""


class Caption(NamedTuple):
    """A text, and how near it is to what the EEG predicts: 1 where it was not retrieved."""

    text: str
    cosine: float


class Heard(NamedTuple):
    """What an encoder makes of what it hears.

    Attributes
    ----------
    predictions : pyarrow.Table
        Rows as of `predictions`.
    retrievals : pandas.DataFrame
        Rows as of `retrievals`.
    """

    predictions: pa.Table
    retrievals: pd.DataFrame


HearNoise = Callable[[pd.DataFrame, int], Heard]
"""Trials and a number of captions to what is heard with noise in the place of their EEG."""
Captions = Mapping[str, Sequence[Caption]]
"""Caption kind to captions, nearest first."""


def select_trials(trials: pd.DataFrame, max_trials: int, seed: int) -> pd.DataFrame:
    """Choose one kept trial per held-out stimulus, the concepts taking turns.

    Parameters
    ----------
    trials : pandas.DataFrame
        Rows of the contract of `trials`.
    seed : int
        Decides which trial of a stimulus and which stimulus of a concept; the order of the rows does
        not matter.

    Returns
    -------
    pandas.DataFrame
        The chosen rows, by trial_id.

    Raises
    ------
    PerceptError
        If no held-out trial was kept.
    """
    held_out = trials[trials["kept"] & trials["split"].isin(HELD_OUT_SPLITS)]
    if held_out.empty:
        raise PerceptError(
            f"Rendering needs kept trials of the splits {', '.join(HELD_OUT_SPLITS)}; found none. "
            "Hold out stimuli in `preprocess`."
        )
    lot = held_out.assign(lot=[seed_of(seed, trial_id) for trial_id in held_out["trial_id"]])
    lot = lot.sort_values("lot").drop_duplicates("stimulus_id")
    lot = lot.assign(turn=lot.groupby("concept").cumcount()).sort_values(["turn", "lot"])
    return lot.head(max_trials).drop(columns=["lot", "turn"]).sort_values("trial_id")


@dataclass(frozen=True)
class Sources:
    """Where the captions of each condition come from.

    Attributes
    ----------
    trials, captions, retrievals : pandas.DataFrame
        Rows of the contracts of these names.
    chosen : pandas.DataFrame
        Trials to render.
    hear_noise : callable
        Used by ``noise_eeg`` alone.
    seed : int
        Of the shuffling and the random captions.
    """

    trials: pd.DataFrame
    captions: pd.DataFrame
    retrievals: pd.DataFrame
    chosen: pd.DataFrame
    hear_noise: HearNoise
    seed: int

    def captions_of(self, condition: Condition) -> list[Captions]:
        """Return the captions of each chosen trial in a condition, in the order of the trials."""
        stimulus_ids = self.chosen["stimulus_id"].tolist()
        match condition:
            case "decoded":
                return self._decoded
            case "true_captions":
                return self._written(stimulus_ids)
            case "shuffled_eeg":
                return [self._decoded[source] for source in self.shuffled]
            case "noise_eeg":
                return self._nearest(self.from_noise.retrievals)
            case "class_name":
                return [_named(name) for name in self.chosen["concept"]]
            case "predicted_class":
                return self._predicted()
            case "random_caption":
                return self._written(self.random_stimuli)
            case "mean_embedding":
                return self._averaged()

    @cached_property
    def shuffled(self) -> Int[np.ndarray, " n"]:
        """Index of the trial whose EEG each chosen trial has in ``shuffled_eeg``."""
        return derangement(self.chosen["stimulus_id"].tolist(), self.seed)

    @cached_property
    def from_noise(self) -> Heard:
        """What the encoder makes of noise in the place of the EEG of the chosen trials."""
        return self.hear_noise(self.chosen, int(self.retrievals["rank"].max()))

    @cached_property
    def random_stimuli(self) -> list[str]:
        """The training stimulus of each chosen trial in ``random_caption``: its captions belong together."""
        known = self._known_stimuli()
        drawn = []
        for trial_id, shown in self.chosen[["trial_id", "stimulus_id"]].itertuples(index=False):
            others = known[known != shown]
            seed = seed_of(self.seed, "random_caption", trial_id)
            drawn.append(str(others[seed % len(others)]))
        return drawn

    @cached_property
    def averaged_stimuli(self) -> list[str]:
        """The training stimuli of ``mean_embedding``, the same for every trial: those with all captions."""
        rng = np.random.default_rng(seed_of(self.seed, "mean_embedding"))
        drawn = [str(name) for name in rng.permutation(self._known_stimuli())[:N_AVERAGED]]
        written = self._written(drawn)
        n_kinds = max(map(len, written))
        return [name for name, own in zip(drawn, written, strict=True) if len(own) == n_kinds]

    @cached_property
    def _decoded(self) -> list[Captions]:
        return self._nearest(self.retrievals)

    def _nearest(self, retrievals: pd.DataFrame) -> list[Captions]:
        """Return what was retrieved for each chosen trial."""
        found = retrievals[retrievals["gallery"] == GALLERY].sort_values("rank")
        found = found.merge(self.captions[["caption_id", "text"]], on="caption_id")
        by_trial = _grouped(found, "trial_id")
        return [by_trial.get(trial_id, {}) for trial_id in self.chosen["trial_id"]]

    def _written(self, stimulus_ids: Sequence[str]) -> list[Captions]:
        """Return the captions that were written about some stimuli."""
        by_stimulus = _grouped(self.captions.assign(cosine=1.0), "stimulus_id")
        return [by_stimulus.get(stimulus_id, {}) for stimulus_id in stimulus_ids]

    def _predicted(self) -> list[Captions]:
        """Name the concept that most object captions of each trial were written about, else the nearest."""
        found = self.retrievals[self.retrievals["gallery"] == GALLERY]
        found = found[found["kind"].map(TIER_OF) == Tier.OBJECT]
        found = found.merge(self.captions[["caption_id", "stimulus_id"]], on="caption_id")
        concepts = self.trials.drop_duplicates("stimulus_id")[["stimulus_id", "concept"]]
        votes = (
            found.merge(concepts, on="stimulus_id")
            .groupby(["trial_id", "concept"])["rank"]
            .agg(["count", "min"])
            .reset_index()
            .sort_values(["count", "min", "concept"], ascending=[False, True, True])
            .drop_duplicates("trial_id")
        )
        winner = dict(zip(votes["trial_id"], votes["concept"], strict=True))
        return [
            _named(winner[trial_id]) if trial_id in winner else {}
            for trial_id in self.chosen["trial_id"]
        ]

    def _averaged(self) -> list[Captions]:
        """Return the captions of the same training stimuli for every trial."""
        written = self._written(self.averaged_stimuli)
        kinds = {kind: [own[kind][0] for own in written] for kind in written[0]}
        return [kinds] * len(self.chosen)

    def _known_stimuli(self) -> np.ndarray:
        inside = self.trials["split"].isin(GALLERY_SPLITS[GALLERY])
        known = np.unique(self.trials.loc[inside, "stimulus_id"])
        if not len(known):
            raise PerceptError(
                "Random captions need stimuli of the split train; found none. "
                "Mend the params of preprocess."
            )
        return known


def _named(concept: str) -> Captions:
    return {CLASS_NAME: [Caption(readable(concept), 1.0)]}


def readable(concept: str) -> str:
    """Return the name of a concept in words: data sets join them by underscores and number homonyms."""
    return re.sub(r"(?<=[a-z])\d+$", "", concept.replace("_", " ")).strip()


def _grouped(captions: pd.DataFrame, key: str) -> dict[str, dict[str, list[Caption]]]:
    """Return the captions by trial or stimulus and kind, in the order of the rows."""
    found: dict[str, dict[str, list[Caption]]] = {}
    columns = (captions[name] for name in (key, "kind", "text", "cosine"))
    for name, kind, text, cosine in zip(*columns, strict=True):
        found.setdefault(name, {}).setdefault(kind, []).append(Caption(text, cosine))
    return found
