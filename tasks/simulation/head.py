"""The simulated head: the electrodes of the EEGCVPR cap and what each source shows at each of them.

MNE's forward model of a three-layer sphere over a volume grid of sources; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import mne
import numpy as np
from jaxtyping import Float

CAP = (
    "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 Pz P4 P8 "
    "PO9 O1 Oz O2 PO10 AF7 AF3 AF4 AF8 F5 F1 F2 F6 FT9 FT7 FC3 FC4 FT8 FT10 C5 C1 C2 C6 TP7 CP3 CPz "
    "CP4 TP8 P5 P1 P2 P6 PO7 PO3 POz PO4 PO8 Fpz F9 AFF5h AFF1h AFF2h AFF6h F10 FTT9h FTT7h FCC5h "
    "FCC3h FCC1h FCC2h FCC4h FCC6h FTT8h FTT10h TPP9h TPP7h CPP5h CPP3h CPP1h CPP2h CPP4h CPP6h "
    "TPP8h TPP10h POO9h POO1 POO2 POO10h Iz AFp1 AFp2 FFT9h FFT7h FFC5h FFC3h FFC1h FFC2h FFC4h "
    "FFC6h FFT8h FFT10h TTP7h CCP5h CCP3h CCP1h CCP2h CCP4h CCP6h TTP8h P9 PPO9h PPO5h PPO1h PPO2h "
    "PPO6h PPO10h P10 I1 OI1h OI2h I2"
)
CHANNELS = tuple(CAP.split())
"""The 128 electrodes of the EEGCVPR cap, in the order of its recordings."""

MONTAGE = "colin27_1005"
"""MNE's 10-05 montage (called ``standard_1005`` before MNE 1.13)."""

CENTRE_M = (-0.000894, 0.013001, 0.042285)
RADIUS_M = 0.096703
"""The sphere that lies nearest to the electrodes."""

SHELLS = {
    "mu": np.array([0.944851, 0.667792, -0.296607]),
    "lambda": np.array([0.414620, 2.071710, -0.030665]),
}
"""Places and strengths of the three dipoles of a plain sphere that stand for one in four layers.

The least squares of Berg and Scherg (1994). MNE's own search for them stops at 1e-4, elsewhere on each
processor, which changes the forward model by 0.1 %.
"""

GRID_MM = 15.0
CORTEX_M = (0.060, 0.085)
"""Distance from the middle of the head between which a source counts as cortical, in metres."""

REGION_ANGLE_DEG = 20.0
"""A source belongs to a region if it lies within this angle of one of the region's electrodes."""

REGIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "occipital": ("O1", "Oz", "O2"),
        "lateral-occipital": ("P7", "PO7", "P8", "PO8"),
        "occipito-temporal": ("P9", "PO9", "TPP9h", "P10", "PO10", "TPP10h"),
        "parieto-occipital": ("PPO1h", "POz", "PPO2h"),
        "parietal": ("P1", "CPz", "P2"),
        "frontal": ("AF3", "Fz", "AF4"),
    }
)
"""Cortical region to the electrodes above it."""


@dataclass(frozen=True)
class Head:
    """A forward model: electrodes, sources, and what each source shows at each electrode.

    Attributes
    ----------
    electrodes_m, sources_m : numpy.ndarray
        Positions relative to the middle of the head, in metres.
    leadfield : numpy.ndarray
        Potential per unit dipole moment along x, y and z.
    """

    electrodes_m: Float[np.ndarray, "n_channels 3"]
    sources_m: Float[np.ndarray, "n_sources 3"]
    leadfield: Float[np.ndarray, "n_channels n_sources 3"]

    def region(self, name: str) -> np.ndarray:
        """Return the indices of the cortical sources under the electrodes of a region."""
        directions = unit(self.electrodes_m[[CHANNELS.index(c) for c in REGIONS[name]]])
        cosine = (unit(self.sources_m) @ directions.T).max(axis=1)
        depth = np.linalg.norm(self.sources_m, axis=1)
        cortical = (depth >= CORTEX_M[0]) & (depth <= CORTEX_M[1])
        return np.flatnonzero(cortical & (cosine >= np.cos(np.deg2rad(REGION_ANGLE_DEG))))

    def project(
        self, sources: np.ndarray, orientations: Float[np.ndarray, "n_dipoles 3"]
    ) -> Float[np.ndarray, "n_channels n_dipoles"]:
        """Return what oriented dipoles at `sources` show at the electrodes."""
        potentials: np.ndarray = np.einsum("cdx,dx->cd", self.leadfield[:, sources], orientations)
        return potentials


@lru_cache(maxsize=1)
def make_head() -> Head:
    """Compute the forward model of the cap; nothing is downloaded."""
    info = make_info(250.0)
    sphere = mne.make_sphere_model(CENTRE_M, RADIUS_M, verbose="ERROR")
    sphere.update(SHELLS)
    grid = mne.setup_volume_source_space(pos=GRID_MM, sphere=sphere, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, None, grid, sphere, meg=False, eeg=True, verbose="ERROR"
    )
    electrodes = np.stack([channel["loc"][:3] for channel in info["chs"]])
    n_sources = len(forward["source_rr"])
    return Head(
        electrodes - sphere["r0"],
        forward["source_rr"] - sphere["r0"],
        forward["sol"]["data"].reshape(len(CHANNELS), n_sources, 3),
    )


def make_info(sfreq_hz: float) -> mne.Info:
    """Return the measurement info of the cap."""
    info = mne.create_info(list(CHANNELS), sfreq_hz, "eeg", verbose="ERROR")
    montage = mne.channels.make_standard_montage(MONTAGE)
    for point in montage.dig:  # single precision: the head's axes would differ between processors
        point["r"] = point["r"].astype(np.float64)
    info.set_montage(montage, verbose="ERROR")
    for point in info["dig"]:  # a zero that is not quite one would show in the file
        point["r"] = point["r"].round(9) + 0.0
    return info


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Scale vectors to length 1."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled
