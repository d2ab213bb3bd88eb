"""What each split promises."""

from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.eeg.splits import ConceptSplit, ImageSplit, SplitError, SplitParams, assign_splits

IMAGE = ImageSplit(
    strategy="image", seed=0, zero_shot_fraction=0.15, test_fraction=0.2, validation_fraction=0.1
)
CONCEPT = ConceptSplit(strategy="concept", seed=0, zero_shot_fraction=0.2, validation_fraction=0.1)


def make_stimuli(n_concepts: int = 40, n_images: int = 20) -> pa.Table:
    rows = [(f"c{c}_{i}", f"c{c}") for c in range(n_concepts) for i in range(n_images)]
    return pa.table({"stimulus_id": [r[0] for r in rows], "concept": [r[1] for r in rows]})


def make_trials(stimuli: pa.Table, n_subjects: int = 2, n_repetitions: int = 2) -> pa.Table:
    shown = stimuli["stimulus_id"].to_pylist() * (n_subjects * n_repetitions)
    return pa.table({"stimulus_id": shown})


def parts(trials: pa.Table, splits: list[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for name, split in zip(trials["stimulus_id"].to_pylist(), splits, strict=True):
        found[split].add(name)
    return found


def concepts(names: set[str]) -> set[str]:
    return {name.split("_")[0] for name in names}


@pytest.mark.parametrize("params", [IMAGE, CONCEPT])
def test_a_stimulus_is_in_one_part_and_a_zero_shot_concept_in_no_other(params: SplitParams) -> None:
    stimuli = make_stimuli()
    trials = make_trials(stimuli)
    found = parts(trials, assign_splits(trials, stimuli, params))
    assert sum(map(len, found.values())) == stimuli.num_rows
    others = set().union(*(names for split, names in found.items() if split != "zero_shot"))
    assert found["zero_shot"]
    assert not concepts(found["zero_shot"]) & concepts(others)


def test_the_image_split_is_stratified() -> None:
    stimuli = make_stimuli()
    splits = assign_splits(stimuli, stimuli, IMAGE)
    found = parts(stimuli, splits)
    assert len(concepts(found["zero_shot"])) == 6
    for split, n in {"train": 14, "test": 4, "validation": 2}.items():
        counts = Counter(name.split("_")[0] for name in found[split])
        assert set(counts.values()) == {n}
        assert len(counts) == 34


def test_concepts_of_few_images_add_up_to_the_fraction() -> None:
    stimuli = make_stimuli(n_concepts=1000, n_images=3)
    counts = Counter(assign_splits(stimuli, stimuli, IMAGE))
    assert counts["test"] / (3000 * 0.85) == pytest.approx(0.2, abs=0.02)


def test_more_subjects_or_concepts_move_no_stimulus() -> None:
    stimuli, more = make_stimuli(40), make_stimuli(41)
    few, many = make_trials(stimuli, 1), make_trials(stimuli, 5)
    splits = assign_splits(few, stimuli, IMAGE)
    assert assign_splits(many, stimuli, IMAGE)[: len(splits)] == splits
    reversed_rows = stimuli.take(list(range(stimuli.num_rows))[::-1])
    assert assign_splits(few, reversed_rows, IMAGE) == splits
    grown = assign_splits(more, more, IMAGE)[: stimuli.num_rows]
    moved = sum(a != b for a, b in zip(grown, splits[: len(grown)], strict=True))
    assert moved <= 2 * 20  # a new concept can at most trade places with one held-out concept


def test_the_seed_decides() -> None:
    stimuli = make_stimuli()
    other = IMAGE.model_copy(update={"seed": 1})
    assert assign_splits(stimuli, stimuli, IMAGE) != assign_splits(stimuli, stimuli, other)


def test_the_concept_split_validates_on_concepts_of_its_own() -> None:
    stimuli = make_stimuli()
    found = parts(stimuli, assign_splits(stimuli, stimuli, CONCEPT))
    assert {split: len(concepts(names)) for split, names in found.items()} == {
        "zero_shot": 8,
        "validation": 4,
        "train": 28,
    }
    assert not concepts(found["validation"]) & concepts(found["train"])


def test_nothing_to_train_on_is_refused() -> None:
    stimuli = make_stimuli(n_concepts=1)
    greedy = ConceptSplit(
        strategy="concept", seed=0, zero_shot_fraction=0.9, validation_fraction=0.0
    )
    with pytest.raises(SplitError) as error:
        assign_splits(stimuli, stimuli, greedy)
    assert str(error.value) == (
        "The split 'concept' must leave trials to train on; it leaves none of 20. "
        "Lower the fractions in preprocess.split."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_fraction": 0.95}, "must add up to less than 1"),
        ({"strategy": "official"}, "does not match any of the expected tags: 'image', 'concept'"),
        ({"test_fraction": -0.1}, "greater than or equal to 0"),
    ],
)
def test_impossible_params_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SplitParams).validate_python(IMAGE.model_dump() | change)
