"""What each split promises."""

from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.eeg.splits import (
    ConceptSplit,
    ImageSplit,
    OfficialSplit,
    SplitError,
    SplitParams,
    SubjectSplit,
    TimeChunkSplit,
    assign_splits,
    fitted_on,
    named_by_training,
)

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
        "Change preprocess.split: smaller fractions, for instance."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_fraction": 0.95}, "must add up to less than 1"),
        (
            {"strategy": "odd"},
            "does not match any of the expected tags: 'image', 'concept', 'official'",
        ),
        ({"test_fraction": -0.1}, "greater than or equal to 0"),
    ],
)
def test_impossible_params_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SplitParams).validate_python(IMAGE.model_dump() | change)


def test_the_official_split_is_taken_and_validation_drawn_where_there_is_none() -> None:
    stimuli = make_stimuli(n_concepts=10)
    published = ["test" if c == "c0" else "train" for c in stimuli["concept"].to_pylist()]
    stimuli = stimuli.append_column("official_split", pa.array(published))
    params = OfficialSplit(strategy="official", seed=0, validation_fraction=0.1)
    found = parts(stimuli, assign_splits(stimuli, stimuli, params))
    assert concepts(found["test"]) == {"c0"}
    assert {split: len(names) for split, names in found.items()} == {
        "train": 162,
        "validation": 18,
        "test": 20,
    }
    published[30:35] = ["validation"] * 5
    stimuli = stimuli.set_column(2, "official_split", pa.array(published))
    found = parts(stimuli, assign_splits(stimuli, stimuli, params))
    assert found["validation"] == set(stimuli["stimulus_id"].to_pylist()[30:35])


def test_an_official_split_may_leave_a_subject_out_as_well() -> None:
    stimuli = make_stimuli(n_concepts=10)
    published = ["test" if c == "c0" else "train" for c in stimuli["concept"].to_pylist()]
    stimuli = stimuli.append_column("official_split", pa.array(published))
    shown = make_trials(stimuli, n_subjects=3, n_repetitions=1)
    subjects = [f"sub-{n}" for n in range(3) for _ in range(200)]
    trials = shown.append_column("subject", pa.array(subjects))
    params = OfficialSplit(
        strategy="official", seed=0, validation_fraction=0.1, test_subject="sub-1"
    )
    whole = assign_splits(trials, stimuli, params.model_copy(update={"test_subject": None}))
    splits = assign_splits(trials, stimuli, params)
    for subject in ("sub-0", "sub-1", "sub-2"):
        rows = [i for i, name in enumerate(subjects) if name == subject]
        kept = {"test"} if subject == "sub-1" else {"train", "validation"}
        assert [splits[i] for i in rows] == [whole[i] if whole[i] in kept else "none" for i in rows]
    looked_at = fitted_on(splits, subjects)
    assert [s for s, chosen in zip(whole, looked_at, strict=True) if chosen].count("test") == 0
    own = [chosen for chosen, name in zip(looked_at, subjects, strict=True) if name == "sub-1"]
    assert sum(own) == 180  # its training pictures, which nobody is scored by
    others = [i for i, name in enumerate(subjects) if name != "sub-1"]
    assert all(looked_at[i] == (splits[i] == "train") for i in others)
    with pytest.raises(SplitError, match=r"must be a subject of the study: sub-0, sub-1, sub-2; "):
        assign_splits(trials, stimuli, params.model_copy(update={"test_subject": "sub-9"}))


@pytest.mark.parametrize("part", ["", "none", "Testing"])
def test_a_shown_stimulus_without_an_official_split_is_refused(part: str) -> None:
    stimuli = make_stimuli(n_concepts=2)
    published = ["train"] * 39 + [part]
    stimuli = stimuli.append_column("official_split", pa.array(published))
    params = OfficialSplit(strategy="official", seed=0, validation_fraction=0.1)
    assert "train" in assign_splits(stimuli.slice(0, 39), stimuli, params)
    with pytest.raises(SplitError, match=r"must have an official split, .* 1 have not: c1_19 \("):
        assign_splits(stimuli, stimuli, params)


