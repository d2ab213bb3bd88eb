"""Ten caption kinds in three tiers, and exact captions of scenes in each."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tasks.language.captioners.scene import FACTORS, PARTS, article, describe
from tasks.language.prompts import KIND_NAMES, KINDS, TIER_OF, Tier
from tasks.simulation.scene import CONCEPTS, THEMES, VOCABULARY, sample_scene

SCENES = [sample_scene(np.random.default_rng(seed)) for seed in range(50)]


def test_ten_kinds_of_which_the_paper_names_three() -> None:
    assert len(set(KIND_NAMES)) == len(KINDS) == 10
    assert {kind.name for kind in KINDS if kind.from_paper} == {
        "ObjectSnap",
        "SpatialLink",
        "ThemeTag",
    }
    assert [kind.tier for kind in KINDS] == sorted(
        (kind.tier for kind in KINDS), key=list(Tier).index
    )


def test_every_kind_is_described_in_order() -> None:
    for scene in SCENES:
        captions = describe(scene)
        assert tuple(captions) == KIND_NAMES
        assert all(text == text.lower().strip() for text in captions.values())


@pytest.mark.parametrize(("kind", "attribute"), list(product(KIND_NAMES, VOCABULARY)))
def test_a_caption_changes_with_exactly_the_attributes_it_determines(
    kind: str, attribute: str
) -> None:
    for scene in SCENES[:5]:
        texts = {
            describe(replace(scene, **{attribute: value}))[kind] for value in VOCABULARY[attribute]
        }
        expected = len(VOCABULARY[attribute]) if attribute in FACTORS[kind] else 1
        assert len(texts) == expected


def test_tiers_tell_disjoint_things() -> None:
    told = {
        tier: frozenset[str]().union(*(FACTORS[k] for k in KIND_NAMES if TIER_OF[k] == tier))
        for tier in Tier
    }
    assert told[Tier.OBJECT] == {"concept", "colour"}
    assert told[Tier.SPATIAL] == {"relation", "size"}
    assert told[Tier.THEMATIC] == {"theme"}


def test_thematic_captions_tell_the_mood() -> None:
    for scene in SCENES:
        captions = describe(scene)
        for kind in KIND_NAMES:
            if TIER_OF[kind] == Tier.THEMATIC:
                assert scene.mood in captions[kind]


def test_parts_and_articles() -> None:
    assert set(PARTS) == set(CONCEPTS)
    assert article("apple") == "an apple"
    assert article("night") == "a night"
    assert len({theme.mood for theme in THEMES.values()}) == len(THEMES)
