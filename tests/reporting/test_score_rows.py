"""Scores read well, lie where they belong on their axes, and are compared honestly."""

import json
from pathlib import Path

import pytest

from tasks.artifacts.metrics import Score
from tasks.reporting.bars import bar
from tasks.reporting.formats import sentence
from tasks.reporting.glossary import meaning
from tasks.reporting.score_rows import (
    control_families,
    grouped,
    score_row,
    share_of_ceiling,
)
from tasks.statistics.verdicts import reading


def test_a_row_says_everything_that_is_known() -> None:
    score = Score(
        value=0.623, n=1215, low=0.58, high=0.66, chance=0.025, ceiling=0.85,
        control=0.024, control_low=0.01, control_high=0.04, p_value=0.0004,
    )  # fmt: skip
    row = score_row("concept_recall_at_1_of_40", score)
    assert row.meaning.label == "Right concept out of 40"
    assert row.value == "62.3\N{NO-BREAK SPACE}%"
    assert row.share_of_ceiling == "73.3\N{NO-BREAK SPACE}%"
    assert row.control_interval == "1.0 to 4.0\N{NO-BREAK SPACE}%"
    assert row.comparison.replace("\N{NO-BREAK SPACE}", " ") == (
        "95 % interval 58.0 to 66.0 %, chance 2.5 %, ceiling 85.0 %, shuffled EEG 2.4 %, "
        "p < 0.001, n = 1,215"
    )


def test_a_row_is_silent_about_what_is_unknown() -> None:
    row = score_row("concept_recall_at_1_of_40", Score(value=0.5, n=8))
    assert (row.chance, row.ceiling, row.share_of_ceiling) == ("–", "–", "–")
    assert (row.interval, row.p_value) == ("", "")
    assert row.comparison == "n = 8"


def test_shares_lie_between_zero_and_one() -> None:
    marks = bar(Score(value=0.5, n=8, low=0.25, high=0.75, chance=0.1, ceiling=1.0, control=0.0))
    assert (marks.start, marks.length, marks.value) == (0, 50, 50)
    assert (marks.low, marks.high, marks.chance, marks.ceiling, marks.control) == (
        25,
        75,
        10,
        100,
        0,
    )


@pytest.mark.parametrize(
    ("score", "start", "value"),
    [
        (Score(value=-0.5, n=8, unit="correlation"), 25, 25),
        (Score(value=0.5, n=8, unit="correlation"), 0, 50),
        (Score(value=10, n=8, chance=20, unit="rank"), 0, 45.45),
        (Score(value=-5, n=8, unit="bits"), 9.09, 9.09),
        (Score(value=0, n=8, unit="distance"), 0, 0),
    ],
)
def test_other_units_lie_around_zero(score: Score, start: float, value: float) -> None:
    assert (bar(score).start, bar(score).value) == (start, value)


def test_every_mark_lies_on_the_axis() -> None:
    for unit in ("share", "rank", "distance", "correlation"):
        marks = bar(Score(value=0.3, n=8, low=-0.2, high=0.9, chance=0, ceiling=1, unit=unit))
        places = [marks.start, marks.value, marks.low, marks.high, marks.chance, marks.ceiling]
        assert all(place is not None and 0 <= place <= 100 for place in places)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (Score(value=0.5, n=8, low=0.4, high=0.6, chance=0.1), "better than chance"),
        (Score(value=0.5, n=8, low=0.4, high=0.6, chance=0.45), "not told from chance"),
        (Score(value=0.5, n=8, low=0.4, high=0.6, chance=0.8), "worse than chance"),
        (Score(value=5, n=8, low=4, high=6, chance=9, lower_is_better=True), "better than chance"),
        (Score(value=5, n=8, low=4, high=6, chance=2, lower_is_better=True), "worse than chance"),
        (Score(value=0.5, n=8, low=0.4, high=0.6, chance=0.1, p_value=0.2), "not told from chance"),
        (Score(value=0.5, n=8, chance=0.1), ""),
    ],
)
def test_reading(score: Score, expected: str) -> None:
    assert reading(score) == expected


def test_p_value_stands_with_its_family_and_what_was_exchanged() -> None:
    found = Score(value=0.5, n=8, p_value=0.004, exchanged="stimuli")
    assert score_row("a", found).p_value == "p = 0.004 (stimuli exchanged)"
    family = found.model_copy(update={"p_holm": 0.04, "n_tests": 10})
    assert score_row("a", family).p_value == "p = 0.040 (Holm over 10 tests, stimuli exchanged)"


def test_share_of_ceiling_exists_for_shares_alone() -> None:
    assert share_of_ceiling(Score(value=0.3, n=8, ceiling=0.6)) == 0.5
    assert share_of_ceiling(Score(value=0.3, n=8, ceiling=0)) is None
    assert share_of_ceiling(Score(value=0.3, n=8, ceiling=0.6, unit="cosine")) is None
    assert share_of_ceiling(Score(value=0.3, n=8, ceiling=0.6, lower_is_better=True)) is None


def test_groups_hold_every_score_once_in_a_readable_order() -> None:
    names = [
        "fid_clip_shuffled_eeg",
        "fid_clip_decoded",
        "fid_clip_true_captions",
        "concept_recall_at_10_of_40",
        "concept_recall_at_5_of_40",
        "concept_recall_at_5_of_40_ObjectSnap",
        "zero_shot_concept_recall_at_1_of_6",
        "judged_concept_accuracy_decoded",
        "something_new",
    ]
    groups = grouped({name: Score(value=0.5, n=8) for name in names})
    rows = {g.heading: [row.name for row in g.rows] for g in groups}
    assert rows == {
        "Which caption fits?": ["concept_recall_at_5_of_40", "concept_recall_at_10_of_40"],
        "And for concepts it has never met?": ["zero_shot_concept_recall_at_1_of_6"],
        "What do the pictures show?": ["judged_concept_accuracy_decoded"],
        "How do the pictures look?": [
            "fid_clip_decoded",
            "fid_clip_true_captions",
            "fid_clip_shuffled_eeg",
        ],
        "Further scores": ["something_new"],
    }
    assert [row.name for row in groups[0].details] == ["concept_recall_at_5_of_40_ObjectSnap"]


def test_controls_stand_beside_the_score_that_they_control() -> None:
    names = ["a_new_one", "encoder", "explained_by_drift", "noise_eeg"]
    scores = {name: Score(value=0.5, n=8) for name in names} | {"encoder": Score(value=0.75, n=8)}
    families = control_families(scores)
    assert [family.heading for family in families] == [
        "The verdict",
        "Does the score need the EEG?",
        "Further controls",
    ]
    rows = [row for family in families for row in family.rows]
    assert [row.name for row in rows] == ["explained_by_drift", "encoder", "noise_eeg", "a_new_one"]
    real = "75.0\N{NO-BREAK SPACE}%"
    assert [row.real for row in rows] == ["", "", real, ""]
    assert [row.bar.real for row in rows] == [None, None, 75, None]
    assert "real score" in rows[2].comparison


@pytest.mark.parametrize("stage", ["evaluate", "explain", "check_captions", "audit"])
def test_every_committed_score_is_named_in_words(stage: str, repository: Path) -> None:
    names = json.loads((repository / f"reports/metrics/{stage}.json").read_text())
    assert [name for name in names if meaning(name).label == sentence(name)] == []
