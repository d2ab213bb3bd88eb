"""Scores as rows of the report: in words, with everything that each must be compared with."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tasks.artifacts.metrics import COUNTED, DERIVED, PERMUTATIONS, Score
from tasks.reporting.bars import Bar, bar
from tasks.reporting.formats import interval, number, probability
from tasks.reporting.glossary import (
    CONDITIONS,
    CONTROLLED,
    CONTROLS,
    GROUPS,
    Meaning,
    control_words,
    meaning,
)
from tasks.statistics.resampling import MEASURED_COVERAGE, STIMULI
from tasks.statistics.verdicts import deciding


@dataclass(frozen=True)
class ScoreRow:
    """One score and how to say it.

    Attributes
    ----------
    name
        Key in the metrics file.
    score
        The numbers.
    meaning
        Group, label and explanation.
    value, interval, chance, ceiling, control, control_interval, share_of_ceiling, p_value
        Numbers as text: a dash or nothing where one is unknown.
    real
        The score that this one controls; empty: it controls none.
    bar
        Marks on the score's axis.
    """

    name: str
    score: Score
    meaning: Meaning
    value: str
    interval: str
    chance: str
    ceiling: str
    control: str
    control_interval: str
    share_of_ceiling: str
    p_value: str
    real: str
    bar: Bar

    @property
    def comparison(self) -> str:
        """What the value must be compared with, as far as it is known."""
        bounds = [f"{_kind_of_interval(self.score)} {self.interval}"] if self.interval else []
        marks = [
            f"{word} {text}"
            for word, mark, text in (
                ("chance", self.score.chance, self.chance),
                ("ceiling", self.score.ceiling, self.ceiling),
                ("shuffled EEG", self.score.control, self.control),
            )
            if mark is not None
        ]
        real = [f"real score {self.real}"] if self.real else []
        p_value = [self.p_value] if self.p_value else []
        none = [_WITHOUT[self.score.resampled]] if self.score.resampled in _WITHOUT else []
        return ", ".join([*bounds, *marks, *real, *p_value, *none, f"n = {self.score.n:,}"])


_WITHOUT = {COUNTED: "counted, not estimated", DERIVED: "follows from other scores"}


def _kind_of_interval(score: Score) -> str:
    """Say what an interval is: a range of a few runs is no confidence interval."""
    if score.resampled.startswith("range"):
        return score.resampled
    if score.resampled in ("", PERMUTATIONS):
        return "95 % interval"
    return f"95 % interval over {score.resampled}{coverage_in_words(score.resampled)}"


def coverage_in_words(resampled: str) -> str:
    """Say how often such intervals held the truth in simulated studies; empty where none were.

    Of a number of subjects that was not simulated, the next smaller one counts.
    """
    found = re.fullmatch(rf"{STIMULI}(?: of one subject| and (\d+) subjects)?", resampled)
    if found is None:
        return ""
    n_subjects = max(n for n in MEASURED_COVERAGE if n <= int(found[1] or 1))
    held = number(MEASURED_COVERAGE[n_subjects], "share")
    return f" (held the truth in {held} of simulated studies)"


@dataclass(frozen=True)
class ScoreGroup:
    """Scores that answer one question.

    Attributes
    ----------
    heading, intro
        The question, and how it is asked.
    ceiling
        What the best possible value is called.
    rows
        Scores of the whole.
    details
        Scores of parts, such as single heads.
    """

    heading: str
    intro: str
    ceiling: str
    rows: tuple[ScoreRow, ...]
    details: tuple[ScoreRow, ...]


def score_row(name: str, score: Score, real: Score | None = None) -> ScoreRow:
    """Say a score in words and place its marks.

    Parameters
    ----------
    name : str
        Key in the metrics file.
    real : Score or None
        The score that this one controls.
    """
    unit = score.unit
    return ScoreRow(
        name=name,
        score=score,
        meaning=meaning(name),
        value=number(score.value, unit),
        interval=interval(score.low, score.high, unit),
        chance=number(score.chance, unit),
        ceiling=number(score.ceiling, unit),
        control=number(score.control, unit),
        control_interval=interval(score.control_low, score.control_high, unit),
        share_of_ceiling=number(share_of_ceiling(score), "share"),
        p_value=_probability(score),
        real="" if real is None else number(real.value, unit),
        bar=bar(score, None if real is None else real.value),
    )


def _probability(score: Score) -> str:
    """Return the p-value as text, the adjusted one where several tests are one question, and its family."""
    p_value = deciding(score)
    if p_value is None:
        return ""
    exchanged = f"{score.exchanged} exchanged" if score.exchanged else ""
    family = f"Holm over {score.n_tests} tests" if score.p_holm is not None else ""
    notes = ", ".join(note for note in (family, exchanged) if note)
    return f"{probability(p_value)} ({notes})" if notes else probability(p_value)


def share_of_ceiling(score: Score) -> float | None:
    """Return value over ceiling, or None where the ratio means nothing."""
    if score.unit != "share" or score.lower_is_better or not score.ceiling:
        return None
    return score.value / score.ceiling


def score_rows(scores: Mapping[str, Score]) -> list[ScoreRow]:
    """Return one row per score: numbers in names in their order, conditions as they are shown."""
    return [score_row(name, scores[name]) for name in sorted(scores, key=_order)]


@dataclass(frozen=True)
class ControlFamily:
    """Controls that ask one question."""

    heading: str
    rows: tuple[ScoreRow, ...]


def control_families(controls: Mapping[str, Score]) -> list[ControlFamily]:
    """Return the controls of the audit by question, each beside the score that it controls."""
    names = [name for name in CONTROLS if name in controls]
    names += sorted(set(controls) - set(names), key=_order)
    real = controls.get(CONTROLLED)
    rows: dict[str, list[ScoreRow]] = {}
    for name in names:
        about = control_words(name)
        row = score_row(name, controls[name], real if about.on_same_scale else None)
        rows.setdefault(about.family, []).append(row)
    return [ControlFamily(heading, tuple(found)) for heading, found in rows.items()]


def grouped(scores: Mapping[str, Score]) -> list[ScoreGroup]:
    """Return scores by the question that they answer, in the order of `GROUPS`."""
    rows = score_rows(scores)
    groups = []
    for key, group in GROUPS.items():
        found = [row for row in rows if row.meaning.group == key]
        whole = tuple(row for row in found if not row.meaning.is_detail)
        details = tuple(row for row in found if row.meaning.is_detail)
        if found:
            groups.append(ScoreGroup(group.heading, group.intro, group.ceiling, whole, details))
    return groups


def scores_csv(scores: Mapping[str, Score], caution: str = "") -> str:
    """Return scores as CSV: one row each, every field at full precision, empty where unknown.

    Parameters
    ----------
    caution : str
        What the design of the study makes of each of them; empty: nothing.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, ["name", *Score.model_fields, "caution"], lineterminator="\n")
    writer.writeheader()
    for name, score in scores.items():
        writer.writerow({"name": name, **score.model_dump(), "caution": caution})
    return text.getvalue()


def csv_uri(text: str) -> str:
    """Return CSV text as a data URI that a link can download."""
    return f"data:text/csv;charset=utf-8,{quote(text)}"


def _order(name: str) -> list[tuple[int, str]]:
    for place, condition in enumerate(CONDITIONS):
        name = name.replace(condition, str(place))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
