"""A small linear decoder and encoding model, with which a study of kind "features" is listened to.

It belongs to the tests: no part of the product is asked what it makes of the simulation.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from tasks.simulation.design import StudyParams
from tasks.simulation.feature_study import FeatureStudy
from tasks.simulation.head import CHANNELS
from tasks.simulation.schedule import make_schedule
from tasks.simulation.study import make_study
from tasks.simulation.vision import principal_components
from tests.conftest import preset

BIN_S, BEFORE_S, AFTER_S = 0.02, 0.1, 0.7
POSTERIOR_17 = "P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2"
OTHER_46 = (
    "Fp1 Fp2 AF7 AF3 AF4 AF8 F7 F5 F3 F1 F2 F4 F6 F8 FT9 FT7 FC5 FC3 FC1 FC2 FC4 FC6 FT8 FT10 T7 C5 "
    "C3 C1 Cz C2 C4 C6 T8 TP9 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 TP10 Fz Fpz"
)
POSTERIOR = tuple(POSTERIOR_17.split())
TEN_TEN = (*POSTERIOR, *OTHER_46.split())
"""The 17 posterior channels and the 63 of THINGS-EEG2 (with Fpz for its AFz, which the cap lacks)."""


PENALTIES = tuple(10.0 ** np.arange(0, 8, 0.5))


@dataclass(frozen=True)
class PlannedStudy(FeatureStudy):
    """A study in which each session has pictures of its own, shown as often as planned."""

    plan: tuple[tuple[tuple[int, ...], int], ...] = ()

    def schedule(self, subject, session):
        pictures, n = self.plan[session - 1]
        rng = self.rng("schedule", subject, session)
        concepts = ["any"] * len(pictures)
        made = make_schedule(self.params.schedule, concepts, n, self.params.sfreq_hz, rng)
        return replace(made, stimuli=np.array(pictures)[made.stimuli])


def feature_params(brain=None, noise=None, schedule=None, **changes):
    """Return the params of the preset, with changes; subjects' and groups' numbers are merged."""
    values = preset("simulated_features")["simulate"]
    for section, new in (("brain", brain), ("noise", noise), ("schedule", schedule)):
        for name, value in (new or {}).items():
            old = values[section][name]
            values[section][name] = old | value if isinstance(old, dict) else value
    return StudyParams.model_validate(values | changes)


def planned(params, plan, cache=None):
    study = make_study(params, cache)
    names = ("params", "stimuli", "noise", "layout", "brain_params", "sides")
    return PlannedStudy(*(getattr(study, name) for name in names), tuple(plan))


def epochs(study, subject, session, reference=True):
    """Return binned epochs (events, channels, bins) less their baseline, and each event's picture."""
    width = round(BIN_S * study.params.sfreq_hz)
    n_before, n_after = (round(t / BIN_S) for t in (BEFORE_S, AFTER_S))
    eeg = study.record(subject, session)
    good = [c not in study.bad_channels(subject, session) for c in CHANNELS]
    assert all(good), "listen to studies without bad channels"
    if reference:
        eeg -= eeg.mean(axis=0)
    schedule = study.schedule(subject, session)
    found = np.empty((len(schedule.onsets), len(CHANNELS), n_before + n_after), np.float32)
    for row, onset in zip(found, schedule.onsets, strict=True):
        here = eeg[:, onset - n_before * width : onset + n_after * width]
        row[:] = here.reshape(len(CHANNELS), -1, width).mean(axis=2)
    found -= found[:, :, :n_before].mean(axis=2, keepdims=True)
    return found, schedule.stimuli


def bin_times_s():
    return -BEFORE_S + BIN_S * (np.arange(round((BEFORE_S + AFTER_S) / BIN_S)) + 0.5)


def picked(eeg, channels):
    return eeg[:, [CHANNELS.index(c) for c in channels]]


def averaged(eeg, pictures, n):
    """Return the mean of the first n trials of each picture, in order of pictures."""
    which = np.unique(pictures)
    return np.stack([eeg[np.flatnonzero(pictures == p)[:n]].mean(axis=0) for p in which]), which


def whitened(train, shown, eeg):
    """Whiten channels by what differs between the trials of one training picture (MVNN; Guggenmos 2018)."""
    means, which = averaged(train, shown, len(train))
    residual = train - means[np.searchsorted(which, shown)]
    flat = residual.transpose(1, 0, 2).reshape(train.shape[1], -1).astype(float)
    covariance = np.cov(flat)
    covariance += 0.02 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    matrix = (vectors / np.sqrt(values)) @ vectors.T
    return np.einsum("cd,ndt->nct", matrix.astype(np.float32), eeg)


def targets(study, cache):
    """Return what the linear models know of pictures: the first components of each layer, beside each other."""
    with np.load(cache / "seen.npz") as seen:
        parts = [principal_components(seen[name], 50) for name in ("early", "middle", "late")]
    return np.concatenate(parts, axis=1)


def ridge(x, y, penalties=PENALTIES):
    """Fit y from x by ridge regression; the penalty is chosen by leave-one-out error (GCV)."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x, y = x - mean_x, y - mean_y
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    uy = u.T @ y
    best = None
    for penalty in penalties:
        shrink = s**2 / (s**2 + penalty)
        residual = ((y - u @ (shrink[:, None] * uy)) ** 2).sum()
        score = residual / (len(x) - shrink.sum()) ** 2
        if best is None or score < best[0]:
            best = (score, vt.T @ ((s / (s**2 + penalty))[:, None] * uy))
    weights = best[1]
    return lambda new: (new - mean_x) @ weights + mean_y


def cosines(a, b):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return a @ b.T


def top_1(predicted, own, candidates):
    """Return the share of predictions nearest to their own candidate."""
    return float((cosines(predicted, candidates).argmax(axis=1) == own).mean())


def share_right(d_prime, n_way):
    """Return the share right of n alternatives at a d', the answers being independent Gaussians."""
    x = np.linspace(-8, 14, 4001)
    density = stats.norm.pdf(x - d_prime) * stats.norm.cdf(x) ** (n_way - 1)
    return float(density.sum() * (x[1] - x[0]))


def d_prime(share, n_way):
    return float(optimize.brentq(lambda d: share_right(d, n_way) - share, -2, 9))
