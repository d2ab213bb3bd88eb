"""No sentence of the committed scores contradicts a number, its interval or its p-value, and the page says the same."""

import html
import re
from pathlib import Path

import pytest

from tasks.artifacts.metrics import Score, read_scores
from tasks.statistics.permutation import SIGNIFICANCE
from tasks.statistics.verdicts import beats_chance, deciding
from tests.conftest import REPOSITORY

METRICS = sorted((REPOSITORY / "reports" / "metrics").glob("*.json"))
PAGE = REPOSITORY / "reports" / "index.html"
NEEDS_NO_NUMBER = {"explained_by_drift", "explained_by_leakage"}  # 0 or 1: no or yes


def all_scores() -> dict[tuple[str, str], Score]:
    return {(path.stem, name): s for path in METRICS for name, s in read_scores(path).items()}


SCORES = all_scores()


def written(value: float) -> set[str]:
    """Return the ways in which a value is written in sentences."""
    whole = {f"{value:.0f}"} if value.is_integer() else set()
    shares = {f"{100 * value:.{digits}f}%" for digits in (0, 1)}
    return whole | shares | {f"{value:.{digits}f}" for digits in (1, 2, 3)}


def contradictions(name: str, score: Score) -> list[str]:
    """Return what a score says of itself that its numbers do not bear out."""
    found, said, p_value = [], score.verdict, deciding(score)
    bounded = score.low is not None and score.high is not None
    if bounded and not score.low <= score.value <= score.high:
        found.append("the value lies outside the interval")
    bound = re.search(r"at (most|least) (-?[\d.]+) \(95 % (?:upper|lower) bound", said)
    if bound and bounded:
        due = score.high if bound[1] == "most" else score.low
        if bound[2] != f"{due:.3f}":
            found.append(f"the bound is {due:.3f}")
    p_said = re.search(r"\(p = ([\d.e-]+\d)", said)
    if p_said and p_value is not None and p_said[1] != f"{p_value:.2g}":
        found.append(f"p is {p_value:.2g}")
    better, missed = (
        "Better than" in said,
        bool(re.search(r"Not told from|cannot tell|at most -?\d", said)),
    )
    if p_value is not None and (better or missed) and beats_chance(score) != better:
        found.append("the sentence has another state than interval and p-value")
    one_sided = score.chance is None or not bounded or not score.low <= score.chance <= score.high
    if (
        p_value is not None
        and p_value < SIGNIFICANCE
        and not one_sided
        and "but the interval" not in said
    ):
        found.append("the p-value is small, the interval holds chance, and nobody says so")
    return found


def test_no_sentence_contradicts_its_numbers() -> None:
    assert len(SCORES) > 400
    found = {name: c for (_, name), score in SCORES.items() if (c := contradictions(name, score))}
    assert not found


def test_every_sentence_of_the_audit_names_its_value() -> None:
    audit = {name: score for (stage, name), score in SCORES.items() if stage == "audit"}
    silent = {
        name: (score.value, score.verdict)
        for name, score in audit.items()
        if re.search(r"\d", score.verdict)
        and name not in NEEDS_NO_NUMBER
        and not any(text in score.verdict for text in written(score.value))
    }
    assert not silent


def test_the_encoder_has_one_score_in_every_sentence_of_the_audit() -> None:
    audit = {name: score for (stage, name), score in SCORES.items() if stage == "audit"}
    value = f"{audit['encoder'].value:.3f}"
    said = r"(?:the encoder, which scores|the true order scores|The encoder names the concept in) ([\d.]+)"
    quoted = {name: re.findall(said, score.verdict) for name, score in audit.items()}
    assert sum(map(len, quoted.values())) >= 3
    assert {text for texts in quoted.values() for text in texts} == {value}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.9},
        {"verdict": "It scores 0.100 (chance 0.100); at most 0.150 (95 % upper bound; p = 0.5)."},
        {"verdict": "It scores 0.100; at most 0.120 (95 % upper bound; stimuli) (p = 0.04)."},
        {"verdict": "Better than the same predictions for shuffled stimuli (p = 0.5)."},
        {"p_value": 0.01, "verdict": "It scores 0.100 (p = 0.01)."},
    ],
)
def test_a_contradiction_is_seen(changes: dict) -> None:
    verdict = "It scores 0.100 (chance 0.100); at most 0.120 (95 % upper bound; p = 0.5)."
    right = Score(value=0.1, n=9, chance=0.1, low=0.08, high=0.12, p_value=0.5, verdict=verdict)
    assert not contradictions("mine", right)
    assert contradictions("mine", right.model_copy(update=changes))


def test_the_page_says_what_the_scores_say() -> None:
    if not PAGE.exists() or any(path.stat().st_mtime > PAGE.stat().st_mtime for path in METRICS):
        pytest.skip("no page made of these scores: run make repro")
    text = html.unescape(re.sub(r"<[^>]+>", "", Path(PAGE).read_text(encoding="utf-8")))
    assert not [
        name for (_, name), score in SCORES.items() if score.verdict and score.verdict not in text
    ]
