"""One prompt from captions of several kinds."""

import pytest

from tasks.diffusion.composition import (
    DEFAULT_KINDS,
    CompositionParams,
    Conditioning,
    compose,
    condition_on,
    shares_of,
)
from tasks.diffusion.conditions import CLASS_NAME, Caption
from tasks.language.prompts import TIER_OF, Tier
from tasks.runtime.errors import PerceptError

CAPTIONS = {"ObjectSnap": "a red dog", "SpatialLink": "left of it", "ThemeTag": "a night scene"}


def test_captions_are_joined_in_the_order_of_the_tiers() -> None:
    assert compose(CAPTIONS, ["ThemeTag", "ObjectSnap"]) == "a red dog, a night scene"
    assert compose(CAPTIONS, list(CAPTIONS)[::-1]) == "a red dog, left of it, a night scene"


def test_the_default_kinds_span_all_tiers() -> None:
    assert {TIER_OF[kind] for kind in DEFAULT_KINDS} == set(Tier)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([], "at least one caption kind"),
        (["ObjektSnap"], "found 'ObjektSnap'"),
        (["MoodTone"], "'MoodTone' is missing"),
    ],
)
def test_bad_choices_are_refused(kinds: list[str], message: str) -> None:
    with pytest.raises(PerceptError, match=message):
        compose(CAPTIONS, kinds)


RETRIEVED = {
    "ObjectSnap": [Caption("a red dog", 0.9), Caption("a red cat", 0.5), Caption("a dog", 0.4)],
    "ThemeTag": [Caption("night", 0.50), Caption("ocean", 0.49), Caption("night", 0.48)],
}


def composition(**changes) -> CompositionParams:
    values = {
        "kinds": ("ObjectSnap", "ThemeTag"),
        "captions_per_kind": 1,
        "embedding_average_share": 0.0,
        "min_weight": 0.0,
        "temperature": 0.1,
        "negative_prompt": "",
        "guidance_scale": 5.0,
        "guidance_by_confidence": 0.0,
    }
    return CompositionParams.model_validate(values | changes)


def conditioning(captions=RETRIEVED, condition="decoded", **changes) -> Conditioning:
    return condition_on(captions, composition(**changes), "trial-1", condition)


def test_without_a_mix_the_nearest_captions_make_one_prompt() -> None:
    assert conditioning() == Conditioning((("a red dog, night", 1.0),), 5.0)
    assert conditioning().prompt == "a red dog, night"


def test_confidence_is_a_softmax_in_which_equal_texts_count_as_one() -> None:
    shares = shares_of(RETRIEVED["ThemeTag"], 0.1)
    assert list(shares) == ["night", "ocean"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["night"] > 0.6
    even = shares_of(RETRIEVED["ObjectSnap"], 100.0)
    assert even["a red dog"] == pytest.approx(1 / 3, abs=0.01)
    assert shares_of([Caption("a dog", 0.1)], 0.1) == {"a dog": 1.0}


def test_a_mix_weighs_captions_by_their_confidence() -> None:
    mix = dict(conditioning(embedding_average_share=1.0).mix)
    assert set(mix) == {"a red dog", "night"}
    assert mix["a red dog"] > mix["night"]
    assert sum(mix.values()) == pytest.approx(1, abs=1e-3)
    mix = dict(conditioning(embedding_average_share=0.4, captions_per_kind=2).mix)
    assert mix["a red dog, night"] == 0.6
    assert set(mix) == {"a red dog, night", "a red dog", "a red cat", "night", "ocean"}
    assert mix["night"] > mix["ocean"] > 0
    assert sum(mix.values()) == pytest.approx(1, abs=1e-3)
    assert conditioning(embedding_average_share=0.4).prompt.startswith(
        "0.60 x (a red dog, night) + 0."
    )


def test_doubtful_kinds_can_be_left_out_and_guidance_lowered() -> None:
    assert conditioning(min_weight=0.45).prompt == "a red dog"
    assert conditioning(min_weight=1.0).prompt == "a red dog"
    lowered = conditioning(guidance_by_confidence=1.0).guidance_scale
    assert 1 < lowered < 5
    assert lowered % 0.25 == 0
    sure = {kind: captions[:1] for kind, captions in RETRIEVED.items()}
    assert conditioning(sure, guidance_by_confidence=1.0).guidance_scale == 5.0
    assert conditioning(guidance_scale=0.0, guidance_by_confidence=1.0).guidance_scale == 0.0


def test_the_name_of_the_concept_stands_alone() -> None:
    named = {CLASS_NAME: [Caption("dog", 1.0)]}
    assert conditioning(named, "class_name", embedding_average_share=1.0) == Conditioning(
        (("dog", 1.0),), 5.0
    )
    message = (
        r"^A prompt needs a caption of each kind; trial trial-1 has none of class_name in the "
        r"condition class_name\. Name the concepts in `ingest`\.$"
    )
    with pytest.raises(PerceptError, match=message):
        conditioning({CLASS_NAME: [Caption("", 1.0)]}, "class_name")


def test_the_mean_embedding_weighs_whole_prompts_evenly() -> None:
    captions = {
        "ObjectSnap": [Caption("a dog", 1.0), Caption("a cat", 1.0), Caption("a dog", 1.0)],
        "ThemeTag": [Caption("at night", 1.0), Caption("by day", 1.0), Caption("at night", 1.0)],
    }
    chosen = composition(kinds=("ThemeTag", "ObjectSnap"))
    found = condition_on(captions, chosen, "t1", "mean_embedding")
    assert dict(found.mix) == pytest.approx({"a dog, at night": 2 / 3, "a cat, by day": 1 / 3})
