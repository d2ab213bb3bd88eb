"""Scenes: the simulated stimuli, pictures whose whole truth is known.

A scene shows one object (a concept in a colour and a size) beside a landmark on a themed background.
The object stands left of, right of, above or below the landmark, and the theme decides the landmark,
the background and the mood.

The glyphs come from Font Awesome Free (package ``fontawesomefree``): icons CC BY 4.0, fonts SIL OFL 1.1,
https://fontawesome.com/license/free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.resources import as_file, files
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

CONCEPTS: Mapping[str, int] = MappingProxyType(
    {
        "dog": 0xF6D3,
        "cat": 0xF6BE,
        "horse": 0xF6F0,
        "fish": 0xF578,
        "frog": 0xF52E,
        "crow": 0xF520,
        "dove": 0xF4BA,
        "hippo": 0xF6ED,
        "spider": 0xF717,
        "dragon": 0xF6D5,
        "car": 0xF1B9,
        "bicycle": 0xF206,
        "plane": 0xF072,
        "rocket": 0xF135,
        "train": 0xF238,
        "ship": 0xF21A,
        "truck": 0xF0D1,
        "helicopter": 0xF533,
        "motorcycle": 0xF21C,
        "tractor": 0xF722,
        "guitar": 0xF7A6,
        "drum": 0xF569,
        "camera": 0xF030,
        "phone": 0xF095,
        "laptop": 0xF109,
        "clock": 0xF017,
        "bell": 0xF0F3,
        "key": 0xF084,
        "book": 0xF02D,
        "umbrella": 0xF0E9,
        "apple": 0xF5D1,
        "carrot": 0xF787,
        "pizza": 0xF818,
        "hotdog": 0xF80F,
        "mug": 0xF7B6,
        "chair": 0xF6C0,
        "couch": 0xF4B8,
        "bed": 0xF236,
        "house": 0xF015,
        "tree": 0xF1BB,
    }
)
"""Concept to code point of its glyph."""

COLOURS: Mapping[str, Colour] = MappingProxyType(
    {
        "red": (205, 20, 30),
        "orange": (250, 120, 0),
        "yellow": (255, 222, 0),
        "green": (0, 125, 45),
        "blue": (20, 60, 225),
        "purple": (125, 20, 165),
        "pink": (255, 75, 180),
        "black": (12, 12, 12),
    }
)

SIZES: Mapping[str, float] = MappingProxyType({"small": 0.36, "large": 0.56})
"""Size to the longer side of the object, as a share of the picture."""

RELATIONS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
)
"""Relation of the object to the landmark, to the object's direction from the middle (x, y down)."""


@dataclass(frozen=True)
class Theme:
    """What a theme decides: the background (top, bottom), the landmark and the mood."""

    top: Colour
    bottom: Colour
    landmark: str
    code_point: int
    landmark_colour: Colour
    mood: str


THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        "snowy": Theme(
            (214, 228, 240), (246, 249, 253), "snowflake", 0xF2DC, (120, 150, 180), "cold and quiet"
        ),
        "desert": Theme(
            (240, 218, 178), (214, 178, 130), "sun", 0xF185, (255, 250, 225), "dry and lonely"
        ),
        "forest": Theme(
            (196, 226, 190), (134, 182, 130), "leaf", 0xF06C, (240, 250, 230), "calm and alive"
        ),
        "ocean": Theme(
            (165, 222, 238), (92, 176, 208), "anchor", 0xF13D, (240, 250, 255), "vast and free"
        ),
        "night": Theme(
            (84, 88, 128), (124, 124, 158), "moon", 0xF186, (245, 240, 205), "dark and mysterious"
        ),
        "sunset": Theme(
            (255, 208, 172),
            (236, 158, 152),
            "mountain",
            0xF6FC,
            (120, 80, 95),
            "warm and nostalgic",
        ),
    }
)

OBJECT_OFFSET = 0.17
LANDMARK_OFFSET = 0.34
LANDMARK_SIZE = 0.20
MAX_SHIFT = 0.02
MAX_STRETCH = 0.05
_OVERSAMPLING = 4
_REFERENCE_FONT_SIZE_PX = 512


