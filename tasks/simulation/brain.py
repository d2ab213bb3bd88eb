"""The simulated brain: where, when and how strongly each semantic factor of a picture shows on the scalp.

An MNE forward model (three-layer sphere, the 128 electrodes of the EEGCVPR cap, a volume grid of
sources) maps dipoles to electrodes. Each factor of a scene (its concept, colour, size, relation and
theme) drives dipoles of one region at one latency, and the factors add up. Concepts are not arbitrary
codes: their source amplitudes are a linear map of what the glyphs look like, so concepts of similar
shape evoke similar responses and a concept never trained on can still be told from the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, field_validator

from tasks.runtime.params import Params
from tasks.simulation.head import Head, make_head, unit
from tasks.simulation.scene import VOCABULARY, Scene
from tasks.simulation.shapes import shape_features


@dataclass(frozen=True)
class Factor:
    """Where and when one attribute of a scene is processed.

    Attributes
    ----------
    tier : str
        The caption tier that tells of the attribute.
    region : str
        Key of `REGIONS`.
    latency_s : float
        Time from stimulus onset to the peak of the first source.
    n_sources : int
        Number of dipoles, which peak one after the other within `SPREAD_S`.
    """

    tier: str
    region: str
    latency_s: float
    n_sources: int


FACTORS: Mapping[str, Factor] = MappingProxyType(
    {
        "concept": Factor("object", "occipito-temporal", 0.17, 10),
        "colour": Factor("object", "occipital", 0.10, 6),
        "size": Factor("spatial", "parieto-occipital", 0.11, 4),
        "relation": Factor("spatial", "parietal", 0.22, 6),
        "theme": Factor("thematic", "frontal", 0.33, 6),
    }
)
"""Attribute of a scene to its place in the brain, in the order of `VOCABULARY`.

Size is told by captions of the spatial tier. Its sources lie on the dorsal border of occipital and
parietal cortex, so that they neighbour the sources of the relation, not those of the object.
"""

SPREAD_S = 0.12
WIDTH_S = (0.022, 0.032)
TILT_DEG = 15.0
RESPONSE_S = 0.6
"""Time after onset within which every response has risen and faded."""


class FactorBrainParams(Params):
    """How strong the evoked responses are and how much subjects differ.

    Attributes
    ----------
    kind : str
        "factors": the attributes of a scene each add a response of their own, so that the best decoder is known.
    strength_uv : dict of str to float
        Factor to the RMS of its response over levels, channels and the first `RESPONSE_S` seconds, in uV.
    n_shape_features : int
        Rank of the concepts' responses.
    common_uv : float
        RMS of the response that every picture evokes alike, in uV.
    gain_sd, strength_sd : float
        Standard deviation over subjects of the log gain, and of each factor's log strength.
    latency_sd_s : float
        Standard deviation over subjects of the latency.
    rotation_deg : float
        Angle by which a subject's dipoles are turned against the group's.
    """

    kind: Literal["factors"]
    strength_uv: dict[str, NonNegativeFloat]
    n_shape_features: int = Field(ge=1, lt=len(VOCABULARY["concept"]))
    common_uv: NonNegativeFloat
    gain_sd: NonNegativeFloat
    strength_sd: NonNegativeFloat
    latency_sd_s: NonNegativeFloat
    rotation_deg: NonNegativeFloat

    @field_validator("strength_uv")
    @classmethod
    def _name_every_factor(cls, strength_uv: dict[str, float]) -> dict[str, float]:
        if set(strength_uv) != set(FACTORS):
            raise ValueError(f"must name exactly the factors {', '.join(FACTORS)}")
        return strength_uv


@dataclass(frozen=True)
class Sources:
    """The dipoles of one factor and what each level asks of them.

    Attributes
    ----------
    sources : numpy.ndarray
        Indices into the head's sources.
    orientations : numpy.ndarray
        Unit vectors.
    latencies_s, widths_s : numpy.ndarray
        Peak and standard deviation of each dipole's time course.
    weights : numpy.ndarray
        Peak moment of each dipole for each level of the factor.
    """

    sources: np.ndarray
    orientations: Float[np.ndarray, "n_dipoles 3"]
    latencies_s: Float[np.ndarray, " n_dipoles"]
    widths_s: Float[np.ndarray, " n_dipoles"]
    weights: Float[np.ndarray, "n_levels n_dipoles"]

    def response(
        self, head: Head, times_s: Float[np.ndarray, " n_times"]
    ) -> Float[np.ndarray, "n_levels n_channels n_times"]:
        """Return the potential that each level evokes, in uV."""
        courses = np.exp(
            -0.5 * ((times_s - self.latencies_s[:, None]) / self.widths_s[:, None]) ** 2
        )
        gains = head.project(self.sources, self.orientations)
        potentials: np.ndarray = np.einsum(
            "ld,cd,dt->lct", self.weights, gains, courses, optimize=True
        )
        return potentials


@dataclass(frozen=True)
class Brain:
    """One brain, of the group or of a subject.

    Attributes
    ----------
    head : Head
        The forward model, the same for all.
    factors : Mapping[str, Sources]
        Factor to its dipoles.
    common : Sources
        Dipoles that answer every picture alike (one level).
    """

    head: Head
    factors: Mapping[str, Sources]
    common: Sources

    def templates(
        self, times_s: Float[np.ndarray, " n_times"]
    ) -> dict[str, Float[np.ndarray, "n_levels n_channels n_times"]]:
        """Return what each level of each factor adds to the potential, in uV."""
        return {
            name: sources.response(self.head, times_s) for name, sources in self.factors.items()
        }


def make_brain(params: FactorBrainParams, rng: np.random.Generator) -> Brain:
    """Draw the brain of the group: the layout that all subjects share.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness; the order of draws is fixed.
    """
    head = make_head()
    factors = {}
    for name, factor in FACTORS.items():
        features = _level_features(name, params.n_shape_features, rng)
        factors[name] = _draw_sources(head, factor, features, params.strength_uv[name], rng)
    every_picture = Factor("all", "occipital", 0.09, 4)
    common = _draw_sources(head, every_picture, np.ones((1, 1)), params.common_uv, rng)
    return Brain(head, factors, common)


def make_subject(group: Brain, params: FactorBrainParams, rng: np.random.Generator) -> Brain:
    """Draw a subject: the group's brain with a gain, strengths, latency and orientations of its own."""
    gain = np.exp(params.gain_sd * rng.standard_normal())
    delay_s = params.latency_sd_s * rng.standard_normal()

    def vary(sources: Sources) -> Sources:
        strength = gain * np.exp(params.strength_sd * rng.standard_normal())
        return Sources(
            sources.sources,
            tilt(sources.orientations, params.rotation_deg, rng),
            sources.latencies_s + delay_s,
            sources.widths_s,
            sources.weights * strength,
        )

    return Brain(
        group.head,
        {name: vary(sources) for name, sources in group.factors.items()},
        vary(group.common),
    )


