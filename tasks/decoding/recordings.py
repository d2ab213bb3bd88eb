"""A new recording: opened, given the channels of training, and cut at its events or all along."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import mne
import numpy as np

from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.published_epochs import clean_stored_epochs
from tasks.eeg.sources.protocol import BROKEN, SourceError, StoredEpochs
from tasks.eeg.sources.tsv import read_header, read_rows
from tasks.runtime.errors import PerceptError

logger = logging.getLogger(__name__)

OnMissing = Literal["refuse", "interpolate"]
ALIASES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
"""Names of the 10-20 system to those that the 10-10 system gave the same places."""
MONTAGE = "colin27_1005"
MOST_MISSING = 0.2
"""Share of the channels that may be interpolated."""
NO_FILTERS = {"high_pass_hz": None, "low_pass_hz": None, "notch_hz": ()}


class RecordingError(PerceptError):
    """A recording is not what the encoder was trained to read."""


def open_recording(path: Path) -> mne.io.BaseRaw | mne.BaseEpochs:
    """Open a file of any format that MNE reads: a continuous recording, or epochs (``-epo.fif``).

    Raises
    ------
    RecordingError
        If it cannot be read.
    """
    if not path.exists():
        raise RecordingError(f"{path} must exist; it does not. Name a recording that MNE reads.")
    try:
        if path.name.endswith(("epo.fif", "epo.fif.gz")):
            return mne.read_epochs(path, preload=True, verbose="ERROR")
        return mne.io.read_raw(path, preload=False, verbose="ERROR")
    except BROKEN as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise RecordingError(
            f"{path} must be a recording that MNE reads; it cannot ({type(error).__name__}: {reason}). "
            "Copy it from its origin again."
        ) from error


def onsets_of(
    raw: mne.io.BaseRaw,
    params: CleaningParams,
    events: Path | None,
    every_s: float | None,
    name: str,
) -> list[float]:
    """Return where epochs are cut, in s from the start of the recording.

    Parameters
    ----------
    params : CleaningParams
        Their window must lie inside the recording.
    events : Path or None
        Table with a column ``onset`` (or ``onset_s``) in s, as BIDS has them; None takes the annotations of the recording.
    every_s : float or None
        Cut all along, one window after so many seconds, whatever the events.
    name : str
        Of the recording, for messages.

    Raises
    ------
    RecordingError
        If there are no events, or the recording is shorter than a window.
    """
    window, length_s = params.cut, raw.n_times / float(raw.info["sfreq"])
    if length_s < window.tmax_s - window.tmin_s:
        raise RecordingError(
            f"{name} must last {window.tmax_s - window.tmin_s:g} s at least, the window of the encoder; it lasts "
            f"{length_s:g} s."
        )
    if every_s is not None:
        return [float(t) for t in np.arange(-window.tmin_s, length_s - window.tmax_s, every_s)]
    if events is not None:
        remedy = "Mend the table, or leave --events out to take the recording's annotations."
        column = "onset_s" if "onset_s" in read_header(events, remedy) else "onset"
        try:
            found = [float(row[0]) for row in read_rows(events, (column,), remedy)]
        except ValueError as error:
            raise RecordingError(f"{events} must hold onsets in s; {error}. {remedy}") from error
    else:
        marks = raw.annotations
        ruled = ("bad", "edge")
        found = [
            float(onset_s - raw.first_time)
            for onset_s, text in zip(marks.onset, marks.description, strict=True)
            if not str(text).lower().startswith(ruled)
        ]
    outside = [onset_s for onset_s in found if not 0 <= onset_s < length_s]
    if outside or not found:
        what = f"{len(outside)} lie outside its {length_s:g} s" if outside else "there are none"
        raise RecordingError(
            f"{name} must have events inside it; {what}. Name a table with --events, or cut windows with --every."
        )
    return sorted(found)


def clean(
    found: mne.io.BaseRaw | mne.BaseEpochs,
    onsets_s: Sequence[float],
    params: CleaningParams,
    channels: Sequence[str],
    sfreq_hz: float,
    on_missing: OnMissing,
    name: str,
) -> CleanRecording:
    """Apply the preprocessing that the encoder was trained with.

    Parameters
    ----------
    found : mne.io.BaseRaw or mne.BaseEpochs
        Epochs are not filtered: they must have been, as in training.
    onsets_s : Sequence[float]
        Of a recording; epochs have none.
    channels : Sequence[str]
        Of the encoder, in their order.
    sfreq_hz : float
        Of its epochs.
    on_missing : {"refuse", "interpolate"}
        What to do about channels that the recording lacks.

    Raises
    ------
    RecordingError
        If a channel is missing and may not be, or the unit is another.
    """
    window = params.window.model_copy(update={"sfreq_hz": sfreq_hz})
    steps = params.model_copy(update={"window": window})
    data = _with_channels(found, channels, on_missing, name)
    try:
        if isinstance(data, mne.io.BaseRaw):
            done = clean_recording(data, onsets_s, steps, name, [True] * len(onsets_s))
        else:
            filters = steps.filters.model_copy(update=NO_FILTERS)
            eeg = (data.get_data(copy=True) * 1e6).astype(np.float32)
            stored = StoredEpochs(eeg, data.info, float(data.tmin), "uV")
            steps = steps.model_copy(update={"filters": filters})
            done = clean_stored_epochs(stored, steps, name, [True] * len(eeg))
    except SourceError as error:
        raise RecordingError(str(error)) from error
    order = [done.info.channels.index(channel) for channel in channels]
    cropped = done.cropped(window)
    cropped.eeg[:] = cropped.eeg[:, order]
    return cropped


def _with_channels(
    found: mne.io.BaseRaw | mne.BaseEpochs,
    channels: Sequence[str],
    on_missing: OnMissing,
    name: str,
) -> mne.io.BaseRaw | mne.BaseEpochs:
    """Return a copy with the channels of the encoder alone, under its names."""
    wanted = {_plain(channel): channel for channel in channels}
    names = {there: wanted[_plain(there)] for there in found.ch_names if _plain(there) in wanted}
    missing = [channel for channel in channels if channel not in names.values()]
    if missing and (on_missing == "refuse" or len(missing) > MOST_MISSING * len(channels)):
        allowed = (
            f"; at most {MOST_MISSING:.0%} may be interpolated" if on_missing != "refuse" else ""
        )
        raise RecordingError(
            f"{name} must have the {len(channels)} channels of the encoder; {len(missing)} are missing: "
            f"{', '.join(missing[:10])}{allowed}. Mend the names of its channels, or add --missing interpolate."
        )
    data = found.copy().load_data().pick(list(names))
    data.rename_channels(names, verbose="ERROR").set_channel_types(
        dict.fromkeys(names.values(), "eeg")
    )
    if missing:
        logger.warning("%s: %s interpolated.", name, ", ".join(missing))
        added = mne.create_info(missing, data.info["sfreq"], "eeg")
        shape = (len(missing), data.get_data().shape[-1])
        if isinstance(data, mne.io.BaseRaw):
            empty = mne.io.RawArray(
                np.zeros(shape), added, first_samp=data.first_samp, verbose="ERROR"
            )
        else:
            zeros = np.zeros((len(data), *shape))
            empty = mne.EpochsArray(zeros, added, data.events, data.tmin, verbose="ERROR")
        data.add_channels([empty], force_update_info=True)
        data.set_montage(MONTAGE, match_case=False, on_missing="ignore", verbose="ERROR")
        data.info["bads"] = [*data.info["bads"], *missing]
    places = np.array([channel["loc"][:3] for channel in data.info["chs"]])
    if not (np.isfinite(places).all() and places.any(axis=1).all()):
        data.set_montage(MONTAGE, match_case=False, on_missing="ignore", verbose="ERROR")
    return data


def _plain(channel: str) -> str:
    """Return a name as the montages compare it: case, ``EEG `` before and ``-REF`` after it do not count."""
    name = channel.lower().removeprefix("eeg ").split("-", 1)[0].strip().rstrip(".")
    return ALIASES.get(name, name)
