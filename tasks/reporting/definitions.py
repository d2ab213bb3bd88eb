"""Definitions that a reader needs, and what the study was made from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from tasks.reporting.formats import enumeration, plural
from tasks.reporting.study import Study


@dataclass(frozen=True)
class Term:
    """A word of the report, and what it means here.

    Attributes
    ----------
    name, definition
        The word as a heading, and one or two plain sentences.
    spellings
        How texts write it, as regular expressions; the first mention in a text leads to the definition.
    """

    name: str
    definition: str
    spellings: tuple[str, ...]


TERMS: Mapping[str, Term] = {
    "trial": Term(
        "Trial",
        "One presentation of one picture to one subject. Nothing is averaged over trials unless it is said.",
        ("single trials?", "trials?"),
    ),
    "stimulus": Term(
        "Stimulus",
        "One picture that was shown. Unless a warning above the scores says otherwise, a picture is in one split "
        "only, so that no picture that is scored was in training.",
        ("stimulus", "stimuli"),
    ),
    "concept": Term(
        "Concept",
        "The object that a picture shows, for instance a key. Several pictures show one concept.",
        ("concepts?",),
    ),
    "tier": Term(
        "Tier",
        "What a caption speaks of: the object tier of the thing itself, the spatial tier of where it is, the "
        "thematic tier of what the picture is about.",
        ("tiers?",),
    ),
    "kind": Term(
        "Kind",
        "One of the ten sorts of caption that every picture has. Each kind belongs to one tier.",
        ("kinds? of caption", "kinds?"),
    ),
    "head": Term(
        "Head",
        "The last layer of the encoder for one kind of caption. There is one head per kind; it turns the EEG of "
        "a trial into a vector that should lie near the caption of that kind.",
        ("projection heads?", "heads?"),
    ),
    "encoder": Term(
        "Encoder", "The trained model that turns the EEG of a trial into vectors.", ("encoders?",)
    ),
    "clip": Term(
        "CLIP",
        "A published network (Contrastive Language-Image Pre-training) that gives pictures and texts vectors in "
        "one space: what belongs together lies close together.",
        (r"CLIP(?![\w-])",),
    ),
    "gallery": Term(
        "Gallery",
        "The set of answers to choose from. Scores “of N” name how many there are. Pictures are "
        "drawn from captions of training pictures only.",
        ("gallery", "galleries"),
    ),
    "zero_shot": Term(
        "Zero-shot",
        "Of concepts that were held out of training altogether: no picture of them was ever learnt from.",
        ("zero-shot",),
    ),
    "chance": Term(
        "Chance", "What guessing scores, with nothing known of the EEG.", ("chance", "guessing")
    ),
    "baseline": Term(
        "Baseline",
        "A simple method for the same question: a linear discriminant on bins of time. It is taught by the same "
        "training trials as the encoder, and its sizes are chosen on the same validation trials.",
        ("baselines?",),
    ),
    "ceiling": Term(
        "Ceiling",
        "The best possible score. For naming in a simulated study it is that of the Bayes-optimal decoder, which "
        "knows the simulated brain and its noise, or, where its verdict says so, a Monte Carlo bound on it; for "
        "pictures, what the generator makes of the true captions. Of a real brain it is not known.",
        ("ceilings?", "best possible decoder", "best possible"),
    ),
    "shuffled_eeg": Term(
        "Shuffled EEG",
        "The same encoder on the same trials, but each trial gets the EEG of another one. Nothing is left of the "
        "link to what was seen, so the score must fall to chance.",
        ("shuffled EEG",),
    ),
    "control": Term(
        "Control",
        "A test that asks whether something other than seeing could have made a score, for instance the time of "
        "day. The audit runs all of them.",
        ("controls?",),
    ),
    "drift": Term(
        "Drift",
        "Slow change of the recording, such as drying electrodes or a tiring subject. Where pictures of one "
        "concept are shown one after the other, drift alone can give high scores.",
        ("drift",),
    ),
    "leak": Term(
        "Leak",
        "Something of the test that was already in training: a picture, a copy of it, or its captions.",
        ("leaks?", "leakage"),
    ),
    "interval": Term(
        "95 % interval",
        "Where the score would lie in 95 of 100 repetitions of the study with other pictures and, from three "
        "subjects on, other subjects. It is bootstrapped over stimuli, not trials, for presentations of one picture "
        "are no independent evidence; for scalp maps over subjects, for distances between sets of pictures over "
        "random halves.",
        ("95 % intervals?", "intervals?"),
    ),
    "p_value": Term(
        "p-value",
        "How often chance alone would score as high, from permuted stimuli. “Holm”: adjusted over "
        "all tests that ask one question.",
        ("p-values?",),
    ),
    "judge": Term(
        "Judge",
        "A classifier trained apart from everything else, which names the object in a picture. ✓ says "
        "that it is the object shown, ✗ that it is another.",
        ("judge",),
    ),
    "kid": Term(
        "KID, FID, IS",
        "Measures of how pictures look as a set. They reward the generator, hardly the EEG, and depend on the "
        "feature space that stands in their name.",
        ("KID", "FID", "Inception score"),
    ),
    "confidence": Term(
        "Confidence",
        "How sure the encoder is of the concept it names, calibrated on validation trials: of answers with a "
        "confidence of 70 %, about 70 % are right.",
        ("confidences?",),
    ),
    "saliency": Term(
        "Saliency",
        "How strongly each electrode speaks to a head. It is a property of the encoder, not of the brain.",
        ("saliency",),
    ),
    "planted": Term(
        "Planted topography",
        "Where on the scalp a simulated study put the sources of a tier: the truth that maps are held against.",
        ("planted topograph(?:y|ies)", "planted"),
    ),
    "cka": Term(
        "CKA",
        "Centred kernel alignment: how alike two heads arrange the same trials, from 0 (nothing alike) to 1.",
        ("CKA",),
    ),
    "rdm": Term(
        "RDM",
        "Representational dissimilarity matrix: for each two concepts, how unlike the vectors are that the encoder "
        "gives them.",
        ("RDMs?", "dissimilarity matrix"),
    ),
    "erp": Term(
        "ERP",
        "Event-related potential: the mean EEG after picture onset, over all kept trials.",
        ("ERPs?",),
    ),
}
"""Terms by key. Report and documentation both take their words from here."""


def explained(text: str) -> Markup:
    """Return a text, escaped, in which the first mention of each term is a button that shows its definition.

    Parameters
    ----------
    text : str
        Plain text.
    """
    seen: set[str] = set()

    def button(match: re.Match[str]) -> str:
        key = str(match.lastgroup)
        if key in seen:
            return str(escape(match[0]))
        seen.add(key)
        return _BUTTON.format(key=key, definition=TERMS[key].definition, word=match[0])

    parts, end = [], 0
    for match in _ANY_TERM.finditer(text):
        parts += [str(escape(text[end : match.start()])), button(match)]
        end = match.end()
    return Markup("".join([*parts, str(escape(text[end:]))]))  # noqa: S704


_BUTTON = Markup(
    '<button type="button" class="term" popovertarget="term-{key}" title="{definition}">{word}</button>'
)
_ANY_TERM = re.compile(
    "|".join(
        rf"(?P<{key}>(?<![\w-])(?:{'|'.join(term.spellings)})(?![\w-]))"
        for key, term in sorted(TERMS.items(), key=lambda item: -max(map(len, item[1].spellings)))
    ),
    re.IGNORECASE,
)


def provenance(study: Study) -> list[tuple[str, str]]:
    """Return what the study was made from, as term and description.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    recordings, captions = study.recordings, study.captions
    rows = [
        (
            "Raw data",
            f"{plural(len(recordings), 'recording')}, SHA-256 "
            + ", ".join(f"{digest[:12]}…" for digest in recordings["sha256"].head(3))
            + (" and so on." if len(recordings) > 3 else "."),
        )
    ]
    if not captions.empty:
        rows.append(("Captions", caption_source(study)))
    if not study.training_log.empty:
        rows.append(("Training", f"{plural(len(study.training_log), 'epoch')} logged."))
    return rows


def caption_source(study: Study) -> str:
    """Say who wrote the captions, and how many are not as they should be.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    captions = study.captions
    writers = captions[["source", "model"]].drop_duplicates().sort_values(["source", "model"])
    names = [
        row["source"]
        if row["model"] in ("", row["source"])
        else f"{row['source']} ({row['model']})"
        for row in writers.to_dict("records")
    ]
    n_flawed = int((captions["status"] != "ok").sum())
    flawed = f" {n_flawed:,} of them did not pass the checks." if n_flawed else ""
    return f"{plural(len(captions), 'caption')}, written by {enumeration(names)}.{flawed}"
