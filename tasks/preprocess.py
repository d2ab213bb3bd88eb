"""Turn recordings into clean epochs, and decide which trials are held out."""

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import mne
import pyarrow as pa
import pyarrow.compute as pc

from tasks.artifacts.contracts.averages import AVERAGES
from tasks.artifacts.contracts.events import EVENTS
from tasks.artifacts.contracts.quality import QUALITY
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS, trial_ids_of
from tasks.artifacts.tables import read_table, write_table
from tasks.eeg.averages import average_recording
from tasks.eeg.averaging import RepetitionParams, average_subject, subjects_of
from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.design import describe_design
from tasks.eeg.epochs import path_of, write_epochs
from tasks.eeg.published_epochs import clean_stored_epochs
from tasks.eeg.rows import (
    quality_row,
    quality_table,
    recording_of_row,
    trial_table,
    with_subjects,
)
from tasks.eeg.shards import Findings, ShardCache
from tasks.eeg.sources.protocol import SourceError, StoredEpochs
from tasks.eeg.sources.registry import open_source, parse_params
from tasks.eeg.splits import SplitParams, assign_splits, fitted_on, named_by_training
from tasks.eeg.whitening import WhiteningParams, sessions_of, whiten_session
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import link_or_copy
from tasks.runtime.map import Map

logger = logging.getLogger(__name__)

LISTED = 5  # reasons in a message


class DiskError(PerceptError):
    """The disk is too small for what a stage would write."""


class PreprocessParams(CleaningParams):
    """How recordings are cleaned, whitened and averaged, and how trials are split."""

    whitening: WhiteningParams | None
    repetitions: RepetitionParams | None
    split: SplitParams


def preprocess(
    recordings: Path,
    events: Path,
    stimuli: Path,
    raw: Path,
    *,
    trials: Path,
    epochs: Path,
    quality: Path,
    averages: Path,
    params: PreprocessParams,
    map: Map,
) -> None:
    """Write the epochs of each recording, what became of each trial, and what was found.

    A finished recording is kept in ``data/cache/preprocess`` under a hash of its bytes, its events,
    the params and the code, so that an interrupted run, or one with a subject more, goes on from there.
    The split comes first: it rests on no EEG, and whatever is fitted may look at training trials alone.

    Parameters
    ----------
    recordings, events, stimuli
        From `ingest`.
    raw
        Folder of all studies.
    trials
        Table of all presentations, kept or not, with their split.
    epochs
        Folder of one Arrow file per recording.
    quality
        Table of what was found in each recording.
    averages
        Table of the mean epoch and the mean spectrum of each recording.
    params
        Cleaning, whitening, averaging and split.
    map
        Runs the shards: one per recording, then one per session, then one per subject.

    Raises
    ------
    DiskError
        If the disk is too small for the epochs.
    """
    rows = read_table(recordings, RECORDINGS).to_pylist()
    shown = read_table(events, EVENTS)
    pictures = read_table(stimuli, STIMULI)
    untimed = {row["recording_id"] for row in rows if not row["timed"]}
    design = describe_design(shown, pictures, timed=not untimed)
    level = logging.INFO if design.confounded is False else logging.WARNING
    logger.log(level, "%s", design.sentence)
    whose = with_subjects(shown, rows)
    splits = assign_splits(whose, pictures, params.split, untimed)

    cache = ShardCache(raw.parent / "cache" / "preprocess")
    require_disk(rows, shown, params, cache.folder)
    training = _stimuli_of(shown, fitted_on(splits, whose["subject"].to_pylist()))
    looked_at = frozenset(training) if params.is_fitted else None
    work = partial(process_recording, events, raw, cache, params, looked_at)
    names = [row["recording_id"] for row in rows]
    findings = dict(zip(names, map(work, rows), strict=True))
    if params.whitening is not None:
        whiten = partial(whiten_session, cache, params.whitening)
        for done in map(whiten, sessions_of(rows, findings, training)):
            findings |= done
    if params.repetitions is not None:
        average = partial(average_subject, cache, params.repetitions)
        for done in map(average, subjects_of(rows, findings, shown, splits)):
            findings |= done

    for name, found in findings.items():
        reasons = Counter(found.reject_reasons.values())
        if not reasons[""]:
            why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(LISTED))
            logger.warning("%s: none of its %d trials is kept: %s", name, reasons.total(), why)
    _publish(findings, epochs)
    table = trial_table(rows, shown, pictures, findings)
    seen = named_by_training(splits, table["concept"].to_pylist(), table["kept"].to_pylist())
    write_table(table.append_column("split", pa.array(seen, pa.string())), trials, TRIALS)
    write_table(quality_table(findings), quality, QUALITY)
    curves = map(average_recording, [path_of(epochs, name) for name in findings])
    write_table(pa.concat_tables(curves), averages, AVERAGES)


