"""What each trial card of the report shows: pictures, captions and the judge's verdict."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Literal

import numpy as np
import pandas as pd

from tasks.artifacts.splits import HELD_OUT, ZERO_SHOT
from tasks.language.prompts import KIND_NAMES, TIER_OF, Tier
from tasks.reporting.formats import enumeration, sentence
from tasks.reporting.study import Study

CONDITIONS: tuple[str, ...] = ("decoded", "true_captions", "shuffled_eeg")
"""Conditions of rendering that every study has, in the order in which they are shown."""

GALLERY = "train"
"""Captions of training pictures: what the renders are made from."""

OWN_GALLERY = "test"
"""Captions of held-out pictures, the trial's own among them."""

TITLES: Mapping[str, str] = {
    "decoded": "Decoded",
    "true_captions": "True captions",
    "shuffled_eeg": "Shuffled EEG",
}

MAX_PROMPT = 300
"""Characters of a prompt that are shown: a mean of many captions is longer."""

Outcome = Literal["hit", "miss", "unjudged"]


@dataclass(frozen=True)
class Verdict:
    """What the judge sees in a picture, how sure it is, and whether that was shown."""

    judged: str
    probability: float
    hit: bool


@dataclass(frozen=True)
class Picture:
    """One rendered picture of a trial."""

    condition: str
    title: str
    path: Path
    prompt: str
    verdict: Verdict | None


@dataclass(frozen=True)
class CaptionPair:
    """The nearest caption of one kind, beside the true one of the picture that was shown.

    Attributes
    ----------
    kind, tier
        Of the caption.
    retrieved, cosine
        The nearest caption of a training picture, and how near it is.
    true
        Caption of the picture that was shown.
    rank
        Place of the true text among captions of held-out pictures; 0: beyond those that were kept.
    """

    kind: str
    tier: Tier
    retrieved: str
    cosine: float
    true: str
    rank: int


@dataclass(frozen=True)
class TrialCard:
    """One trial as it stands in the report."""

    trial_id: str
    subject: str
    concept: str
    split: str
    repetition: int
    stimulus: Path
    pictures: tuple[Picture, ...]
    captions: tuple[CaptionPair, ...]

    @property
    def decoded(self) -> Picture | None:
        """The picture rendered from the decoded captions."""
        return next((p for p in self.pictures if p.condition == "decoded"), None)

    @property
    def outcome(self) -> Outcome:
        """Whether the judge sees the right object in the decoded picture."""
        if self.decoded is None or self.decoded.verdict is None:
            return "unjudged"
        return "hit" if self.decoded.verdict.hit else "miss"

    @property
    def nearest(self) -> tuple[CaptionPair, ...]:
        """The caption with the highest cosine of each tier."""
        tiers = [[pair for pair in self.captions if pair.tier is tier] for tier in Tier]
        return tuple(max(pairs, key=lambda pair: pair.cosine) for pairs in tiers if pairs)


@dataclass(frozen=True)
class Sample:
    """Cards in an order drawn before any score was looked at.

    Attributes
    ----------
    cards
        The cards.
    n_eligible
        How many trials the sample was drawn from.
    n_samples
        How many pictures exist per trial and condition; the first is shown.
    """

    cards: tuple[TrialCard, ...]
    n_eligible: int
    n_samples: int

    @property
    def n_hits(self) -> int:
        """How many decoded pictures show the right object, to the judge."""
        return sum(card.outcome == "hit" for card in self.cards)

    @property
    def n_judged(self) -> int:
        """How many decoded pictures the judge has seen."""
        return sum(card.outcome != "unjudged" for card in self.cards)

    @property
    def hits_in_words(self) -> str:
        """How many decoded pictures show the right object, of concepts that were trained and of others.

        They are two questions with two scores, and one count of both would be the answer to neither.
        """
        parts = []
        for untrained, words in ((False, "trained concepts"), (True, "concepts never trained")):
            own = tuple(card for card in self.cards if (card.split == ZERO_SHOT) == untrained)
            part = Sample(own, len(own), self.n_samples)
            if part.n_judged:
                parts.append(f"{part.n_hits} of {part.n_judged} decoded pictures of {words}")
        return enumeration(parts)


def draw_sample(study: Study, max_trials: int, seed: int) -> Sample:
    """Draw trials at random, whatever their scores, and gather what each card shows.

    Parameters
    ----------
    max_trials : int
        At most so many cards.
    seed : int
        Of the order of the trials.
    """
    eligible = _eligible(study)
    order = np.random.default_rng(seed).permutation(len(eligible))[:max_trials]
    trial_ids = [eligible[i] for i in order]
    cards = cards_of(study, trial_ids)
    n_samples = 0 if study.renders.empty else int(study.renders["sample"].max()) + 1
    return Sample(cards, len(eligible), n_samples)


