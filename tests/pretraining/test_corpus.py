"""Pretraining scenes: own seeds, texts that hold, pictures that are kept."""

from pathlib import Path

import numpy as np

from tasks.language.captioners.scene import describe
from tasks.pretraining.corpus import (
    ATTRIBUTES,
    FIRST_FRESH_SEED,
    FIRST_TRAINING_SEED,
    Text,
    halve,
    make_corpus,
    matches,
    random_prompt,
    random_text,
)
from tasks.simulation.scene import VOCABULARY, draw


def test_seeds_are_disjoint_from_those_of_studies_and_of_scores() -> None:
    assert FIRST_TRAINING_SEED >= 1_000_000
    assert FIRST_FRESH_SEED > FIRST_TRAINING_SEED + 60_000


def test_corpus_pairs_scenes_pictures_and_labels(tmp_path: Path) -> None:
    made = make_corpus(6, FIRST_TRAINING_SEED, tmp_path)
    kept = make_corpus(6, FIRST_TRAINING_SEED, tmp_path)
    assert made.scenes == kept.scenes
    np.testing.assert_array_equal(made.pictures, kept.pictures)
    for scene, picture, label in zip(made.scenes, made.pictures, made.labels, strict=True):
        np.testing.assert_array_equal(picture, np.asarray(draw(scene)))
        told = {name: VOCABULARY[name][i] for name, i in zip(ATTRIBUTES, label, strict=True)}
        assert told == {name: getattr(scene, name) for name in ATTRIBUTES}


def test_a_text_matches_exactly_the_scenes_that_it_holds_of() -> None:
    corpus = make_corpus(200, FIRST_TRAINING_SEED)
    texts = [
        Text(describe(scene)["SceneFrame"], frozenset({"size", "relation"}))
        for scene in corpus.scenes
    ]
    holds = matches(texts, corpus.labels)
    same = np.array(
        [[a.text == describe(scene)["SceneFrame"] for scene in corpus.scenes] for a in texts]
    )
    np.testing.assert_array_equal(holds, same)
    assert holds.any(axis=1).all()
    assert 0.05 < holds.mean() < 0.25


def test_random_texts_hold_of_their_own_scene_and_tell_their_factors() -> None:
    rng = np.random.default_rng(0)
    corpus = make_corpus(40, FIRST_TRAINING_SEED)
    for draw_text in (random_text, random_prompt):
        texts = [draw_text(scene, rng) for scene in corpus.scenes]
        assert matches(texts, corpus.labels).diagonal().all()
        for text, scene in zip(texts, corpus.scenes, strict=True):
            assert ("concept" in text.factors) == (f" {scene.concept}" in text.text)


def test_halve_averages_blocks() -> None:
    picture = np.zeros((1, 4, 4, 3), np.uint8)
    picture[0, :2, :2] = 100
    picture[0, 2, 2] = 8
    halved = halve(picture)
    assert halved.shape == (1, 2, 2, 3)
    assert halved[0, :, :, 0].tolist() == [[100, 0], [0, 2]]
