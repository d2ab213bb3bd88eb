"""Predicted sentences held against references by the field's recipes, each by its name and with an interval.

The recipe is that of the COCO caption evaluation (pycocoevalcap), which CLIPScore, EEG-to-text papers and most
captioning papers print: BLEU-1 to BLEU-4 of the corpus with the closest reference length, ROUGE-L, METEOR 1.5 and
CIDEr, on lower-case words without punctuation (the original's Penn Treebank tokens need Java and differ in contractions
alone). ROUGE-1 and ROUGE-2 are the F of rouge-score with its stemmer, of the best reference.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from tasks.artifacts.metrics import Score
from tasks.language.comparison import References, words
from tasks.language.human import CaptionFileError, read_records
from tasks.language.likeness import Draw, scored
from tasks.statistics.resampling import STIMULI

RECIPES: Mapping[str, str] = {
    **{f"bleu_{n}": "COCO caption evaluation, corpus" for n in (1, 2, 3, 4)},
    "rouge_1": "rouge-score with stemmer, F of the best reference",
    "rouge_2": "rouge-score with stemmer, F of the best reference",
    "rouge_l": "COCO caption evaluation",
    "meteor": "METEOR 1.5, COCO caption evaluation",
    "cider": "COCO caption evaluation",
}
"""Name of each score, in the order of the tables, to what it is."""


def read_pairs(predicted: Path, references: Path) -> tuple[list[str], list[str], list[References]]:
    """Return the pictures that both files speak of, what was predicted of each, and the references.

    Parameters
    ----------
    predicted : Path
        One caption per picture, in a form that `read_records` knows.
    references : Path
        One or more.

    Raises
    ------
    CaptionFileError
        If a predicted picture has several captions or no reference, or no picture is in the first file.
    """
    said, known = _by_picture(predicted), _by_picture(references)
    several = [name for name, texts in said.items() if len(texts) != 1]
    if several or not said:
        raise CaptionFileError(
            f"{predicted} must hold one caption of each picture; {len(several)} of its {len(said)} pictures have "
            f"another number: {', '.join(several[:5])}. Keep one."
        )
    if unknown := [name for name in said if name not in known]:
        raise CaptionFileError(
            f"{references} must have a reference for each of the {len(said)} predicted pictures; {len(unknown)} have "
            f"none: {', '.join(unknown[:5])}. Name pictures alike in both files."
        )
    names = list(said)
    return names, [said[name][0] for name in names], [known[name] for name in names]


def text_scores(
    texts: Sequence[str], references: Sequence[References], draw: Draw, *, meteor: bool = False
) -> dict[str, Score]:
    """Return every score of `RECIPES`, with its interval, bootstrapped over pictures.

    The corpus statistic of BLEU is computed anew for each
    bootstrap sample of pictures; the document frequencies of CIDEr stay those of all references.

    Parameters
    ----------
    references : Sequence[References]
        Of the picture of each text, one at least.
    draw : Draw
        How intervals are drawn.
    meteor : bool
        Whether METEOR is among them: it runs Java, 2 GiB of memory and half a minute.

    Raises
    ------
    CaptionFileError
        If METEOR is asked for and there is no Java.
    """
    if meteor and not shutil.which("java"):
        raise CaptionFileError(
            "METEOR needs `java` on the path; it is not there. Install it, or leave METEOR out."
        )
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from rouge_score.rouge_scorer import RougeScorer

    expected = {i: [words(one) for one in said] for i, said in enumerate(references)}
    found = {i: [words(text)] for i, text in enumerate(texts)}
    scorer = RougeScorer(["rouge1", "rouge2"], use_stemmer=True)
    by_order = [
        scorer.score_multi(list(said), text) for text, said in zip(texts, references, strict=True)
    ]
    each = {
        "rouge_1": np.array([one["rouge1"].fmeasure for one in by_order]),
        "rouge_2": np.array([one["rouge2"].fmeasure for one in by_order]),
        "rouge_l": np.asarray(Rouge().compute_score(expected, found)[1]),
        "cider": np.asarray(Cider().compute_score(expected, found)[1]),
    }
    if meteor:
        each["meteor"] = _meteor(expected, found)
    groups = np.arange(len(texts))
    scores = _bleu(expected, found, draw) | {
        name: scored(
            values, groups, draw, chance=None, unit="score" if name == "cider" else "share"
        )
        for name, values in each.items()
    }
    return {name: scores[name] for name in RECIPES if name in scores}


def _by_picture(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for picture, captions, _ in read_records(path):
        found.setdefault(_plain(picture), []).extend(
            text for caption in captions if (text := " ".join(caption.split()))
        )
    return found


def _plain(picture: str) -> str:
    """Return the name of a picture without its folders and the ending of a picture's file."""
    name = picture.replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"\.(jpe?g|png|webp|gif|bmp|tiff?|ppm)$", "", name, flags=re.IGNORECASE)


Words = Mapping[int, list[str]]


def _bleu(expected: Words, found: Words, draw: Draw) -> dict[str, Score]:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    whole = BleuScorer(n=4)
    for i, (text,) in found.items():
        whole += (text, expected[i])

    def corpus(rows: Int[np.ndarray, " n"]) -> list[float]:
        part = BleuScorer(n=4)
        part.ctest, part.crefs = [whole.ctest[i] for i in rows], [whole.crefs[i] for i in rows]
        values: list[float] = part.compute_score(option="closest", verbose=0)[0]
        return values

    everything = np.arange(len(found))
    values = corpus(everything)
    rng = np.random.default_rng(draw.seed)
    samples = [corpus(rng.choice(everything, len(everything))) for _ in range(draw.n_resamples)]
    tail = (1 - draw.confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return {
        f"bleu_{n + 1}": Score(
            value=values[n],
            n=len(found),
            low=min(float(low[n]), values[n]),
            high=max(float(high[n]), values[n]),
            unit="share",
            resampled=STIMULI,
        )
        for n in range(4)
    }


def _meteor(expected: Words, found: Words) -> np.ndarray:
    from pycocoevalcap.meteor.meteor import Meteor

    program = Meteor()
    try:
        return np.asarray(program.compute_score(expected, found)[1])
    finally:
        for pipe in (program.meteor_p.stdout, program.meteor_p.stderr):
            pipe.close()  # it closes only what it writes to


def as_json(scores: Mapping[str, Score]) -> str:
    """Return scores with their recipes, for a program to read."""
    rows = {
        name: {"value": s.value, "low": s.low, "high": s.high, "n": s.n, "recipe": RECIPES[name]}
        for name, s in scores.items()
    }
    return json.dumps(rows, indent=2)
