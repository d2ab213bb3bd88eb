"""Electrodes on the head: where they are, what they lie over, and whether two maps agree.

Neighbouring electrodes see much the same, so that 128 of them are far fewer independent observations:
shuffling channels makes almost any two smooth maps agree "significantly". The null hypothesis here keeps
a map's smoothness and turns it about the head instead ("spin test", Alexander-Bloch et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import mne
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from tasks.runtime.errors import PerceptError

REGIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "frontal": ("Fp1", "Fpz", "Fp2", "F7", "F3", "Fz", "F4", "F8"),
        "central": ("C3", "Cz", "C4"),
        "temporal": ("T7", "T8", "P7", "P8"),
        "parietal": ("P3", "Pz", "P4"),
        "occipital": ("O1", "Oz", "O2"),
    }
)
"""Region to its electrodes of the 10-20 system; others belong to the nearest of these."""

MAX_GAP_DEG = 15.0
"""A turned electrode that comes to lie farther than this from all electrodes is off the cap."""

MIN_COVERED = 0.5
"""Share of the electrodes that a rotation must keep on the cap."""

Map = Float[np.ndarray, " n_channels"]


def directions_of(channels: Sequence[str], montage: str) -> Float[np.ndarray, "n_channels 3"]:
    """Return the direction of each electrode from the middle of the head, as unit vectors.

    Parameters
    ----------
    montage : str
        A standard montage of MNE.

    Raises
    ------
    PerceptError
        If the montage lacks an electrode.
    """
    places = mne.channels.make_standard_montage(montage).get_positions()["ch_pos"]
    missing = [name for name in channels if name not in places]
    if missing:
        raise PerceptError(
            f"Every channel must be in the montage {montage!r}; {', '.join(missing[:5])} "
            f"({len(missing)} of {len(channels)}) are not. Set `explain.maps.montage` to the cap's montage."
        )
    points = np.array([places[name] for name in places])
    return _unit(np.array([places[name] for name in channels]) - _centre(points))


def regions_of(channels: Sequence[str], montage: str) -> tuple[str, ...]:
    """Return the region that each electrode lies over: that of the nearest 10-20 electrode.

    Parameters
    ----------
    montage : str
        A standard montage of MNE that holds the 10-20 electrodes too.
    """
    landmarks = [(name, region) for region, names in REGIONS.items() for name in names]
    places = directions_of([name for name, _ in landmarks], montage)
    nearest = (directions_of(channels, montage) @ places.T).argmax(axis=1)
    return tuple(landmarks[index][1] for index in nearest)


@dataclass(frozen=True)
class Rotations:
    """Random rotations of the cap, drawn once for all maps.

    Attributes
    ----------
    source : Int[np.ndarray, "n_rotations n_channels"]
        Electrode nearest to where each electrode comes to lie.
    covered : Bool[np.ndarray, "n_rotations n_channels"]
        Whether that one is near enough; others have no part in the correlation.
    """

    source: Int[np.ndarray, "n_rotations n_channels"]
    covered: Bool[np.ndarray, "n_rotations n_channels"]

    @classmethod
    def draw(cls, directions: Float[np.ndarray, "n_channels 3"], n: int, seed: int) -> Self:
        """Draw rotations, uniform over all that keep at least half of the electrodes on the cap.

        Parameters
        ----------
        seed : int
            Same seed, same rotations.
        """
        rng = np.random.default_rng(seed)
        source: list[np.ndarray] = []
        covered: list[np.ndarray] = []
        while len(source) < n:
            cosines = Rotation.random(rng=rng).apply(directions) @ directions.T
            on_cap = cosines.max(axis=1) >= np.cos(np.deg2rad(MAX_GAP_DEG))
            if on_cap.mean() >= MIN_COVERED:
                source.append(cosines.argmax(axis=1))
                covered.append(on_cap)
        return cls(np.array(source), np.array(covered))

    def correlations(self, found: Map, planted: Map) -> Float[np.ndarray, " n_rotations"]:
        """Return the rank correlation of each rotation of a map with another map.

        Parameters
        ----------
        found, planted : Float[np.ndarray, "n_channels"]
            The map that is turned, and the one that stays.
        """
        return np.array(
            [
                rank_correlation(found[source][covered], planted[covered])
                for source, covered in zip(self.source, self.covered, strict=True)
            ]
        )


def rank_correlation(a: Map, b: Map) -> float:
    """Return Spearman's rank correlation; 0 where a map is the same everywhere."""
    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else 0.0


def region_shares(weights: Map, regions: Sequence[str]) -> dict[str, float]:
    """Return each region's share of the mean weights of all regions, large or small.

    Parameters
    ----------
    weights : Float[np.ndarray, "n_channels"]
        A map without negative values.
    """
    of = np.asarray(regions)
    means = {name: float(weights[of == name].mean()) for name in REGIONS if (of == name).any()}
    total = sum(means.values()) or 1.0
    return {name: mean / total for name, mean in means.items()}


def _centre(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " 3"]:
    """Return the centre of the sphere that fits best."""
    design = np.column_stack([2 * points, np.ones(len(points))])
    return np.asarray(np.linalg.lstsq(design, (points**2).sum(axis=1))[0][:3])


def _unit(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
