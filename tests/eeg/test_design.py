"""The design of a study shows in the order of its events."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.eeg.design import describe_design


def make_tables(orders: dict[str, list[str]]) -> tuple[pa.Table, pa.Table]:
    """Return events and stimuli; a stimulus is named like its concept, with a number."""
    rows = [
        {"recording_id": name, "presentation_order": i, "stimulus_id": stimulus}
        for name, order in orders.items()
        for i, stimulus in enumerate(order)
    ]
    names = sorted({row["stimulus_id"] for row in rows})
    stimuli = pa.table({"stimulus_id": names, "concept": [name.split("_")[0] for name in names]})
    return pa.Table.from_pylist(rows[::-1]), stimuli


IMAGES = [f"c{c}_{i}" for c in range(40) for i in range(50)]


def test_a_block_design_is_named() -> None:
    design = describe_design(*make_tables({"sub-01": IMAGES, "sub-02": IMAGES}))
    assert design.confounded
    assert design.sentence == (
        "block design: class and time are confounded "
        "(98.0% of trials show the concept of the trial before, 2.5% by chance)"
    )


@pytest.mark.parametrize("n_concepts", [2, 40])
def test_a_random_order_is_not_confounded(n_concepts: int) -> None:
    images = IMAGES[: n_concepts * 50]
    orders = {f"sub-0{s}": list(np.random.default_rng(s).permutation(images)) for s in (1, 2, 3)}
    design = describe_design(*make_tables(orders))
    assert not design.confounded
    assert design.sentence.startswith("mixed order: class and time are not confounded (")


def test_random_order_inside_blocks_of_few_concepts_is_confounded() -> None:
    blocks = [IMAGES[i : i + 100] for i in range(0, 2000, 100)]  # two concepts each
    order = [name for block in blocks for name in np.random.default_rng(0).permutation(block)]
    assert describe_design(*make_tables({"sub-01": order})).confounded


def test_one_class_per_recording_is_confounded() -> None:
    orders = {f"run-{c}": IMAGES[c * 50 : c * 50 + 50] for c in range(4)}
    assert describe_design(*make_tables(orders)).confounded


def test_one_concept_cannot_be_told_from_time() -> None:
    design = describe_design(*make_tables({"sub-01": IMAGES[:50]}))
    assert design.confounded
    assert design.sentence == "one concept only: class and time cannot be told apart"


def test_a_handful_of_events_raises_no_alarm() -> None:
    design = describe_design(*make_tables({"sub-01": ["c0_0", "c1_0", "c1_1", "c2_0"]}))
    assert not design.confounded
    assert describe_design(*make_tables({"a": ["c0_0"], "b": ["c1_0"]})).sentence == (
        "too few events to judge the design"
    )


def test_an_unpublished_order_gives_no_verdict() -> None:
    design = describe_design(*make_tables({"sub-01": IMAGES}), timed=False)
    assert design.confounded is None
    assert design.sentence == (
        "the order of presentation was not published: "
        "whether class and time are confounded cannot be told"
    )
