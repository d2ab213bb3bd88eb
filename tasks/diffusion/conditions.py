"""Which trials are rendered, and from whose captions in each condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from tasks._errors import PerceptError
from tasks.analysis.statistics import derangement, seed_of
from tasks.clip.galleries import GALLERY_SPLITS
from tasks.diffusion.composition import compose

Condition = Literal["decoded", "true_captions", "shuffled_eeg"]
HELD_OUT_SPLITS = GALLERY_SPLITS["test"]
GALLERY = "train"
"""Decoded captions are those of training pictures: none was written about the picture shown."""


def select_trials(trials: pd.DataFrame, max_trials: int, seed: int) -> pd.DataFrame:
    """Choose one kept trial per held-out stimulus, the concepts taking turns.

    Parameters
    ----------
    trials : pandas.DataFrame
        Rows of the contract of `trials`.
    max_trials : int
        At most this many.
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


def prompts_of(
    chosen: pd.DataFrame,
    captions: pd.DataFrame,
    retrievals: pd.DataFrame,
    kinds: Sequence[str],
    seed: int,
) -> dict[Condition, list[str]]:
    """Compose the prompt of each trial in each condition.

    Parameters
    ----------
    chosen : pandas.DataFrame
        Trials to render.
    captions, retrievals : pandas.DataFrame
        Rows of the contracts of these names.
    kinds : Sequence[str]
        Caption kinds that make up a prompt.
    seed : int
        Of the derangement that gives each trial the decoded captions of another one.

    Returns
    -------
    dict
        Condition to prompts, in the order of `chosen`.

    Raises
    ------
    PerceptError
        If a trial lacks a caption, or a prompt is empty.
    """
    trial_ids = chosen["trial_id"].tolist()
    stimulus_ids = chosen["stimulus_id"].tolist()
    nearest = retrievals[(retrievals["gallery"] == GALLERY) & (retrievals["rank"] == 1)]
    retrieved = nearest.merge(captions[["caption_id", "text"]], on="caption_id")
    texts = _texts(retrieved, "trial_id")
    decoded = [_prompt(texts.get(t, {}), kinds, f"trial {t}", "retrieve") for t in trial_ids]
    texts = _texts(captions, "stimulus_id")
    true = [_prompt(texts.get(s, {}), kinds, f"stimulus {s}", "caption") for s in stimulus_ids]
    shuffled = [decoded[source] for source in derangement(stimulus_ids, seed)]
    return {"decoded": decoded, "true_captions": true, "shuffled_eeg": shuffled}


def _texts(captions: pd.DataFrame, key: str) -> dict[str, dict[str, str]]:
    """Return the captions by kind of each trial or stimulus."""
    found: dict[str, dict[str, str]] = {}
    for name, kind, text in zip(captions[key], captions["kind"], captions["text"], strict=True):
        found.setdefault(name, {})[kind] = text
    return found


def _prompt(texts: Mapping[str, str], kinds: Sequence[str], whose: str, stage: str) -> str:
    empty = [kind for kind in kinds if not texts.get(kind, "").strip()]
    if empty:
        raise PerceptError(
            f"A prompt needs a caption of each kind; {whose} has none of {', '.join(empty)}. "
            f"Run `dvc repro {stage}`."
        )
    return compose(texts, kinds)
