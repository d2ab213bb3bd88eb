"""The captioner of simulated scenes: exact captions, written from the truth without a model.

The tiers tell disjoint things: the object tier the concept and its colour, the spatial tier relation
and size, the thematic tier the theme. So each tier's heads have a known answer to the question which
sources of the simulated brain they should listen to.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tasks.simulation.scene import Scene

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "dog": "four legs and a snout",
        "cat": "pointed ears and whiskers",
        "horse": "hooves and a mane",
        "fish": "fins and one eye",
        "frog": "long hind legs",
        "crow": "a beak and thin feet",
        "dove": "spread wings",
        "hippo": "a heavy head and stout legs",
        "spider": "eight legs",
        "dragon": "scales and a forked tail",
        "car": "two headlights",
        "bicycle": "a frame and pedals",
        "plane": "swept wings",
        "rocket": "a porthole and fins",
        "train": "a cab window and rails",
        "ship": "a hull in waves",
        "truck": "a cargo box",
        "helicopter": "a rotor",
        "motorcycle": "a saddle and handlebars",
        "tractor": "one huge wheel",
        "guitar": "strings and a neck",
        "drum": "a drumstick",
        "camera": "a round lens",
        "phone": "a curved handset",
        "laptop": "a screen and keyboard",
        "clock": "two hands",
        "bell": "a clapper",
        "key": "a bow and teeth",
        "book": "a cover and pages",
        "umbrella": "a canopy and crook",
        "apple": "a stalk leaf",
        "carrot": "green tops",
        "pizza": "a crust and toppings",
        "hotdog": "a sausage and mustard",
        "mug": "a handle and steam",
        "chair": "a slatted back",
        "couch": "padded arms",
        "bed": "a pillow and mattress",
        "house": "a roof and door",
        "tree": "branches and a trunk",
    }
)
"""Concept to its telling parts."""

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "snowy": "in the snow",
        "desert": "in the desert",
        "forest": "in the forest",
        "ocean": "by the ocean",
        "night": "at night",
        "sunset": "at sunset",
    }
)
_PLACES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "left of": ("on the left", "on the right"),
        "right of": ("on the right", "on the left"),
        "above": ("at the top", "at the bottom"),
        "below": ("at the bottom", "at the top"),
    }
)
_COMPARISONS: Mapping[str, str] = MappingProxyType(
    {"small": "a little bigger than", "large": "much bigger than"}
)
_SHOTS: Mapping[str, str] = MappingProxyType({"small": "a wide shot", "large": "a close-up"})


FACTORS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ObjectSnap": frozenset({"concept", "colour"}),
        "ColorTexture": frozenset({"concept", "colour"}),
        "PartDetail": frozenset({"concept", "colour"}),
        "SpatialLink": frozenset({"relation"}),
        "ScaleSense": frozenset({"size"}),
        "LayoutMap": frozenset({"relation"}),
        "SceneFrame": frozenset({"size", "relation"}),
        "ThemeTag": frozenset({"theme"}),
        "MoodTone": frozenset({"theme"}),
        "StoryHint": frozenset({"theme"}),
    }
)
"""Kind to the attributes of the scene that its caption determines: two scenes that agree in them
have the same caption of that kind, all others differ."""


def describe(scene: Scene) -> dict[str, str]:
    """Describe a scene in every caption kind.

    Parameters
    ----------
    scene : Scene
        The scene whose truth is told.

    Returns
    -------
    dict[str, str]
        Kind (in the order of `tasks.language.prompts.KINDS`) to a short lower-case caption.
    """
    concept, colour, size, mood = scene.concept, scene.colour, scene.size, scene.mood
    place, opposite = _PLACES[scene.relation]
    setting = _SETTINGS[scene.theme]
    return {
        "ObjectSnap": article(f"{colour} {concept}"),
        "ColorTexture": f"{article(concept)} in flat {colour}",
        "PartDetail": f"{article(f'{colour} {concept}')} with {PARTS[concept]}",
        "SpatialLink": f"the object is {scene.relation} the landmark",
        "ScaleSense": f"{article(size)} object, {_COMPARISONS[size]} the landmark",
        "LayoutMap": f"the object {place}, the landmark {opposite}",
        "SceneFrame": f"{_SHOTS[size]} with the object {place}",
        "ThemeTag": f"{article(scene.theme)} scene, {mood}",
        "MoodTone": f"{mood} {setting}",
        "StoryHint": f"a story {setting}, {mood}",
    }


def article(noun: str) -> str:
    """Put the indefinite article before a noun phrase."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
