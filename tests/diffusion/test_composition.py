"""One prompt from captions of several kinds."""

import pytest

from tasks._errors import PerceptError
from tasks.diffusion.composition import DEFAULT_KINDS, compose
from tasks.language.prompts import TIER_OF, Tier

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
