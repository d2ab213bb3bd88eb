"""Concepts that the encoder gives like vectors are alike in the matrix, and lie next to each other."""

import numpy as np
import pandas as pd
import pytest

from tasks.explanation.dissimilarity import concept_dissimilarity
from tasks.scores.held_out import HeldOut

DIRECTIONS = {"cat": [1, 0, 0], "ship": [0, 0, 1], "dog": [0.9, 0.1, 0]}


def held_out(concepts: list[str]) -> HeldOut:
    vectors = np.array([DIRECTIONS[name] for name in concepts], np.float32)
    stimuli = [f"stim-{i}" for i in range(len(concepts))]
    trials = pd.DataFrame(
        {
            "trial_id": stimuli,
            "subject": "sub-01",
            "stimulus_id": stimuli,
            "concept": concepts,
            "split": "test",
        }
    )
    captions = pd.DataFrame(
        {
            "caption_id": stimuli,
            "stimulus_id": stimuli,
            "tier": "object",
            "kind": "ObjectSnap",
            "text": concepts,
            "concept": concepts,
            "split": "test",
        }
    )
    return HeldOut(trials, {"ObjectSnap": vectors}, captions, vectors)


def test_like_concepts_are_near_each_other() -> None:
    found = concept_dissimilarity(held_out(["cat", "ship", "dog"]))
    assert found is not None
    unlike = found.set_index(["concept", "other"])
    assert unlike.loc[("cat", "dog"), "eeg"] < unlike.loc[("cat", "ship"), "eeg"]
    assert unlike.loc[("cat", "cat"), "eeg"] == 0
    assert found["eeg"].tolist() == pytest.approx(found["captions"].tolist())
    order = list(dict.fromkeys(found["concept"]))
    assert abs(order.index("cat") - order.index("dog")) == 1


def test_two_concepts_make_no_matrix() -> None:
    assert concept_dissimilarity(held_out(["cat", "ship"])) is None
