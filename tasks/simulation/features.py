"""The brain of kind "features": a trained network looks at the pictures and drives sources from the back to the front.

Three groups of dipoles read an early, a middle and a late layer of the network (`tasks.simulation.vision`)
and peak at 100 to 120, 150 to 200 and 250 to 400 ms: in occipital cortex, at its border to the temporal one
(under P7 to PO8), and there and in frontal cortex.
What reaches them is normalised by the activity of the whole layer (divisive normalisation; Carandini and
Heeger 2012, eq. 1), saturates, and is partly a conjunction of dimensions, which nothing linear can read.
Every trial has latencies and a gain of its own, some trials are missed altogether, and in rapid presentation
a picture weakens the answer to the next one and masks the late answer to the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tasks.runtime.params import Params
from tasks.simulation.brain import TILT_DEG, orthogonal, tilt
from tasks.simulation.head import Head, unit
from tasks.simulation.vision import principal_components

RESPONSE_S = 0.8
"""Time after onset within which every response has risen and faded."""

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Group:
    """Where and when one layer of the network shows.

    Attributes
    ----------
    regions : tuple of str
        Keys of `REGIONS`.
    peaks_s : tuple of float
        First and last peak of its dipoles after the onset of the picture.
    widths_s : tuple of float
        Least and largest width of a dipole's time course: see `RISE`.
    """

    regions: tuple[str, ...]
    peaks_s: tuple[float, float]
    widths_s: tuple[float, float]


GROUPS: Mapping[str, Group] = MappingProxyType(
    {
        "early": Group(("occipital",), (0.100, 0.120), (0.014, 0.020)),
        "middle": Group(("lateral-occipital",), (0.150, 0.200), (0.020, 0.030)),
        "late": Group(("lateral-occipital", "frontal"), (0.250, 0.400), (0.040, 0.060)),
    }
)
"""Group of sources, and layer of `tasks.simulation.vision.LAYERS`, to its place in the brain."""

RISE, DECAY = 0.7, 1.5
"""Standard deviation of a time course before and after its peak, in units of its width."""

N_DIPOLES = 24
COMMON: tuple[tuple[str, tuple[str, ...], float, float], ...] = (
    ("early", ("occipital",), 0.100, 0.015),
    ("middle", ("lateral-occipital",), 0.160, 0.020),
)
"""P1 and N1: the group whose latency they share, region, peak and width in seconds."""
N_COMMON = 4
SCALED_AT_HZ = 250.0
NOTHING, EVERYTHING = np.zeros(len(GROUPS)), np.ones(len(GROUPS))


class PerGroup(Params):
    """A number for each group of sources."""

    early: NonNegativeFloat
    middle: NonNegativeFloat
    late: NonNegativeFloat


class SubjectParams(Params):
    """How much subjects differ.

    Attributes
    ----------
    rotation_deg : tuple of float
        Least and largest angle by which a subject's dipoles are turned against the group's.
    latency_s : float
        Largest delay of a subject, either way; uniform.
    share_concentration : float
        Of the Dirichlet distribution of a subject's shares of variance: larger is more alike.
    own_readout : float
        Share of the variance of a subject's readout of the network that nobody else has.
    """

    rotation_deg: tuple[NonNegativeFloat, NonNegativeFloat]
    latency_s: NonNegativeFloat
    share_concentration: PositiveFloat
    own_readout: Share


class FeatureBrainParams(Params):
    """How pictures drive the brain, how trials and subjects differ, and what else the electrodes see.

    Attributes
    ----------
    kind : str
        "features": a trained network looks at the pictures.
    n_dimensions : int
        Principal components that a group reads of its layer, at most.
    evoked_uv : float
        RMS over pictures, channels and the first `RESPONSE_S` seconds of what tells pictures apart, in uV.
    shares : PerGroup
        Relative variance of each group in it.
    exponent : float
        Of the saturation: 1 is none.
    conjunctions : PerGroup
        Share of each group's variance that comes from products of two dimensions.
    p1_uv, n1_uv : float
        Peak of the response to any picture at its strongest channel, positive and negative.
    jitter_sd_s : PerGroup
        Standard deviation over trials of each group's latency.
    gain_sd : float
        Standard deviation over trials of the log gain of the whole response.
    lapse_share : float
        Share of trials without any response.
    adaptation, adaptation_s : float
        How much the previous picture weakens the response at most, and the time in which that fades to 1/e.
    masking : float
        What is left of the late response where the design is "rsvp".
    alpha_suppression, alpha_suppression_sd : float
        Mean share of the occipital rhythm that a picture takes away from 300 to 600 ms, and its standard
        deviation over concepts; the phase is random.
    noise_drift_sd, noise_wander_sd : float
        Standard deviation of the log amplitude of the background: over sessions, and within one.
    alpha_burst_sd : float
        Standard deviation of the log amplitude of the occipital rhythm, which comes and goes within a second.
    saccade_uv : float
        RMS amplitude of the eye movement after each picture at the strongest channel.
    saccade_side : float
        Correlation of its direction with the side of the picture on which more is to be seen.
    caption_errors : float
        Share of the details that a caption leaves out or tells wrongly.
    subjects : SubjectParams
        See there.
    """

    kind: Literal["features"]
    n_dimensions: PositiveInt
    evoked_uv: NonNegativeFloat
    shares: PerGroup
    exponent: PositiveFloat
    conjunctions: PerGroup
    p1_uv: NonNegativeFloat
    n1_uv: NonNegativeFloat
    jitter_sd_s: PerGroup
    gain_sd: NonNegativeFloat
    lapse_share: Share
    adaptation: Share
    adaptation_s: PositiveFloat
    masking: Share
    alpha_suppression: Share
    alpha_suppression_sd: NonNegativeFloat
    noise_drift_sd: NonNegativeFloat
    noise_wander_sd: NonNegativeFloat
    alpha_burst_sd: NonNegativeFloat
    saccade_uv: NonNegativeFloat
    saccade_side: Share
    caption_errors: Share
    subjects: SubjectParams


@dataclass(frozen=True)
class FeatureBrain:
    """The dipoles of one brain; those that answer every picture alike come last.

    Attributes
    ----------
    sources : numpy.ndarray
        Indices into the head's sources.
    orientations : numpy.ndarray
        Unit vectors.
    gains : numpy.ndarray
        Potential at each electrode per unit moment of each dipole, in uV.
    peaks_s, widths_s : numpy.ndarray
        Peak and width of each dipole's time course, which rises faster than it decays.
    groups : numpy.ndarray
        Place in `GROUPS` of the group whose latency and gain a dipole has.
    moments : numpy.ndarray
        Moment of each dipole at its peak for each picture.
    """

    sources: Int[np.ndarray, " n_dipoles"]
    orientations: Float[np.ndarray, "n_dipoles 3"]
    gains: Float[np.ndarray, "n_channels n_dipoles"]
    peaks_s: Float[np.ndarray, " n_dipoles"]
    widths_s: Float[np.ndarray, " n_dipoles"]
    groups: Int[np.ndarray, " n_dipoles"]
    moments: Float[np.ndarray, "n_pictures n_dipoles"]

    def courses(
        self,
        times_s: Float[np.ndarray, " n_times"],
        shifts_s: Float[np.ndarray, " n_groups"] = NOTHING,
    ) -> Float[np.ndarray, "n_dipoles n_times"]:
        """Return the time course of each dipole, with a maximum of 1.

        Parameters
        ----------
        shifts_s : numpy.ndarray
            By how much each group is late.
        """
        late_s = times_s - (self.peaks_s + shifts_s[self.groups])[:, None]
        widths_s = self.widths_s[:, None] * np.where(late_s < 0, RISE, DECAY)
        courses: np.ndarray = np.exp(-0.5 * (late_s / widths_s) ** 2)
        return courses

    def response(
        self,
        picture: int,
        times_s: Float[np.ndarray, " n_times"],
        shifts_s: Float[np.ndarray, " n_groups"] = NOTHING,
        group_gains: Float[np.ndarray, " n_groups"] = EVERYTHING,
    ) -> Float[np.ndarray, "n_channels n_times"]:
        """Return the potential that a picture evokes in one trial, in uV.

        Parameters
        ----------
        picture : int
            Place among the stimuli.
        shifts_s, group_gains : numpy.ndarray
            Delay and gain of each group.
        """
        moments = self.moments[picture] * group_gains[self.groups]
        response: np.ndarray = (self.gains * moments) @ self.courses(times_s, shifts_s)
        return response


@dataclass(frozen=True)
class Layout:
    """What all subjects share.

    Attributes
    ----------
    head : Head
        The forward model.
    drives : Mapping[str, numpy.ndarray]
        What the network sends to each group of each picture.
    readouts : Mapping[str, numpy.ndarray]
        How the dipoles of a group read it.
    brain : FeatureBrain
        The brain that the subjects vary.
    """

    head: Head
    drives: Mapping[str, Float[np.ndarray, "n_pictures n_outputs"]]
    readouts: Mapping[str, Float[np.ndarray, "n_outputs n_dipoles"]]
    brain: FeatureBrain


def drive(
    activity: Float[np.ndarray, "n_pictures n_values"],
    n_dimensions: int,
    exponent: float,
    conjunctions: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n_pictures n_outputs"]:
    """Return what a layer sends to its group of sources: centred, with a mean variance of 1.

    The principal components x of the layer are normalised to x / (sd + mean|x|), where sd is theirs over all
    pictures and the mean is over the components of one picture; then sign(r) |r|^exponent saturates.

    Parameters
    ----------
    activity : numpy.ndarray
        The layer's activity.
    conjunctions : float
        Share of the variance of the output that consists of products of two dimensions.

    Returns
    -------
    numpy.ndarray
        Twice as many columns as components: the dimensions, then products of each with another.
    """
    scores = principal_components(activity, n_dimensions)
    pool = scores.std() + np.abs(scores).mean(axis=1, keepdims=True)
    normalised = scores / np.where(pool > 0, pool, 1.0)
    saturated = np.sign(normalised) * np.abs(normalised) ** exponent
    partners = rng.permutation(saturated.shape[1])
    products = saturated * np.roll(saturated[:, partners], 1, axis=1)
    parts = [
        np.sqrt(share) * _centred(values)
        for share, values in ((1 - conjunctions, saturated), (conjunctions, products))
    ]
    return np.concatenate(parts, axis=1)


def make_layout(
    params: FeatureBrainParams,
    activity: Mapping[str, Float[np.ndarray, "n_pictures _"]],
    head: Head,
    rng: np.random.Generator,
) -> Layout:
    """Draw what all subjects share.

    Parameters
    ----------
    activity : Mapping[str, numpy.ndarray]
        What each group of `GROUPS` is shown of each picture.
    rng : numpy.random.Generator
        Source of randomness; the order of draws is fixed.
    """
    shares = params.shares.model_dump()
    drives, readouts, parts = {}, {}, []
    for number, (name, group) in enumerate(GROUPS.items()):
        conjunctions = getattr(params.conjunctions, name)
        sent = drive(activity[name], params.n_dimensions, params.exponent, conjunctions, rng)
        readout = orthogonal(sent.shape[1], N_DIPOLES, rng)
        part = replace(
            _dipoles(head, group.regions, number, N_DIPOLES, rng),
            peaks_s=rng.permutation(np.linspace(*group.peaks_s, N_DIPOLES)),
            widths_s=rng.uniform(*group.widths_s, N_DIPOLES),
            moments=sent @ readout,
        )
        wanted_uv = params.evoked_uv * np.sqrt(shares[name] / sum(shares.values()))
        factor = wanted_uv / max(_rms_uv(part), np.finfo(float).tiny)
        drives[name], readouts[name] = sent, readout * factor
        parts.append(replace(part, moments=part.moments * factor))
    n_pictures = len(parts[0].moments)
    for (name, regions, peak_s, width_s), peak_uv in zip(
        COMMON, (params.p1_uv, -params.n1_uv), strict=True
    ):
        part = _dipoles(head, regions, list(GROUPS).index(name), N_COMMON, rng)
        moment = peak_uv / np.abs(part.gains.sum(axis=1)).max()
        parts.append(
            replace(
                part,
                peaks_s=np.full(N_COMMON, peak_s),
                widths_s=np.full(N_COMMON, width_s),
                moments=np.full((n_pictures, N_COMMON), moment),
            )
        )
    return Layout(head, drives, readouts, _joined(parts))


def make_subject(
    layout: Layout, params: FeatureBrainParams, rng: np.random.Generator
) -> FeatureBrain:
    """Draw a subject: turned dipoles, a delay, shares of variance and a part of the readout of its own."""
    brain, own = layout.brain, params.subjects
    angle_deg = rng.uniform(*own.rotation_deg)
    orientations = tilt(brain.orientations, angle_deg, rng)
    delay_s = rng.uniform(-own.latency_s, own.latency_s)
    shares = np.array(list(params.shares.model_dump().values()))
    shares = shares / shares.sum()
    mine = rng.dirichlet(own.share_concentration * shares)
    moments = brain.moments.copy()
    for number, (name, readout) in enumerate(layout.readouts.items()):
        here = slice(number * N_DIPOLES, (number + 1) * N_DIPOLES)
        nobody_elses = orthogonal(len(readout), readout.shape[1], rng)
        nobody_elses *= np.linalg.norm(readout) / np.linalg.norm(nobody_elses)
        mixed = np.sqrt(1 - own.own_readout) * readout + np.sqrt(own.own_readout) * nobody_elses
        moments[:, here] = layout.drives[name] @ mixed * np.sqrt(mine[number] / shares[number])
    return replace(
        brain,
        orientations=orientations,
        gains=layout.head.project(brain.sources, orientations),
        peaks_s=brain.peaks_s + delay_s,
        moments=moments,
    )


def response_times_s(sfreq_hz: float) -> Float[np.ndarray, " n_times"]:
    """Return the sampling times of an evoked response, in seconds from onset."""
    return np.arange(round(RESPONSE_S * sfreq_hz)) / sfreq_hz


def _dipoles(
    head: Head, regions: Sequence[str], group: int, n_dipoles: int, rng: np.random.Generator
) -> FeatureBrain:
    """Place dipoles in regions, pointing outwards, without a time course or moments yet."""
    places = np.unique(np.concatenate([head.region(region) for region in regions]))
    sources = rng.choice(places, n_dipoles, replace=False)
    orientations = tilt(unit(head.sources_m[sources]), TILT_DEG, rng)
    gains, none = head.project(sources, orientations), np.zeros(n_dipoles)
    groups = np.full(n_dipoles, group)
    return FeatureBrain(sources, orientations, gains, none, none, groups, none[None])


def _joined(parts: Sequence[FeatureBrain]) -> FeatureBrain:
    axes = {"gains": 1, "moments": 1}
    names = [field.name for field in fields(FeatureBrain)]
    return FeatureBrain(
        *(np.concatenate([getattr(p, n) for p in parts], axis=axes.get(n, 0)) for n in names)
    )


def _rms_uv(part: FeatureBrain) -> float:
    """Return the RMS of what dipoles show of pictures, over pictures, channels and `RESPONSE_S`."""
    courses = part.courses(response_times_s(SCALED_AT_HZ))
    # The mean square of G diag(m) C over channels and times is m' (G'G * CC') m.
    gram = (part.gains.T @ part.gains) * (courses @ courses.T)
    squares = np.einsum("pd,de,pe->p", part.moments, gram, part.moments)
    return float(np.sqrt(squares.mean() / (len(part.gains) * courses.shape[1])))


def _centred(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    scaled: np.ndarray = centred / max(np.sqrt((centred**2).mean()), np.finfo(float).tiny)
    return scaled
