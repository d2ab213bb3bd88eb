"""What the captions of a study are worth: scores beside those of captions of other pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tasks.artifacts.metrics import COUNTED, Score
from tasks.language.comparison import Evidence, compare, unsupported
from tasks.language.human import HumanCaptions
from tasks.language.likeness import Draw, Vectors, agreement, clip_scores, scored
from tasks.language.objects import vocabulary_of
from tasks.language.prompts import KIND_NAMES, Tier
from tasks.statistics.draws import derangement

logger = logging.getLogger(__name__)

Scores = dict[str, Score]
NAMES = {"bleu": "bleu_4", "rouge_l": "rouge_l", "cider": "cider"}


def picture_codes(captions: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """Return a number for the picture of each caption."""
    return np.asarray(pd.factorize(captions["stimulus_id"], sort=True)[0])


def likeness_scores(captions: pd.DataFrame, texts: Vectors, images: Vectors, draw: Draw) -> Scores:
    """Return CLIPScore, overall and by kind, and the agreement between kinds and within tiers.

    Parameters
    ----------
    captions : pandas.DataFrame
        One row per caption of two pictures at least.
    texts, images : Vectors
        Unit vectors of each caption and of its picture.
    draw : Draw
        How intervals and random captions are drawn.
    """
    codes = picture_codes(captions)
    scores = clip_scores(texts, images, codes, "", draw)
    rows = {}
    for kind in KIND_NAMES:
        place = np.flatnonzero(captions["kind"] == kind)
        if len(place) > 1:
            scores |= clip_scores(texts[place], images[place], codes[place], kind, draw)
            rows[kind] = dict(zip(codes[place], place, strict=True))
    return scores | _agreements(rows, texts, draw)


def distinct_score(captions: pd.DataFrame) -> Scores:
    """Return the share of captions whose words no other picture has in the same kind."""
    shared = captions.groupby(["kind", "text"])["stimulus_id"].transform("nunique") > 1
    value = 1 - float(shared.mean())
    return {"captions_of_one_picture": Score(value=value, n=len(captions), resampled=COUNTED)}


def human_scores(captions: pd.DataFrame, human: HumanCaptions, draw: Draw) -> Scores:
    """Return BLEU, ROUGE and CIDEr against human captions, overall and by tier.

    Chance is what captions of other pictures score; the ceiling is what one human caption of each
    picture scores against the others.

    Parameters
    ----------
    captions : pandas.DataFrame
        One row per caption.
    human : HumanCaptions
        What people say of the pictures.
    draw : Draw
        How other pictures are drawn.
    """
    known = captions[captions["stimulus_id"].isin(list(human.texts))]
    ceiling = _among_people(human)
    scores = {}
    for tier in ("", *Tier):
        rows = known if not tier else known[known["tier"] == tier]
        if len(set(rows["stimulus_id"])) > 1:
            part = f"_{tier}" if tier else ""
            for name, score in _against(rows, human, draw, ceiling).items():
                scores[f"{NAMES[name]}{part}"] = score
    return scores


def hallucinations(
    captions: pd.DataFrame, human: HumanCaptions, concepts: Mapping[str, str], draw: Draw
) -> tuple[Scores, pd.DataFrame]:
    """Return how many named objects nothing else speaks for (CHAIR), and each of them.

    Parameters
    ----------
    captions : pandas.DataFrame
        One row per caption.
    human : HumanCaptions
        Human captions and annotated or detected objects.
    draw : Draw
        How intervals and other pictures are drawn.

    Returns
    -------
    scores : dict[str, Score]
        Share of named objects without support, and of captions that name such; chance is for captions
        of other pictures.
    suspects : pandas.DataFrame
        caption_id, objects and text of every such caption.
    """
    known = captions[captions["stimulus_id"].isin(list(human.texts))].reset_index(drop=True)
    vocabulary = vocabulary_of(concepts.values())

    def evidence(stimulus_id: str) -> Evidence:
        objects = human.objects.get(stimulus_id, frozenset()) | {concepts[stimulus_id]}
        return Evidence(human.texts[stimulus_id], frozenset(objects))

    own = [evidence(stimulus_id) for stimulus_id in known["stimulus_id"]]
    found = [unsupported(t, e, vocabulary) for t, e in zip(known["text"], own, strict=True)]
    order = derangement(known["stimulus_id"].tolist(), draw.seed)
    others = [
        unsupported(text, own[i], vocabulary) for text, i in zip(known["text"], order, strict=True)
    ]
    suspects = known[["caption_id", "text"]].assign(
        objects=[", ".join(sorted(alone)) for _, alone in found]
    )
    scores = _chair(found, others, picture_codes(known), draw)
    return scores, suspects[suspects["objects"] != ""]


def review_scores(
    captions: pd.DataFrame, verdicts: Mapping[tuple[str, str], str], draw: Draw
) -> Scores:
    """Return the share of reviewed captions with each verdict; those on other words than the captions' do not count.

    Parameters
    ----------
    captions : pandas.DataFrame
        One row per caption.
    verdicts : Mapping[tuple[str, str], str]
        Verdict by caption_id and text.
    """
    now = dict(zip(captions["caption_id"], captions["text"], strict=True))
    if stale := sum(now.get(caption_id, text) != text for caption_id, text in verdicts):
        logger.warning(
            "%d verdicts are on captions that read otherwise now; they do not count.", stale
        )
    said = pd.Series(zip(captions["caption_id"], captions["text"], strict=True), captions.index)
    reviewed = captions[said.isin(list(verdicts))]
    if reviewed.empty:
        return {}
    codes, given = picture_codes(reviewed), said[reviewed.index].map(verdicts).to_numpy()
    return {
        f"reviewed_{verdict}": scored(
            (given == verdict).astype(float),
            codes,
            draw,
            chance=None,
            unit="share",
            lower_is_better=verdict != "correct",
        )
        for verdict in ("correct", "wrong", "invented")
    }


def _agreements(rows: Mapping[str, Mapping[int, int]], texts: Vectors, draw: Draw) -> Scores:
    """Return the mean cosine between captions of two kinds of one picture, over all pairs of kinds."""
    values, codes, chances = [], [], []
    for first, second in combinations(rows, 2):
        both = sorted(set(rows[first]) & set(rows[second]))
        if len(both) > 1:
            left = texts[[rows[first][code] for code in both]]
            right = texts[[rows[second][code] for code in both]]
            own, chance = agreement(left, right, np.array(both), draw)
            values.append(own)
            codes.append(np.array(both))
            chances.append(chance)
    if not values:
        return {}
    everything, pictures = np.concatenate(values), np.concatenate(codes)
    score = scored(everything, pictures, draw, chance=fmean(chances), unit="cosine")
    return {"kind_agreement": score}


def _against(
    rows: pd.DataFrame, human: HumanCaptions, draw: Draw, ceiling: Mapping[str, float]
) -> Scores:
    texts = rows["text"].tolist()
    references = [human.texts[stimulus_id] for stimulus_id in rows["stimulus_id"]]
    order = derangement(rows["stimulus_id"].tolist(), draw.seed)
    own = asdict(compare(texts, references))
    other = asdict(compare(texts, [references[i] for i in order]))
    return {
        name: Score(
            value=own[name],
            n=len(texts),
            chance=other[name],
            ceiling=ceiling.get(name),
            unit="score" if name == "cider" else "share",
        )
        for name in NAMES
    }


def _among_people(human: HumanCaptions) -> dict[str, float]:
    """Return what the first human caption of each picture scores against the others."""
    several = [said for said in human.texts.values() if len(said) > 1]
    if len(several) <= 1:
        return {}
    return asdict(compare([said[0] for said in several], [said[1:] for said in several]))


Named = Sequence[tuple[frozenset[str], frozenset[str]]]
"""Objects that each caption names, and those of them without support."""


def _chair(found: Named, others: Named, codes: Int[np.ndarray, " n"], draw: Draw) -> Scores:
    def of_captions(named: Named) -> Float[np.ndarray, " n"]:
        return np.array([bool(alone) for _, alone in named], float)

    def of_objects(named: Named) -> Float[np.ndarray, " n"]:
        return np.array(
            [thing in alone for things, alone in named for thing in sorted(things)], float
        )

    more: dict[str, Any] = {"unit": "share", "lower_is_better": True}
    scores = {
        "captions_with_suspected_hallucination": scored(
            of_captions(found), codes, draw, chance=float(of_captions(others).mean()), **more
        )
    }
    n_named = np.array([len(things) for things, _ in found])
    if n_named.any():
        mean: Callable[[Named], float] = lambda named: float(of_objects(named).mean())  # noqa: E731
        scores["suspected_hallucinations"] = scored(
            of_objects(found), np.repeat(codes, n_named), draw, chance=mean(others), **more
        )
    return scores
