"""What a caption that arrived must be: in English, short enough for CLIP, of its own, about the picture."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.language.quality import Status

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer
    from py3langid.langid import LanguageIdentifier

LANGUAGE = "en"
LANGUAGE_ODDS = 50.0
"""How much likelier another language must be: short phrases look like many languages."""
N_MARKS = 2
"""Tokens that CLIP sets before and after a text."""
MIN_WORDS = 5
"""Words from which a language is guessed: of names and short noun phrases of English, some 2 % look foreign."""
LAST_LATIN = "\u024f"
QUOTED = re.compile(r"[\"“][^\"”]*[\"”]")
"""What a picture of writing says is no answer of the model."""
WRITING = re.compile(
    r"\b(?:signs?|reads?|reading|say(?:s|ing)?|label\w*|print\w*|screens?|texts?|logos?|websites?|addresse?s?|pages?"
    r"|posters?|banners?|shirts?|codes?|html|display\w*|show\w*|written|words|letters)\b",
    re.IGNORECASE,
)
LINK_OR_CODE = re.compile(r"https?://|www\.|</?[a-z]+>", re.IGNORECASE)
OFF_TASK = re.compile(
    r"```"
    r"|\b(?:ignor|disregard|follow)\w* (?:(?:all|any|of|the) )*(?:previous|prior|above|my|your) (?:\w+ )?instruct"
    r"|\b(?:my|your|the) system prompt\b"
    r"|\b(?:as|i am|i'm) an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    re.IGNORECASE,
)


def check_texts(texts: Mapping[str, str], max_tokens: int) -> dict[str, Status]:
    """Return whether each caption of one picture can be used.

    Parameters
    ----------
    texts : Mapping[str, str]
        Caption by kind; all of one answer.
    max_tokens : int
        Longest caption, in CLIP's tokens, the marks of start and end included.
    """
    foreign = is_foreign(" ".join(texts.values()))
    seen: set[str] = set()
    statuses = {}
    for kind, text in texts.items():
        status = check_text(text, max_tokens)
        words = " ".join(re.findall(r"\w+", text.lower()))
        if status == Status.OK and (foreign or is_foreign(text)):
            status = Status.WRONG_LANGUAGE
        elif status == Status.OK and words in seen:
            status = Status.DUPLICATE
        seen.add(words)
        statuses[kind] = status
    return statuses


def check_text(text: str, max_tokens: int) -> Status:
    """Return whether a caption can be used, as far as it alone tells, in whatever language.

    Parameters
    ----------
    max_tokens : int
        Longest caption, in CLIP's tokens, the marks of start and end included.
    """
    if not re.search(r"\w", text):
        return Status.EMPTY
    if is_off_task(text):
        return Status.OFF_TASK
    return Status.OK if fits(text, max_tokens) else Status.TOO_LONG


def is_off_task(text: str) -> bool:
    """Return whether a text answers something else: code, links without a sign that shows them, words on itself."""
    said = QUOTED.sub("", text)
    if OFF_TASK.search(said):
        return True
    return bool(LINK_OR_CODE.search(said)) and not WRITING.search(said)


def fits(text: str, max_tokens: int) -> bool:
    """Return whether CLIP reads a text whole.

    Parameters
    ----------
    max_tokens : int
        What it reads, the marks of start and end included.
    """
    room = max_tokens - N_MARKS
    if text.isascii() and len(text) <= room:  # a token is a character at least
        return True
    return len(_tokenizer().encode(text)) <= room


def shorten(text: str, max_tokens: int) -> str:
    """Cut a text at a word, so that CLIP reads it whole.

    Parameters
    ----------
    max_tokens : int
        What CLIP reads, the marks of start and end included.

    Returns
    -------
    str
        The longest beginning of whole words; empty if the first word is too long.
    """
    words = text.split()[:max_tokens]  # a word is a token at least
    n_words = range(1, len(words) + 1)
    kept = bisect_left(n_words, True, key=lambda n: not fits(" ".join(words[:n]), max_tokens))
    return " ".join(words[:kept]).rstrip(",;:-")


@lru_cache(maxsize=2**18)
def is_foreign(text: str) -> bool:
    """Return whether a text is far likelier in another language than in English (py3langid).

    A text of few words in Latin letters is never called foreign.
    """
    is_latin = all(letter <= LAST_LATIN for letter in text if letter.isalpha())
    if not re.search(r"\w", text) or (is_latin and len(text.split()) < MIN_WORDS):
        return False
    ranked = dict(_identifier().rank(text))
    return bool(max(ranked.values()) >= LANGUAGE_ODDS * ranked[LANGUAGE])


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _tokenizer() -> SimpleTokenizer:
    """Return CLIP's tokenizer, of one file: the whole of open_clip takes many seconds to import."""
    folder = find_spec("open_clip").submodule_search_locations[0]  # type: ignore[union-attr,index]
    spec = spec_from_file_location("open_clip_tokenizer", Path(folder) / "tokenizer.py")
    module = module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    tokenizer: SimpleTokenizer = module.SimpleTokenizer()
    return tokenizer