def test_a_left_out_subject_is_the_test_part_and_nothing_else() -> None:
    stimuli = make_stimuli()
    shown = make_trials(stimuli, n_subjects=3, n_repetitions=1)
    subjects = [f"sub-0{i // stimuli.num_rows + 1}" for i in range(shown.num_rows)]
    trials = shown.append_column("subject", pa.array(subjects))
    params = SubjectSplit(
        strategy="subject", seed=0, test_subject="sub-02", validation_fraction=0.1
    )
    splits = assign_splits(trials, stimuli, params)
    assert [s == "test" for s in splits] == [s == "sub-02" for s in subjects]
    found = parts(trials, splits)
    assert len(found["validation"]) == 80
    assert not found["validation"] & found["train"]
    with pytest.raises(SplitError, match="sub-01, sub-02, sub-03; it is 'sub-09'"):
        assign_splits(trials, stimuli, params.model_copy(update={"test_subject": "sub-09"}))


CHUNKS = TimeChunkSplit(
    strategy="time_chunk", n_chunks=5, test_chunk=4, validation_chunk=2, guard_s=3.0
)


def make_timed() -> pa.Table:
    """Return trials of two recordings: one a second for 100 s, and one each two seconds from 50 s on."""
    onsets_s = [float(i) for i in range(101)] + [50.0 + 2 * i for i in range(101)]
    names = ["a"] * 101 + ["b"] * 101
    return pa.table({"recording_id": names, "onset_s": onsets_s})


def test_time_chunks_are_parted_by_a_guard() -> None:
    trials = make_timed()
    splits = assign_splits(trials, make_stimuli(), CHUNKS)
    first = splits[:101]
    assert [i for i, s in enumerate(first) if s == "test"] == list(range(83, 101))
    assert [i for i, s in enumerate(first) if s == "validation"] == list(range(43, 58))
    guard = {*range(38, 43), *range(58, 63), *range(78, 83)}
    assert {i for i, s in enumerate(first) if s == "none"} == guard
    assert first[20] == "train"  # a border between two training chunks
    second = {
        split: [50 + 2 * i for i, s in enumerate(splits[101:]) if s == split]
        for split in set(splits)
    }
    assert min(second["test"]) == 50 + 160 + 4
    train_s = [t for t in second["train"] if t > 150]
    assert min(train_s) == 50 + 120 + 4
    assert max(train_s) == 50 + 160 - 4


def test_time_chunks_of_an_untimed_recording_are_refused() -> None:
    with pytest.raises(SplitError) as error:
        assign_splits(make_timed(), make_stimuli(), CHUNKS, untimed={"b"})
    assert str(error.value) == (
        "The split 'time_chunk' must know when each trial was recorded; the onsets of 1 recordings "
        "were not published: b. Choose another preprocess.split.strategy."
    )
    other = SubjectSplit(strategy="subject", seed=0, test_subject="s", validation_fraction=0.0)
    trials = pa.table({"stimulus_id": ["c0_0", "c0_1"], "subject": ["s", "t"]})
    assert assign_splits(trials, make_stimuli(), other, untimed={"b"}) == ["test", "train"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_chunk": 5}, "must be less than n_chunks"),
        ({"test_chunk": 2}, "must differ"),
        ({"n_chunks": 2}, "greater than or equal to 3"),
    ],
)
def test_impossible_chunks_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SplitParams).validate_python(CHUNKS.model_dump() | change)


def test_a_part_is_named_by_what_training_saw(caplog) -> None:
    """Drawn into the test part alone, or left without a training trial by rejection: never trained."""
    splits = ["train", "test", "train", "test", "test", "validation", "none"]
    concepts = ["cat", "cat", "dog", "dog", "owl", "owl", "cat"]
    kept = [True, True, False, True, True, True, False]
    assert named_by_training(splits, concepts, kept) == [
        *("train", "test", "train", "zero_shot", "zero_shot", "validation", "none")
    ]
    assert (
        "2 concepts are shown by test trials and by no kept training trial (dog, owl)"
        in caplog.text
    )
    assert named_by_training(splits[:2], concepts[:2], kept[:2]) == splits[:2]