@dataclass(frozen=True)
class Scene:
    """Everything that decides one picture and its captions.

    Attributes
    ----------
    concept, colour, size, relation, theme : str
        Keys of `CONCEPTS`, `COLOURS`, `SIZES`, `RELATIONS` and `THEMES`.
    shift_x, shift_y : float
        Displacement of the object as a share of the picture, at most `MAX_SHIFT` either way.
    stretch : float
        Relative deviation of the object from its nominal size, at most `MAX_STRETCH`.

    Raises
    ------
    ValueError
        If a value is not in its vocabulary or range.
    """

    concept: str
    colour: str
    size: str
    relation: str
    theme: str
    shift_x: float
    shift_y: float
    stretch: float

    def __post_init__(self) -> None:
        for name, known in VOCABULARY.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"A scene's {name} must be one of {list(known)}; found {value!r}. Correct it."
                )
        limits = (("shift_x", MAX_SHIFT), ("shift_y", MAX_SHIFT), ("stretch", MAX_STRETCH))
        for name, limit in limits:
            value = getattr(self, name)
            if not -limit <= value <= limit:
                raise ValueError(
                    f"A scene's {name} must lie within +-{limit}; found {value!r}. Correct it."
                )

    @property
    def landmark(self) -> str:
        """Name of the landmark, which the theme decides."""
        return THEMES[self.theme].landmark

    @property
    def mood(self) -> str:
        """Mood of the picture, which the theme decides."""
        return THEMES[self.theme].mood

    def to_json(self) -> dict[str, Any]:
        """Return the scene as a plain dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scene:
        """Rebuild a scene from what `to_json` returned.

        Parameters
        ----------
        values : Mapping[str, Any]
            Exactly the fields of a scene.

        Raises
        ------
        ValueError
            If a field is missing, unknown or out of range.
        """
        expected = {field.name for field in fields(cls)}
        if set(values) != expected:
            raise ValueError(
                f"A scene must have the fields {sorted(expected)}; found {sorted(values)}. "
                "Write it with Scene.to_json."
            )
        return cls(**values)


VOCABULARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "concept": tuple(CONCEPTS),
        "colour": tuple(COLOURS),
        "size": tuple(SIZES),
        "relation": tuple(RELATIONS),
        "theme": tuple(THEMES),
    }
)
"""Attribute of a scene to its possible values, in a fixed order."""


def sample_scene(rng: np.random.Generator, concept: str | None = None) -> Scene:
    """Draw a scene with all attributes independent and uniform.

    Parameters
    ----------
    concept : str or None
        Fixes the concept; the other attributes do not depend on whether it is fixed.
    """
    choices = {name: known[rng.integers(len(known))] for name, known in VOCABULARY.items()}
    if concept is not None:
        choices["concept"] = concept
    shift_x, shift_y = (float(rng.uniform(-MAX_SHIFT, MAX_SHIFT)) for _ in range(2))
    stretch = float(rng.uniform(-MAX_STRETCH, MAX_STRETCH))
    return Scene(**choices, shift_x=shift_x, shift_y=shift_y, stretch=stretch)


def draw(scene: Scene, size_px: int = 64) -> Image.Image:
    """Draw a scene: the same scene gives the same picture, byte for byte.

    Parameters
    ----------
    size_px : int
        Side of the square RGB picture.
    """
    theme = THEMES[scene.theme]
    right, down = RELATIONS[scene.relation]
    picture = _background(theme, size_px)
    landmark_at = (0.5 - LANDMARK_OFFSET * right, 0.5 - LANDMARK_OFFSET * down)
    _paste_glyph(picture, theme.code_point, theme.landmark_colour, landmark_at, LANDMARK_SIZE)
    x = 0.5 + OBJECT_OFFSET * right + scene.shift_x
    y = 0.5 + OBJECT_OFFSET * down + scene.shift_y
    extent = SIZES[scene.size] * (1 + scene.stretch)
    _paste_glyph(picture, CONCEPTS[scene.concept], COLOURS[scene.colour], (x, y), extent)
    return picture


def _background(theme: Theme, size_px: int) -> Image.Image:
    depth = np.linspace(0.0, 1.0, size_px)[:, None, None]
    rows = np.asarray(theme.top) * (1 - depth) + np.asarray(theme.bottom) * depth
    pixels = np.broadcast_to(rows.round(), (size_px, size_px, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def _paste_glyph(
    picture: Image.Image, code_point: int, colour: Colour, at: tuple[float, float], extent: float
) -> None:
    """Paste a glyph with the middle of its bounding box at `at`, its longer side `extent`."""
    picture.paste(colour, (0, 0), _glyph(code_point, at, extent, picture.width))


def glyph_mask(
    code_point: int, at: tuple[float, float], extent: float, size_px: int, turn_deg: float
) -> Float[np.ndarray, "size size"]:
    """Return how much of each pixel a glyph covers, from 0 to 1.

    Parameters
    ----------
    at : tuple of float
        Middle of its bounding box, x and y, as shares of the picture.
    extent : float
        Its longer side before it is turned, as a share of the picture.
    turn_deg : float
        Angle by which it is turned about its middle, counter-clockwise.
    """
    middle = (at[0] * size_px, at[1] * size_px)
    mask = _glyph(code_point, at, extent, size_px)
    return np.asarray(mask.rotate(turn_deg, Image.Resampling.BICUBIC, center=middle), float) / 255


def _glyph(code_point: int, at: tuple[float, float], extent: float, size_px: int) -> Image.Image:
    canvas_px = size_px * _OVERSAMPLING
    left, top, right, bottom = _font(_REFERENCE_FONT_SIZE_PX).getbbox(chr(code_point), anchor="ls")
    scale = extent * canvas_px / max(right - left, bottom - top)
    font = _font(round(_REFERENCE_FONT_SIZE_PX * scale))
    left, top, right, bottom = font.getbbox(chr(code_point), anchor="ls")
    origin = (at[0] * canvas_px - (left + right) / 2, at[1] * canvas_px - (top + bottom) / 2)
    mask = Image.new("L", (canvas_px, canvas_px))
    ImageDraw.Draw(mask).text(origin, chr(code_point), fill=255, font=font, anchor="ls")
    return mask.reduce(_OVERSAMPLING)


@lru_cache(maxsize=256)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    resource = files("fontawesomefree") / "static/fontawesomefree/webfonts/fa-solid-900.ttf"
    with as_file(resource) as path:
        return ImageFont.truetype(str(path), size_px)
