"""The result in words says what the numbers say."""

from typing import Any

import pytest

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.metrics import Score, write_scores
from tasks.reporting.design import design_caution, design_warning
from tasks.reporting.glossary import meaning
from tasks.reporting.summary import facts, limits, result
from tests.reporting.fabricated import get, put
from tests.reporting.runs import load


def say(artifacts: Artifacts, scores: dict[str, Score]) -> str:
    write_scores(artifacts.evaluate_metrics, scores)
    return " ".join(result(load(artifacts))).replace("\N{NO-BREAK SPACE}", " ")


def recall(**changes: Any) -> dict[str, Score]:
    known = {"value": 0.6, "n": 200, "low": 0.5, "high": 0.7, "chance": 0.025}
    return {"concept_recall_at_1_of_40": Score(**known | changes)}


def test_identification_with_all_it_is_compared_with(artifacts: Artifacts) -> None:
    text = say(artifacts, recall(ceiling=0.8, control=0.02, control_low=0.01, control_high=0.03))
    assert text == (
        "From single EEG trials of pictures that it has never met, the encoder names the right "
        "concept out of 40 in 60.0 % (95 % interval 50.0 to 70.0 %) of 200 trials. "
        "Chance is 2.5 %, shuffled EEG gives 2.0 % and the best possible decoder reaches 80.0 %, "
        "so this is 75.0 % of what can be reached. "
        "No score of pictures from shuffled EEG has a test against chance."
    )


def test_no_difference_from_chance_is_said(artifacts: Artifacts) -> None:
    name = "zero_shot_concept_recall_at_1_of_6"
    score = Score(value=0.2, n=60, low=0.1, high=0.3, chance=1 / 6)
    text = say(artifacts, {name: score})
    assert "Of 6 concepts that were never in training it names the right one in 20.0 %" in text
    assert "not told from chance" in text
    text = say(artifacts, recall(low=0.01, high=0.8))
    assert "The score is not told from chance." in text


def test_scores_of_shuffled_eeg_are_one_family_and_named(artifacts: Artifacts) -> None:
    low = Score(value=0.5, n=9, chance=0.5, low=0.4, high=0.6, p_value=0.5)
    lucky = Score(value=0.63, n=9, chance=0.5, low=0.51, high=0.7, p_value=0.03)
    high = lucky.model_copy(update={"p_value": 0.001})
    clarity = Score(value=9, n=9, chance=1, low=8, high=10, unit="score")
    family = {f"n_way_{n}_top1_judge_shuffled_eeg": low for n in (2, 10)}
    family |= {"two_way_clip_shuffled_eeg": lucky, "inception_score_judge_shuffled_eeg": clarity}
    others = {"judged_concept_accuracy_stimuli": high}  # what pictures show is no matter of chance
    text = say(artifacts, family | others)
    assert "Of 3 scores of pictures from shuffled EEG" in text
    assert "none is told from chance (p-values by Holm over all of them)" in text
    text = say(artifacts, family | others | {"two_way_clip_shuffled_eeg": high})
    assert "1 is better than chance and deserve" in text
    assert "(63.0 %, chance 50.0 %)." in text


def test_pictures_beside_their_conditions(artifacts: Artifacts) -> None:
    names = ("decoded", "true_captions", "shuffled_eeg")
    scores = {
        f"judged_concept_accuracy_{name}": Score(value=value, n=9)
        for name, value in zip(names, (0.5, 0.9, 0.03), strict=True)
    }
    assert (
        "sees the right object in 50.0 % of the pictures drawn from decoded captions, against "
        "90.0 % of those from the true captions and 3.0 % of those from shuffled EEG."
    ) in say(artifacts, scores)


def test_no_scores_no_claim(artifacts: Artifacts) -> None:
    assert say(artifacts, {}) == (
        "No score was computed for this study, so nothing can be said about decoding."
    )


