"""Trials as data: the page holds thousands, and its script builds the cards of one page at a time."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from markupsafe import Markup

from tasks.language.prompts import KIND_NAMES, TIER_OF
from tasks.reporting.cards import Picture, Sample, TrialCard

Item = TypeVar("Item")

CHUNK = 400
"""Thumbnails in one block: a block is read when a card on the screen needs one of them."""


@dataclass(frozen=True)
class TrialData:
    """What the script of the page reads.

    Attributes
    ----------
    index
        JSON of all trials but their thumbnails.
    thumbnails
        JSON of thumbnails as data URIs, `CHUNK` in each, in the order in which trials need them.
    """

    index: Markup
    thumbnails: tuple[Markup, ...]


def trial_data(
    sample: Sample, thumbnail: Callable[[Path], str], confidences: Mapping[str, float]
) -> TrialData:
    """Return trials as JSON in which texts and pictures that recur stand once.

    Parameters
    ----------
    thumbnail : callable
        Path of a picture to its data URI.
    confidences : Mapping[str, float]
        Trial to how sure the encoder is; trials without one have none.
    """
    texts, pictures = _Numbers[str](), _Numbers[Path]()
    kinds = [
        kind for kind in KIND_NAMES if any(p.kind == kind for c in sample.cards for p in c.captions)
    ]
    trials = [
        _trial(card, texts, pictures) | {"confidence": confidences.get(card.trial_id)}
        for card in sample.cards
    ]
    index = {
        "kinds": [[kind, TIER_OF[kind].value] for kind in kinds],
        "trials": trials,
        "texts": list(texts),
        "chunk": CHUNK,
    }
    uris = [thumbnail(path) for path in pictures]
    chunks = [uris[start : start + CHUNK] for start in range(0, len(uris), CHUNK)]
    return TrialData(as_json(index), tuple(as_json(chunk) for chunk in chunks))


def as_json(value: object) -> Markup:
    """Return JSON that may stand inside a script element: no text in it can close the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


class _Numbers(dict[Item, int], Generic[Item]):
    """Items in the order in which they were first asked for, and the place of each."""

    def __missing__(self, item: Item) -> int:
        self[item] = len(self)
        return self[item]


def _trial(card: TrialCard, texts: _Numbers[str], pictures: _Numbers[Path]) -> dict[str, object]:
    return {
        "id": card.trial_id,
        "subject": card.subject,
        "concept": card.concept,
        "split": card.split,
        "outcome": card.outcome,
        "shown": pictures[card.stimulus],
        "pictures": [_picture(picture, texts, pictures) for picture in card.pictures],
        "captions": [
            [p.kind, texts[p.retrieved], round(p.cosine, 3), texts[p.true], p.rank]
            for p in card.captions
        ],
    }


def _picture(picture: Picture, texts: _Numbers[str], pictures: _Numbers[Path]) -> list[object]:
    verdict = picture.verdict
    said = None if verdict is None else [verdict.judged, verdict.hit, round(verdict.probability, 3)]
    return [picture.title, pictures[picture.path], texts[picture.prompt], said]
