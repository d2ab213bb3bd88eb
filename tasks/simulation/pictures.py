"""The pictures of a simulated study: flat glyphs, textured scenes, or photographs from a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import fft

from tasks.artifacts.pictures import open_rgb
from tasks.runtime.errors import PerceptError
from tasks.simulation.scene import (
    COLOURS,
    CONCEPTS,
    LANDMARK_OFFSET,
    LANDMARK_SIZE,
    OBJECT_OFFSET,
    RELATIONS,
    SIZES,
    THEMES,
    VOCABULARY,
    Scene,
    draw,
    glyph_mask,
    sample_scene,
)

GLYPHS, TEXTURED = "glyphs", "textured"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
CAPTIONS_NAME = "captions.json"
NUMBERED = re.compile(r"(?P<concept>.*[^\W\d_])[ _-]*\d+[a-z]?", re.IGNORECASE)
"""How publishers name photographs of a concept: ``aardvark_01b``, ``dog-7``, ``cat3``."""

ROUGHNESS: Mapping[str, float] = {
    "snowy": 1.3,
    "desert": 1.0,
    "forest": 0.6,
    "ocean": 0.9,
    "night": 1.6,
    "sunset": 1.2,
}
"""Theme to the exponent of the texture of its background: the amplitude falls as 1 / frequency^exponent."""

TURN_DEG = 25.0
N_CLUTTER = 5


class PicturesError(PerceptError):
    """The pictures that a study asks for cannot be had."""


@dataclass(frozen=True)
class Photograph:
    """A photograph and the concept that it shows."""

    concept: str
    path: Path


Stimulus: TypeAlias = Scene | Photograph


def draw_stimuli(pictures: str, n_stimuli: int, rng: np.random.Generator) -> dict[str, Stimulus]:
    """Draw the stimuli of a study, with concepts as balanced as their number allows.

    Parameters
    ----------
    pictures : str
        "glyphs" or "textured": scenes. Otherwise the folder of photographs: a concept is a sub-folder, or
        what stands before the number in the file's name.

    Returns
    -------
    dict of str to Stimulus
        Stimulus ID, which is a photograph's file name without its ending, to stimulus.

    Raises
    ------
    PicturesError
        If the folder is missing, holds too few photographs, names one twice or none by its concept.
    """
    if pictures in (GLYPHS, TEXTURED):
        concepts = VOCABULARY["concept"]
        return {
            f"stim-{i + 1:04d}": sample_scene(rng, concepts[i % len(concepts)])
            for i in range(n_stimuli)
        }
    found = _photographs(Path(pictures))
    if n_stimuli > len(found):
        raise PicturesError(
            f"simulate.n_stimuli must be at most the number of photographs in {pictures}, {len(found)}; it is "
            f"{n_stimuli}. Lower it, or add photographs."
        )
    order = [found[i] for i in rng.permutation(len(found))]
    turn: dict[str, int] = {}
    turns = []
    for photograph in order:
        turns.append(turn.get(photograph.concept, 0))
        turn[photograph.concept] = turns[-1] + 1
    chosen = sorted(range(len(order)), key=lambda i: turns[i])[:n_stimuli]
    return {order[i].path.stem: order[i] for i in chosen}


def _photographs(folder: Path) -> list[Photograph]:
    """Return the photographs of a folder, in order of their names."""
    if not folder.is_dir():
        raise PicturesError(
            f"simulate.pictures must be {GLYPHS}, {TEXTURED} or a folder of photographs; there is no folder "
            f"{folder}. Mend it."
        )
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    named: dict[str, Path] = {}
    for path in paths:
        if path.stem in named:
            raise PicturesError(
                f"Photographs must have different names, which are their stimulus_id; {named[path.stem]} and "
                f"{path} have the same one. Rename one of them."
            )
        named[path.stem] = path
    return [Photograph(_concept(path, folder), path) for path in named.values()]


def _concept(path: Path, folder: Path) -> str:
    if path.parent != folder:
        return path.parent.name
    found = NUMBERED.fullmatch(path.stem)
    if found is None:
        raise PicturesError(
            f"A photograph must lie in a sub-folder named by its concept, or be named like dog_01.jpg; {path} "
            "does neither. Move or rename it."
        )
    return found["concept"]


def picture_of(stimulus: Stimulus, pictures: str, size_px: int) -> Image.Image:
    """Return the picture that is shown, square and of this size.

    Parameters
    ----------
    pictures : str
        As in `draw_stimuli`.

    Raises
    ------
    UnreadablePictureError
        If a photograph cannot be decoded.
    """
    if isinstance(stimulus, Photograph):
        photograph = open_rgb(stimulus.path)
        side = min(photograph.size)
        left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
        middle = (left, top, left + side, top + side)
        return photograph.resize((size_px, size_px), Image.Resampling.LANCZOS, middle)
    if pictures == TEXTURED:
        return draw_textured(stimulus, size_px)
    return draw(stimulus, size_px)


def draw_textured(scene: Scene, size_px: int) -> Image.Image:
    """Draw a scene with textures, light from one side, a turned object and clutter.

    Everything that the scene does not say follows from it, so that the same scene gives the same picture.
    """
    numbers = [int(1e6 * abs(v)) for v in (scene.shift_x, scene.shift_y, scene.stretch)]
    rng = np.random.default_rng([VOCABULARY["concept"].index(scene.concept), *numbers])
    theme = THEMES[scene.theme]
    right, down = RELATIONS[scene.relation]
    depth = np.linspace(0.0, 1.0, size_px)[:, None, None]
    canvas = np.asarray(theme.top) * (1 - depth) + np.asarray(theme.bottom) * depth
    canvas = canvas + 28 * _texture(size_px, ROUGHNESS[scene.theme], rng)[..., None]
    for _ in range(N_CLUTTER):
        _add_clutter(canvas, rng)
    turn = rng.uniform(-TURN_DEG, TURN_DEG, 2)
    at = (0.5 - LANDMARK_OFFSET * right, 0.5 - LANDMARK_OFFSET * down)
    landmark = glyph_mask(theme.code_point, at, LANDMARK_SIZE, size_px, turn[0])
    _paint(canvas, landmark, theme.landmark_colour, 12 * _texture(size_px, 0.8, rng))
    at = (0.5 + OBJECT_OFFSET * right + scene.shift_x, 0.5 + OBJECT_OFFSET * down + scene.shift_y)
    extent = SIZES[scene.size] * (1 + scene.stretch)
    object_ = glyph_mask(CONCEPTS[scene.concept], at, extent, size_px, turn[1])
    canvas *= 1 - 0.35 * np.roll(object_, (size_px // 32, size_px // 32), axis=(0, 1))[..., None]
    _paint(canvas, object_, COLOURS[scene.colour], 40 * _texture(size_px, 0.7, rng))
    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-1.0, 1.0, size_px)
    light = 1 + 0.18 * (np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None])
    return Image.fromarray((canvas * light[..., None]).round().clip(0, 255).astype(np.uint8))


def salient_side(picture: Image.Image) -> float:
    """Return on which side more is to be seen, from -1, the left edge, to 1.

    It is the horizontal centre of the contrast: of the magnitude of the gradient of grey.
    """
    grey = np.asarray(picture.convert("L"), dtype=float)
    contrast = np.hypot(*np.gradient(grey))
    across = np.linspace(-1.0, 1.0, grey.shape[1])
    return float((contrast * across).sum() / max(contrast.sum(), np.finfo(float).tiny))


def _texture(
    size_px: int, exponent: float, rng: np.random.Generator
) -> Float[np.ndarray, "size size"]:
    """Draw noise of unit variance whose amplitude falls as 1 / frequency^exponent."""
    white = rng.standard_normal((size_px, size_px))
    frequency = np.hypot(fft.fftfreq(size_px)[:, None], fft.rfftfreq(size_px)[None, :])
    frequency[0, 0] = np.inf
    rough = fft.irfft2(fft.rfft2(white) / frequency**exponent, (size_px, size_px))
    scaled: np.ndarray = rough / rough.std()
    return scaled


def _add_clutter(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a soft ellipse of any colour, thinly."""
    size = len(canvas)
    y, x = np.mgrid[:size, :size] / size
    (at_x, at_y), (wide, high) = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.12, 2)
    mask = np.exp(-((((x - at_x) / wide) ** 2 + ((y - at_y) / high) ** 2) ** 2))
    colour = rng.uniform(0, 255, 3)
    canvas += 0.5 * mask[..., None] * (colour - canvas)


def _paint(
    canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], texture: np.ndarray
) -> None:
    canvas += mask[..., None] * (np.asarray(colour) + texture[..., None] - canvas)
