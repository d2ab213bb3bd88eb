"""Segments that a recording's annotations rule out, minded as `mne.Epochs` and `mne.io.Raw.filter` do by default."""

import mne
import numpy as np
from jaxtyping import Float64

BAD = "bad"
"""How descriptions begin that `mne.Epochs` rejects, in whatever case."""
JOINTS = ("edge", "bad_acq_skip")
"""How descriptions begin that `mne.io.Raw.filter` does not filter across."""


def ruled_out(
    raw: mne.io.BaseRaw, starts_s: Float64[np.ndarray, "n"], stops_s: Float64[np.ndarray, "n"]
) -> list[str]:
    """Return the first annotation that rules each stretch of time out; empty where none does.

    An annotation without duration, as where two recordings were joined, rules out what lies on both sides of it.

    Parameters
    ----------
    starts_s, stops_s
        First sample, and the one after the last, in s from the start of the recording.
    """
    reasons = [""] * len(starts_s)
    for onset_s, end_s, description in _annotations(raw, (BAD, *JOINTS)):
        for row in np.flatnonzero((onset_s < stops_s) & (end_s > starts_s)):
            reasons[row] = reasons[row] or description
    return reasons


def parts_between_joints(raw: mne.io.BaseRaw) -> list[tuple[int, int]]:
    """Return the first sample of each part that is filtered by itself, and the one after its last."""
    sfreq_hz, parts, start = float(raw.info["sfreq"]), [], 0
    for onset_s, end_s, _ in sorted(_annotations(raw, JOINTS)):
        stop = round(onset_s * sfreq_hz)
        if stop > start:
            parts.append((start, stop))
        start = max(start, round(end_s * sfreq_hz))
    if start < raw.n_times:
        parts.append((start, raw.n_times))
    return parts


def _annotations(raw: mne.io.BaseRaw, kinds: tuple[str, ...]) -> list[tuple[float, float, str]]:
    """Return onset and end, in s from the start of the recording, and description of these kinds."""
    found = raw.annotations
    onsets_s = found.onset - raw.first_time
    return [
        (float(onset_s), float(onset_s + duration_s), str(description))
        for onset_s, duration_s, description in zip(
            onsets_s, found.duration, found.description, strict=True
        )
        if description.lower().startswith(kinds)
    ]
