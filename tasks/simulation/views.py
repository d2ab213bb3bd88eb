"""What people would say of a scene: in several wordings, with details left out or mistaken.

Every caption is somebody else's look at the picture: what one of them got wrong, the next may have right.
The tiers tell of the same attributes as the exact captions do: the object tier of concept and colour, the
spatial tier of relation and size, the thematic tier of the theme.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from tasks.simulation.scene import THEMES, VOCABULARY, Scene

WORDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ObjectSnap": (
            "{a_thing}",
            "there is {a_thing}",
            "one sees {a_thing}",
            "{a_concept}, {colour}",
        ),
        "ColorTexture": (
            "{a_concept} in rough {colour}",
            "the {concept} is {colour} and uneven",
            "{colour} grain, and in that colour {a_concept}",
        ),
        "PartDetail": (
            "{a_thing} in some detail",
            "every part of {a_thing}",
            "the outline of {a_thing} and its parts",
        ),
        "SpatialLink": (
            "the object is {relation} the landmark",
            "{relation} the landmark there is an object",
            "something stands {relation} something else, the landmark",
        ),
        "ScaleSense": (
            "{a_size} object beside a landmark",
            "compared with the landmark it is {size}",
            "the object looks {size}",
        ),
        "LayoutMap": (
            "the object {place}",
            "{place} there is the object, across from the landmark",
            "one looks {place} for the object",
        ),
        "SceneFrame": (
            "{a_size} object {place} of the picture",
            "{place}, and {size} in the frame",
            "the frame has its {size} object {place}",
        ),
        "ThemeTag": ("{a_theme} scene", "it looks {theme}", "{theme} all over, {mood}"),
        "MoodTone": ("{mood} {setting}", "a feeling that is {mood}", "{setting} it is {mood}"),
        "StoryHint": (
            "a story {setting}",
            "something happens {setting}, {mood}",
            "once {setting}",
        ),
    }
)
"""Caption kind to the ways in which it is worded."""

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "snowy": "in the snow",
        "desert": "in the desert",
        "forest": "in the forest",
        "ocean": "by the ocean",
        "night": "at night",
        "sunset": "at sunset",
    }
)
PLACES: Mapping[str, str] = MappingProxyType(
    {
        "left of": "on the left",
        "right of": "on the right",
        "above": "at the top",
        "below": "at the bottom",
    }
)


def say(scene: Scene, errors: float, rng: np.random.Generator) -> dict[str, str]:
    """Return a caption of each kind, every one from a look of its own.

    Parameters
    ----------
    errors : float
        Share of the details that are left out or mistaken for another value, either as often.
    """
    captions = {}
    for kind, wordings in WORDINGS.items():
        wording = wordings[rng.integers(len(wordings))]
        text = wording.format_map(_words(look(scene, errors, rng)))
        captions[kind] = " ".join(text.split())
    return captions


def look(scene: Scene, errors: float, rng: np.random.Generator) -> dict[str, str | None]:
    """Return what a person sees of each attribute of a scene; None where it goes unnoticed.

    Parameters
    ----------
    errors : float
        As in `say`.
    """
    seen: dict[str, str | None] = {}
    for name, known in VOCABULARY.items():
        value = getattr(scene, name)
        others = [other for other in known if other != value]
        mistaken = others[rng.integers(len(others))]
        fate = rng.random()
        seen[name] = value if fate >= errors else mistaken if fate < errors / 2 else None
    return seen


def _words(seen: Mapping[str, str | None]) -> dict[str, str]:
    concept, colour = seen["concept"] or "thing", seen["colour"] or ""
    size, theme = seen["size"] or "", seen["theme"] or "plain"
    thing = f"{colour} {concept}".strip()
    return {
        "concept": concept,
        "colour": colour or "some colour",
        "a_concept": _article(concept),
        "a_thing": _article(thing),
        "size": size or "middling",
        "a_size": _article(size) if size else "an",
        "relation": seen["relation"] or "beside",
        "place": PLACES[seen["relation"]] if seen["relation"] else "somewhere",
        "theme": theme,
        "a_theme": _article(theme),
        "mood": THEMES[theme].mood if theme in THEMES else "hard to tell",
        "setting": SETTINGS.get(theme, "somewhere"),
    }


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
