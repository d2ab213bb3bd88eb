"""The first screen says what scores and controls say, and nothing better."""

from typing import Any

import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import Score, write_scores
from tasks.reporting.definitions import TERMS, explained
from tasks.reporting.glossary import DRIFT, INPUT, LEAK, SCORING
from tasks.reporting.verdict import lights, tiles, verdict
from tests.reporting.fabricated import get, put
from tests.reporting.runs import load

NAME = "concept_recall_at_1_of_40"
GOOD = {"value": 0.62, "n": 200, "low": 0.5, "high": 0.7, "chance": 0.025}


def set_score(artifacts: Artifacts, **changes: Any) -> None:
    write_scores(artifacts.evaluate_metrics, {NAME: Score(**GOOD | changes)})


def set_audit(artifacts: Artifacts, **controls: Score) -> None:
    write_scores(artifacts.audit_metrics, {"encoder": Score(**GOOD), **controls})


def at_chance(value: float, p_holm: float) -> Score:
    return Score(
        value=value,
        n=9,
        chance=0.025,
        low=value - 0.01,
        high=value + 0.01,
        p_value=p_holm,
        p_holm=p_holm,
        n_tests=2,
    )


def states(artifacts: Artifacts) -> dict[str, str]:
    return {light.question: light.state for light in lights(load(artifacts))}


def test_a_success_is_said_beside_guessing_and_the_best_possible(artifacts: Artifacts) -> None:
    set_score(artifacts, ceiling=0.85)
    assert verdict(load(artifacts)) == (
        "Yes: from the simulated EEG of a single look, the encoder names the right object for 62 of 100 pictures "
        "that it has never met; guessing would name 2.5, and no decoder could name more than 85."
    )


def test_real_eeg_is_never_called_simulated_nor_simulated_eeg_real(artifacts: Artifacts) -> None:
    put(
        artifacts,
        "recordings",
        [row | {"dataset": "eegcvpr"} for row in get(artifacts, "recordings")],
    )
    set_score(artifacts)
    study = load(artifacts)
    assert "from the EEG of a single look" in verdict(study)
    assert {tile.term: tile.note for tile in tiles(study)}["ceiling"] == "Not known for this study."


def test_a_score_that_is_not_told_from_chance_is_a_no(artifacts: Artifacts) -> None:
    set_score(artifacts, value=0.03, low=0.01)
    assert verdict(load(artifacts)).startswith("No: from the simulated EEG")


def test_no_score_no_claim(artifacts: Artifacts) -> None:
    write_scores(artifacts.evaluate_metrics, {})
    study = load(artifacts)
    assert (
        verdict(study)
        == "No score was computed for this study, so nothing can be said about decoding."
    )
    assert tiles(study) == []


def test_the_tiles_are_the_score_the_best_baseline_chance_and_the_ceiling(
    artifacts: Artifacts,
) -> None:
    set_score(artifacts, ceiling=0.85)
    values = {
        tile.term: tile.value.replace("\N{NO-BREAK SPACE}", " ") for tile in tiles(load(artifacts))
    }
    assert values == {
        "encoder": "62.0 %",
        "baseline": "20.0 %",
        "chance": "2.5 %",
        "ceiling": "85.0 %",
    }
    set_audit(artifacts)
    assert {tile.term: tile.value for tile in tiles(load(artifacts))}["baseline"] == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("controls", "question", "state"),
    [
        ({"shuffled_eeg": at_chance(0.025, 1.0)}, INPUT, "passed"),
        ({"shuffled_eeg": at_chance(0.3, 0.01)}, INPUT, "failed"),
        (
            {"explained_by_drift": Score(value=0, n=9), "prestimulus": at_chance(0.025, 1.0)},
            DRIFT,
            "passed",
        ),
        (
            {"explained_by_drift": Score(value=0.1, n=9), "prestimulus": at_chance(0.1, 0.01)},
            DRIFT,
            "open",
        ),
        (
            {"explained_by_drift": Score(value=1, n=9), "prestimulus": at_chance(0.62, 0.01)},
            DRIFT,
            "failed",
        ),
        ({"prestimulus": at_chance(0.025, 1.0)}, DRIFT, "not tested"),
        (
            {"explained_by_leakage": Score(value=0, n=9), "stimulus_overlap": Score(value=0, n=9)},
            LEAK,
            "passed",
        ),
        (
            {
                "explained_by_leakage": Score(value=0, n=9),
                "picture_similarity": at_chance(0.3, 0.01),
            },
            LEAK,
            "open",
        ),
        (
            {
                "explained_by_leakage": Score(value=0.2, n=9),
                "stimulus_overlap": Score(value=0.2, n=9),
            },
            LEAK,
            "failed",
        ),
        ({"gallery_permutation": Score(value=0, n=9)}, SCORING, "passed"),
        (
            {"gallery_permutation": Score(value=0, n=9), "batch_dependence": Score(value=0.1, n=9)},
            SCORING,
            "failed",
        ),
    ],
)
def test_a_light_is_what_its_controls_are(
    artifacts: Artifacts, controls: dict[str, Score], question: str, state: str
) -> None:
    set_audit(artifacts, **controls)
    found = states(artifacts)
    assert found.pop(question) == state
    assert set(found.values()) == {"not tested"}
    set_score(artifacts)
    assert verdict(load(artifacts)).startswith("Not yet" if state == "failed" else "Yes")


def test_a_block_design_leaves_the_light_of_drift_open(artifacts: Artifacts) -> None:
    set_audit(artifacts, explained_by_drift=Score(value=0, n=9), prestimulus=at_chance(0.025, 1.0))
    rows = get(artifacts, "trials")
    concepts = sorted({row["concept"] for row in rows})
    put(artifacts, "trials", [row | {"block": concepts.index(row["concept"])} for row in rows])
    assert states(artifacts)[DRIFT] == "open"


@pytest.mark.parametrize("key", TERMS)
def test_each_term_is_found_in_a_text_by_its_name(key: str) -> None:
    name = TERMS[key].name.split(",")[0]
    assert f'popovertarget="term-{key}"' in explained(f"Here {name} is written.")


def test_only_the_first_mention_is_a_button_and_texts_stay_text() -> None:
    text = explained("<b>Chance</b> and chance, but not a mischance")
    assert text.count("<button") == 1
    assert text.startswith("&lt;b&gt;<button")
    assert text.endswith("&lt;/b&gt; and chance, but not a mischance")