def require_disk(
    recordings: Sequence[Mapping[str, Any]],
    events: pa.Table,
    params: PreprocessParams,
    folder: Path,
) -> None:
    """Check, before anything is cleaned, that the epochs of all trials will fit on the disk.

    Epochs that lie there from before are counted as there; they may turn out to be of other params.

    Parameters
    ----------
    recordings
        Rows of `recordings`.
    folder
        Where finished recordings are kept.

    Raises
    ------
    DiskError
        If they will not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_events = Counter(events["recording_id"].to_pylist())
    n_copies = 1 + (params.whitening is not None)
    needed = 0
    for row in recordings:
        rate = params.window.sfreq_hz or row["sfreq_hz"]
        n_times = round((params.window.tmax_s - params.window.tmin_s) * rate)
        size = 4 * n_copies * n_events[row["recording_id"]] * row["n_channels"] * n_times
        there = folder.glob(f"{row['recording_id']}-*/*.arrow")
        needed += max(0, size - sum(file.stat().st_size for file in there))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskError(
            f"The disk of {folder} must have room for the epochs of {len(events):,} trials, "
            f"{needed / 1e9:.1f} GB more than lie there; {free / 1e9:.1f} GB are free. Free some, delete "
            f"recordings of other params from {folder}, or lower preprocess.window.sfreq_hz."
        )


def process_recording(
    events: Path,
    raw: Path,
    cache: ShardCache,
    params: CleaningParams,
    looked_at: Set[str] | None,
    recording: dict[str, Any],
) -> Findings:
    """Clean one recording, or find that this was done before.

    Parameters
    ----------
    events
        From `ingest`.
    raw
        Folder of all studies.
    cache
        Where finished recordings are kept.
    params
        How to clean.
    looked_at
        Trials that fitted steps may look at; None where no step is fitted.
    recording
        A row of `recordings`.

    Returns
    -------
    Findings
        Where the epochs lie, what became of each trial, and what was found.
    """
    name = recording["recording_id"]
    shown = read_table(events, EVENTS).filter(pc.field("recording_id") == name)
    orders = shown["presentation_order"].to_pylist()
    trial_ids = trial_ids_of([name] * len(orders), orders)
    onsets_s = shown["onset_s"].to_pylist()
    steps = params.model_dump(mode="json", exclude={"split", "whitening", "repetitions"})
    training = None if looked_at is None else [trial_id in looked_at for trial_id in trial_ids]
    entry = cache.entry(name, [recording["sha256"], trial_ids, onsets_s, steps, training])
    if entry.exists():
        logger.info("%s: epochs taken from the cache", name)
        return entry.read()
    source = open_source(parse_params(recording["source"]), raw)
    found = source.read(recording_of_row(recording))
    if isinstance(found, StoredEpochs):
        found = _of_events(found, shown["presentation_order"].to_pylist(), name)
    clean = _clean(found, onsets_s, params, name, training)
    kept = [t for t, reason in zip(trial_ids, clean.reject_reasons, strict=True) if not reason]
    write_epochs(entry.epochs, kept, clean.eeg, clean.info)
    logger.info(
        "%s: %d of %d trials kept; bad channels: %s",
        name,
        len(kept),
        len(trial_ids),
        ", ".join(f"{c} ({reason})" for c, reason in clean.bad_channels.items()) or "none",
    )
    return entry.finish(
        reject_reasons=dict(zip(trial_ids, clean.reject_reasons, strict=True)),
        quality=quality_row(name, clean),
    )


def _clean(
    found: mne.io.BaseRaw | StoredEpochs,
    onsets_s: list[float],
    params: CleaningParams,
    name: str,
    training: list[bool] | None,
) -> CleanRecording:
    """Clean what a source has read, whatever it is, and crop it to the window."""
    if not isinstance(found, StoredEpochs):
        return clean_recording(found, onsets_s, params, name, training).cropped(params.window)
    return clean_stored_epochs(found, params, name, training).cropped(params.window)


def _of_events(found: StoredEpochs, orders: list[int], name: str) -> StoredEpochs:
    """Return the epochs of the events that `ingest` did not leave out; where it left none out, as they are."""
    if orders[-1] >= len(found.eeg):
        raise SourceError(
            f"{name} must store one epoch per event; it stores {len(found.eeg)} and event {orders[-1]} is wanted "
            "(0 is the first). Run `dvc repro ingest`."
        )
    if len(orders) == len(found.eeg):
        return found
    return replace(found, eeg=found.eeg[orders])


def _stimuli_of(shown: pa.Table, chosen: list[bool]) -> dict[str, str]:
    """Return the stimulus of each chosen trial."""
    names = ("recording_id", "presentation_order", "stimulus_id")
    shown_in, orders, stimuli = (shown[name].to_pylist() for name in names)
    trial_ids = trial_ids_of(shown_in, orders)
    return dict(compress(zip(trial_ids, stimuli, strict=True), chosen))


def _publish(findings: dict[str, Findings], folder: Path) -> None:
    """Put the epochs of these recordings, and no others, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in findings or path != path_of(folder, path.stem):
            path.unlink()
    for name, found in findings.items():
        link_or_copy(found.epochs, path_of(folder, name))
