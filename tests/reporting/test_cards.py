"""Cards show trials drawn before any score, each with its own pictures, captions and verdict."""

import pandas as pd

from tasks.artifacts.catalogue import Artifacts
from tasks.language.prompts import KIND_NAMES, TIER_OF, Tier
from tasks.reporting.cards import CONDITIONS, draw_sample
from tests.reporting.fabricated import get, put
from tests.reporting.runs import load


def test_order_is_drawn_from_all_rendered_trials_and_ignores_scores(artifacts: Artifacts) -> None:
    study = load(artifacts)
    sample = draw_sample(study, 30, seed=1)
    rendered = set(study.renders["trial_id"])
    assert sample.n_eligible == len(rendered)
    assert len({card.trial_id for card in sample.cards}) == 30
    judged = get(artifacts, "judgements")
    put(artifacts, "judgements", [row | {"judged": row["actual"]} for row in judged])
    again = draw_sample(load(artifacts), 30, seed=1)
    assert [c.trial_id for c in again.cards] == [c.trial_id for c in sample.cards]
    assert again.n_hits == again.n_judged == 30 > sample.n_hits


def test_trained_and_untrained_concepts_are_counted_apart(artifacts: Artifacts) -> None:
    """The score of the judge is of trained concepts: a count over both would contradict it."""
    sample = draw_sample(load(artifacts), 500, seed=1)
    known = [card for card in sample.cards if card.split != "zero_shot"]
    hits = sum(card.outcome == "hit" for card in known)
    judged = sum(card.outcome != "unjudged" for card in known)
    assert 0 < judged < sample.n_judged
    assert f"{hits} of {judged} decoded pictures of trained concepts" in sample.hits_in_words
    rest = (
        f"{sample.n_hits - hits} of {sample.n_judged - judged} decoded pictures of concepts never"
    )
    assert f" and {rest} trained" in sample.hits_in_words


def test_a_longer_sample_begins_with_the_shorter_one(artifacts: Artifacts) -> None:
    study = load(artifacts)
    few, many = draw_sample(study, 5, seed=1), draw_sample(study, 500, seed=1)
    assert many.cards[:5] == few.cards
    assert len(many.cards) == many.n_eligible


def test_rows_join_on_identifiers_not_on_position(artifacts: Artifacts) -> None:
    before = draw_sample(load(artifacts), 20, seed=1)
    for name in ("trials", "stimuli", "captions", "retrievals", "renders", "judgements"):
        put(artifacts, name, get(artifacts, name)[::-1])
    assert draw_sample(load(artifacts), 20, seed=1) == before


def test_a_card_shows_its_own_trial(artifacts: Artifacts) -> None:
    study = load(artifacts)
    trials = study.trials.set_index("trial_id")
    renders = study.renders.set_index(["trial_id", "condition"])
    for card in draw_sample(study, 10, seed=1).cards:
        trial = trials.loc[card.trial_id]
        assert card.concept == trial["concept"]
        assert card.stimulus.stem == trial["stimulus_id"]
        assert tuple(picture.condition for picture in card.pictures) == CONDITIONS
        for picture in card.pictures:
            assert (
                str(picture.path) == renders.loc[(card.trial_id, picture.condition)]["image_path"]
            )
            assert picture.verdict is not None
            assert picture.verdict.hit == (picture.verdict.judged == card.concept)


def test_captions_are_the_nearest_of_the_train_gallery(artifacts: Artifacts) -> None:
    study = load(artifacts)
    card = draw_sample(study, 1, seed=1).cards[0]
    text = dict(zip(study.captions["caption_id"], study.captions["text"], strict=True))
    rows = study.retrievals.query("gallery == 'train' and rank == 1")
    rows = rows[rows["trial_id"] == card.trial_id].set_index("kind")
    assert tuple(pair.kind for pair in card.captions) == KIND_NAMES
    for pair in card.captions:
        assert pair.retrieved == text[rows.loc[pair.kind]["caption_id"]]
        assert pair.true == text[f"{card.stimulus.stem}_{pair.kind}"]
    best = rows.assign(tier=rows.index.map(TIER_OF)).sort_values("cosine").groupby("tier").tail(1)
    assert {pair.kind for pair in card.nearest} == set(best.index)
    assert tuple(pair.tier for pair in card.nearest) == tuple(Tier)


def test_the_first_of_several_pictures_is_shown(artifacts: Artifacts) -> None:
    before = draw_sample(load(artifacts), 10, seed=1)
    rows = get(artifacts, "renders")
    put(artifacts, "renders", [row | {"sample": i} for i in (1, 0) for row in rows])
    after = draw_sample(load(artifacts), 10, seed=1)
    assert after.cards == before.cards
    assert (before.n_samples, after.n_samples) == (1, 2)


def test_without_pictures_held_out_trials_with_captions_are_drawn(artifacts: Artifacts) -> None:
    put(artifacts, "renders", [])
    put(artifacts, "judgements", [])
    study = load(artifacts)
    sample = draw_sample(study, 500, seed=1)
    trials = study.trials
    held_out = trials[trials["split"].isin(["test", "zero_shot"]) & trials["kept"]]
    assert {card.trial_id for card in sample.cards} == set(held_out["trial_id"])
    assert {card.outcome for card in sample.cards} == {"unjudged"}


def test_unknown_conditions_follow_the_known(artifacts: Artifacts) -> None:
    rows = get(artifacts, "renders")
    more = [row | {"condition": "class_name"} for row in rows if row["condition"] == "decoded"]
    put(artifacts, "renders", [*more, *rows])
    card = draw_sample(load(artifacts), 1, seed=1).cards[0]
    assert [p.title for p in card.pictures] == [
        "Decoded",
        "True captions",
        "Shuffled EEG",
        "Class name",
    ]
    assert isinstance(card.pictures[-1].verdict, type(None))
    assert not pd.isna(card.pictures[0].prompt)


def test_the_rank_of_the_own_caption_is_that_of_its_text(artifacts: Artifacts) -> None:
    study = load(artifacts)
    text = dict(zip(study.captions["caption_id"], study.captions["text"], strict=True))
    rows = study.retrievals.query("gallery == 'test'")
    ranks = set()
    for card in draw_sample(study, 30, seed=1).cards:
        for pair in card.captions:
            own = rows[(rows["trial_id"] == card.trial_id) & (rows["kind"] == pair.kind)]
            reads = own[own["caption_id"].map(text) == pair.true]["rank"]
            assert pair.rank == (reads.min() if len(reads) else 0)
            ranks.add(pair.rank)
    assert len(ranks) > 1
