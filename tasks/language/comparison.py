"""Captions held against those that people wrote: BLEU, ROUGE, CIDEr, and objects that nobody else names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tasks.language.objects import named_objects, plain

References = Sequence[str]
"""Human captions of one picture."""


@dataclass(frozen=True)
class Likeness:
    """How near captions are to human ones; each is 1 (CIDEr: 10) for a copy.

    Attributes
    ----------
    bleu : float
        BLEU-4 of the corpus (sacrebleu; Papineni et al. 2002).
    rouge_l : float
        Mean F of ROUGE-L against the nearest human caption (rouge-score; Lin 2004).
    cider : float
        CIDEr (pycocoevalcap; Vedantam et al. 2015), on lower-case words without punctuation.
    """

    bleu: float
    rouge_l: float
    cider: float


def compare(texts: Sequence[str], references: Sequence[References]) -> Likeness:
    """Compare captions with human ones of the same pictures.

    Parameters
    ----------
    references : Sequence[References]
        Human captions of the picture of each, one at least.
    """
    import sacrebleu
    from pycocoevalcap.cider.cider import Cider
    from rouge_score.rouge_scorer import RougeScorer

    most = max(len(said) for said in references)
    columns = [[said[i] if i < len(said) else None for said in references] for i in range(most)]
    bleu = sacrebleu.corpus_bleu(list(texts), columns, lowercase=True).score / 100  # type: ignore[arg-type]
    rouge = RougeScorer(["rougeL"], use_stemmer=True)
    rouge_l = fmean(
        rouge.score_multi(list(said), text)["rougeL"].fmeasure
        for text, said in zip(texts, references, strict=True)
    )
    expected = {i: [words(one) for one in said] for i, said in enumerate(references)}
    cider, _ = Cider().compute_score(expected, {i: [words(t)] for i, t in enumerate(texts)})
    return Likeness(bleu, rouge_l, float(cider))


@dataclass(frozen=True)
class Evidence:
    """What speaks for objects in a picture.

    Attributes
    ----------
    references : References
        Human captions.
    objects : frozenset[str]
        Annotated or detected objects, and the concept of the stimulus.
    """

    references: References
    objects: frozenset[str]


def unsupported(
    text: str, evidence: Evidence, vocabulary: Mapping[str, str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the objects that a caption names, and those of them that nothing else speaks for.

    Parameters
    ----------
    evidence : Evidence
        What speaks for objects in its picture.
    vocabulary : Mapping[str, str]
        Phrase in the singular to object.
    """
    named = named_objects(text, vocabulary)
    known = {vocabulary.get(plain(name), plain(name)) for name in evidence.objects}
    said = frozenset[str]().union(*(named_objects(r, vocabulary) for r in evidence.references))
    return named, named - known - said


def words(text: str) -> str:
    """Return a text in lower case without punctuation."""
    return " ".join(re.findall(r"\w+", text.lower()))
