"""Scenes are drawn from their fields alone, and every field shows."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.simulation.scene import CONCEPTS, THEMES, VOCABULARY, Scene, draw, sample_scene

SCENE = Scene("dog", "red", "large", "left of", "night", 0.01, -0.01, 0.02)


def pixels(scene: Scene, size_px: int = 64) -> np.ndarray:
    return np.asarray(draw(scene, size_px), dtype=float)


def test_forty_concepts_have_forty_glyphs_that_are_no_landmark() -> None:
    glyphs = set(CONCEPTS.values())
    assert len(glyphs) == 40
    assert glyphs.isdisjoint(theme.code_point for theme in THEMES.values())


def test_json_round_trip_gives_the_same_picture_byte_for_byte() -> None:
    again = Scene.from_json(SCENE.to_json())
    assert again == SCENE
    assert draw(again).tobytes() == draw(SCENE).tobytes()


@pytest.mark.parametrize("attribute", VOCABULARY)
def test_every_attribute_shows(attribute: str) -> None:
    pictures = [pixels(replace(SCENE, **{attribute: value})) for value in VOCABULARY[attribute]]
    for index, picture in enumerate(pictures):
        others = pictures[:index] + pictures[index + 1 :]
        assert min(np.abs(picture - other).mean() for other in others) > 1


@pytest.mark.parametrize("concept", CONCEPTS)
def test_the_largest_object_stays_inside_and_off_the_landmark(concept: str) -> None:
    scene = replace(SCENE, concept=concept, shift_x=-0.02, shift_y=0.02, stretch=0.05)
    background = pixels(scene)[:, 40:42].mean(axis=1, keepdims=True)  # between object and landmark
    differs = np.abs(pixels(scene) - background).max(axis=2) > 40
    assert not differs[[0, -1]].any()
    assert not differs[:, [0, -1]].any()
    assert not differs[:, 41:46].any()


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colour", VOCABULARY["colour"])
def test_every_colour_stands_out_from_every_background(theme: str, colour: str) -> None:
    scene = replace(SCENE, concept="clock", theme=theme, colour=colour)
    picture = pixels(scene)
    inside, outside = picture[30, 12], picture[2, 32]
    assert np.abs(inside - outside).max() > 60


def test_sampling_depends_on_the_seed_alone_and_a_fixed_concept_changes_nothing_else() -> None:
    free = sample_scene(np.random.default_rng(3))
    fixed = sample_scene(np.random.default_rng(3), "tree")
    assert sample_scene(np.random.default_rng(3)) == free
    assert replace(fixed, concept=free.concept) == free
    assert fixed.concept == "tree"


def test_all_values_are_sampled() -> None:
    scenes = [sample_scene(np.random.default_rng(seed)) for seed in range(600)]
    for attribute, values in VOCABULARY.items():
        assert {getattr(scene, attribute) for scene in scenes} == set(values)


def test_wrong_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"colour must be one of .*'beige'"):
        replace(SCENE, colour="beige")
    with pytest.raises(ValueError, match=r"shift_x must lie within \+-0.02"):
        replace(SCENE, shift_x=0.5)
    with pytest.raises(ValueError, match="must have the fields"):
        Scene.from_json({"concept": "dog"})
