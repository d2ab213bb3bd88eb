"""The ten caption kinds in three semantic tiers, as data.

The paper (arXiv 2507.07157) decodes captions from object level to theme level. It names only three of
its kinds: ObjectSnap, SpatialLink and ThemeTag. The other seven are this project's own: the paper does
not publish its prompts. Each instruction is what a language model is asked beside the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Tier(StrEnum):
    """Semantic level of a caption, from the thing itself to what the picture is about."""

    OBJECT = "object"
    SPATIAL = "spatial"
    THEMATIC = "thematic"


@dataclass(frozen=True)
class CaptionKind:
    """One way to describe a picture.

    Attributes
    ----------
    name : str
        Unique name.
    tier : Tier
        Semantic level whose information every caption of this kind carries.
    instruction : str
        What a language model is asked to write.
    from_paper : bool
        Whether the paper names this kind.
    """

    name: str
    tier: Tier
    instruction: str
    from_paper: bool


KINDS: tuple[CaptionKind, ...] = (
    CaptionKind(
        "ObjectSnap",
        Tier.OBJECT,
        "Name the main object and its colour in one short noun phrase.",
        from_paper=True,
    ),
    CaptionKind(
        "ColorTexture",
        Tier.OBJECT,
        "Name the main object and describe its colours and surface in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "PartDetail",
        Tier.OBJECT,
        "Name the main object, its colour and its one or two most telling parts in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "SpatialLink",
        Tier.SPATIAL,
        "Say where the main object is in relation to another thing in one short phrase.",
        from_paper=True,
    ),
    CaptionKind(
        "ScaleSense",
        Tier.SPATIAL,
        "Say how large the main object is in the picture and beside another thing "
        "in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "LayoutMap",
        Tier.SPATIAL,
        "List which things are on the left, on the right, at the top and at the bottom "
        "in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "SceneFrame",
        Tier.SPATIAL,
        "Describe the framing (close-up or wide shot) and where in the frame the main object is "
        "in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "ThemeTag",
        Tier.THEMATIC,
        "Name the theme or setting of the picture and its mood in one short phrase.",
        from_paper=True,
    ),
    CaptionKind(
        "MoodTone",
        Tier.THEMATIC,
        "Describe the mood that the setting and the colours give the picture in one short phrase.",
        from_paper=False,
    ),
    CaptionKind(
        "StoryHint",
        Tier.THEMATIC,
        "Hint in one short phrase at the story that the picture tells, its setting and its mood.",
        from_paper=False,
    ),
)
"""All caption kinds, in the order of their tiers."""

KIND_NAMES: tuple[str, ...] = tuple(kind.name for kind in KINDS)
"""Names of `KINDS`, in the same order."""

TIER_OF: Mapping[str, Tier] = MappingProxyType({kind.name: kind.tier for kind in KINDS})
"""Name of a kind to its tier."""