def test_facts_count_what_the_tables_hold(artifacts: Artifacts) -> None:
    study = load(artifacts)
    found = {fact.name: fact for fact in facts(study)}
    n_kept = int(study.trials["kept"].sum())
    assert found["Trials"].value == str(len(study.trials))
    assert found["Trials"].note == f"{n_kept} kept, {len(study.trials) - n_kept} rejected"
    assert found["Stimuli"].note == "8 train, 4 validation, 8 test, 4 zero-shot"
    assert found["Channels"].value == "128"
    assert found["Design"].value == "Mixed"


def test_a_blocked_design_is_called_so_and_warned_of(artifacts: Artifacts) -> None:
    concepts = sorted({row["concept"] for row in get(artifacts, "trials")})
    rows = get(artifacts, "trials")
    blocked = [row | {"block": concepts.index(row["concept"])} for row in rows]
    put(artifacts, "trials", blocked)
    study = load(artifacts)
    assert {fact.name: fact.value for fact in facts(study)}["Design"] == "Blocked"
    assert limits(study)[0].startswith("Block design: the trials of a concept follow each other")
    assert design_warning(study) == limits(study)[0]
    assert design_caution(study) == "block design"


def test_trials_of_a_concept_in_a_row_are_a_block_design_too(artifacts: Artifacts) -> None:
    rows = get(artifacts, "trials")
    assert design_warning(load(artifacts)) is None
    ordered = sorted(rows, key=lambda row: (row["recording_id"], row["concept"]))
    put(artifacts, "trials", [row | {"presentation_order": i} for i, row in enumerate(ordered)])
    assert str(design_warning(load(artifacts))).startswith("Block design")


def test_an_order_that_was_not_published_is_said_so(artifacts: Artifacts) -> None:
    rows = get(artifacts, "recordings")
    put(artifacts, "recordings", [row | {"timed": False} for row in rows])
    study = load(artifacts)
    warning = design_warning(study)
    assert design_caution(study) == "order unknown"
    assert warning == (
        "The order of presentation was not published: whether class and time are confounded cannot "
        "be told."
    )


@pytest.mark.parametrize(("dataset", "simulated"), [("simulated", True), ("eegcvpr", False)])
def test_simulated_data_are_called_so(artifacts: Artifacts, dataset: str, simulated: bool) -> None:
    rows = get(artifacts, "recordings")
    put(artifacts, "recordings", [row | {"dataset": dataset} for row in rows])
    said = any("The EEG is simulated" in limit for limit in limits(load(artifacts)))
    assert said == simulated


def test_people_never_seen_are_spoken_of_only_where_there_are_some(artifacts: Artifacts) -> None:
    def says() -> bool:
        return any("people it has never seen" in limit for limit in limits(load(artifacts)))

    assert says()
    rows = get(artifacts, "trials")
    for row in rows:
        row["split"] = "test" if row["subject"] == "sub-03" else "train"
    put(artifacts, "trials", rows)
    assert not says()


def test_known_pictures_are_warned_of_and_named(artifacts: Artifacts) -> None:
    rows = get(artifacts, "trials")
    known = {row["stimulus_id"] for row in rows if row["split"] == "test"}
    first = {row["stimulus_id"]: row["trial_id"] for row in reversed(rows)}.values()
    held_out = [row for row in rows if row["split"] == "test"]
    for row in held_out:
        row["split"] = "train" if row["trial_id"] in first else "test"
    put(artifacts, "trials", rows)
    study = load(artifacts)
    assert (
        limits(study)[0]
        == design_warning(study)
        == (
            f"Repeated stimuli: {len(known)} held-out pictures were in training too, because the split "
            "holds out parts of the recordings or subjects, not pictures. Every score is one of "
            "identification among known pictures and says nothing of new ones."
        )
    )
    score = Score(value=0.5, n=10, chance=0.1)
    assert say(artifacts, {"known_concept_recall_at_1_of_40": score}).startswith(
        "From single EEG trials of pictures that were in training too, the encoder names the right "
        "concept out of 40 in 50.0 % of 10 trials."
    )
    found = meaning("known_concept_recall_at_1_of_40")
    assert (found.group, found.label) == ("known", "Right concept out of 40 (known pictures)")