def cards_of(study: Study, trial_ids: list[str]) -> tuple[TrialCard, ...]:
    """Gather what the cards of some trials show.

    Parameters
    ----------
    trial_ids : list[str]
        Which trials, in order.
    """
    trials = study.trials.set_index("trial_id").loc[trial_ids]
    image_of = dict(zip(study.stimuli["stimulus_id"], study.stimuli["image_path"], strict=True))
    pictures = _pictures(study, set(trial_ids))
    captions = _captions(study, trials["stimulus_id"])
    return tuple(
        TrialCard(
            trial_id=str(trial_id),
            subject=trial["subject"],
            concept=trial["concept"],
            split=trial["split"],
            repetition=int(trial["repetition"]),
            stimulus=Path(image_of[trial["stimulus_id"]]),
            pictures=pictures.get(str(trial_id), ()),
            captions=captions.get(str(trial_id), ()),
        )
        for trial_id, trial in trials.iterrows()
    )


def _eligible(study: Study) -> list[str]:
    """Return the held-out trials that have pictures; where none were rendered, those with captions."""
    if not study.renders.empty:
        return sorted(study.renders["trial_id"].unique())
    held_out = study.trials.loc[study.trials["split"].isin(HELD_OUT), "trial_id"]
    return sorted(set(held_out) & set(study.retrievals["trial_id"]))


def _pictures(study: Study, wanted: set[str]) -> dict[str, tuple[Picture, ...]]:
    """Return the first picture of each condition, by trial."""
    verdicts = _verdicts(study.judgements, wanted)
    renders = study.renders
    rows = renders[(renders["sample"] == 0) & renders["trial_id"].isin(wanted)]
    pictures: dict[str, dict[str, Picture]] = {}
    for row in rows.to_dict("records"):
        trial_id, condition = row["trial_id"], row["condition"]
        pictures.setdefault(trial_id, {})[condition] = Picture(
            condition=condition,
            title=TITLES.get(condition, sentence(condition)),
            path=Path(row["image_path"]),
            prompt=shorten(row["prompt"], MAX_PROMPT, placeholder=" …"),
            verdict=verdicts.get((trial_id, condition)),
        )
    return {
        trial_id: tuple(found[c] for c in sorted(found, key=_place))
        for trial_id, found in pictures.items()
    }


def _place(condition: str) -> tuple[int, str]:
    known = CONDITIONS.index(condition) if condition in CONDITIONS else len(CONDITIONS)
    return known, condition


def _verdicts(judgements: pd.DataFrame, wanted: set[str]) -> dict[tuple[str, str], Verdict]:
    """Return what the judge sees in the first picture of each trial and condition."""
    rows = judgements[
        (judgements["sample"] == 0)
        & (judgements["factor"] == "concept")
        & judgements["trial_id"].isin(wanted)
    ]
    return {
        (row["trial_id"], row["condition"]): Verdict(
            row["judged"], float(row["probability"]), row["judged"] == row["actual"]
        )
        for row in rows.to_dict("records")
    }


def _captions(study: Study, stimulus_of: "pd.Series[str]") -> dict[str, tuple[CaptionPair, ...]]:
    """Return the nearest caption of every kind beside the true one, by trial."""
    text_of = dict(zip(study.captions["caption_id"], study.captions["text"], strict=True))
    retrievals = study.retrievals
    rows = retrievals[
        (retrievals["gallery"] == GALLERY)
        & (retrievals["rank"] == 1)
        & retrievals["trial_id"].isin(stimulus_of.index)
    ]
    ranks = _own_ranks(retrievals, stimulus_of, text_of)
    pairs: dict[str, list[CaptionPair]] = {}
    for row in rows.to_dict("records"):
        trial_id, kind = row["trial_id"], row["kind"]
        pairs.setdefault(trial_id, []).append(
            CaptionPair(
                kind=kind,
                tier=TIER_OF[kind],
                retrieved=text_of[row["caption_id"]],
                cosine=float(row["cosine"]),
                true=text_of.get(f"{stimulus_of[trial_id]}_{kind}", ""),
                rank=ranks.get((trial_id, kind), 0),
            )
        )
    return {
        trial_id: tuple(sorted(found, key=lambda pair: KIND_NAMES.index(pair.kind)))
        for trial_id, found in pairs.items()
    }


def _own_ranks(
    retrievals: pd.DataFrame, stimulus_of: "pd.Series[str]", text_of: Mapping[str, str]
) -> dict[tuple[str, str], int]:
    """Return the best rank, by trial and kind, of a caption that reads as the trial's own does."""
    rows = retrievals[
        (retrievals["gallery"] == OWN_GALLERY) & retrievals["trial_id"].isin(stimulus_of.index)
    ]
    own = (rows["trial_id"].map(stimulus_of) + "_" + rows["kind"]).map(text_of)
    found = rows[rows["caption_id"].map(text_of) == own]
    best = found.groupby(["trial_id", "kind"])["rank"].min().reset_index()
    keys = zip(best["trial_id"], best["kind"], strict=True)
    return dict(zip(keys, map(int, best["rank"]), strict=True))