def topography(
    brains: list[Brain], factor: str, times_s: Float[np.ndarray, " n_times"]
) -> Float[np.ndarray, " n_channels"]:
    """Return the planted strength of a factor per channel.

    Parameters
    ----------
    factor : str
        Key of `FACTORS`.
    times_s : numpy.ndarray
        Times over which to average.

    Returns
    -------
    numpy.ndarray
        RMS over subjects, levels and times, with a maximum of 1 (all 0 for a factor without strength).
    """
    responses = np.stack([b.factors[factor].response(b.head, times_s) for b in brains])
    strength: np.ndarray = np.sqrt((responses**2).mean(axis=(0, 1, 3)))
    largest = strength.max()
    return strength if largest == 0 else np.divide(strength, largest)


def levels_of(scene: Scene) -> dict[str, int]:
    """Return the level of each factor in a scene: the index into its `VOCABULARY`."""
    return {name: VOCABULARY[name].index(getattr(scene, name)) for name in FACTORS}


def _level_features(name: str, n_shape_features: int, rng: np.random.Generator) -> np.ndarray:
    """Return centred features of a factor's levels, to be mapped to dipoles."""
    if name == "concept":
        return shape_features(n_shape_features)
    features = rng.standard_normal((len(VOCABULARY[name]), len(VOCABULARY[name])))
    centred: np.ndarray = features - features.mean(axis=0)
    return centred


def _draw_sources(
    head: Head, factor: Factor, features: np.ndarray, strength_uv: float, rng: np.random.Generator
) -> Sources:
    """Place dipoles in a factor's region and scale their response to `strength_uv`."""
    sources = rng.choice(head.region(factor.region), factor.n_sources, replace=False)
    latencies_s = factor.latency_s + SPREAD_S * np.linspace(0, 1, factor.n_sources)
    draft = Sources(
        sources,
        tilt(unit(head.sources_m[sources]), TILT_DEG, rng),
        latencies_s,
        rng.uniform(*WIDTH_S, size=factor.n_sources),
        features @ orthogonal(features.shape[1], factor.n_sources, rng),
    )
    response = draft.response(head, np.arange(0.0, RESPONSE_S, 0.004))
    weights = draft.weights * (strength_uv / np.sqrt((response**2).mean()))
    return Sources(draft.sources, draft.orientations, latencies_s, draft.widths_s, weights)


def orthogonal(
    n_rows: int, n_columns: int, rng: np.random.Generator
) -> Float[np.ndarray, "n_rows n_columns"]:
    """Draw a matrix that keeps distances as well as its shape allows."""
    tall = rng.standard_normal((max(n_rows, n_columns), min(n_rows, n_columns)))
    basis, scale = np.linalg.qr(tall)
    basis *= np.sign(np.diag(scale))
    return basis if n_rows >= n_columns else basis.T


def tilt(
    orientations: Float[np.ndarray, "n_dipoles 3"], angle_deg: float, rng: np.random.Generator
) -> Float[np.ndarray, "n_dipoles 3"]:
    """Turn each unit vector by `angle_deg` in a random direction."""
    random = rng.standard_normal(orientations.shape)
    across = unit(random - (random * orientations).sum(axis=1, keepdims=True) * orientations)
    angle = np.deg2rad(angle_deg)
    turned: np.ndarray = np.cos(angle) * orientations + np.sin(angle) * across
    return turned
