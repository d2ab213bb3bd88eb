"""Turn recordings into clean epochs, and decide which trials are held out."""

import logging
from collections.abc import Set
from functools import partial
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
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import read_table, write_table
from tasks.eeg.averages import average_recording
from tasks.eeg.averaging import RepetitionParams, average_subject, subjects_of
from tasks.eeg.cleaning import CleanRecording, clean_recording
from tasks.eeg.cleaning_params import CleaningParams
from tasks.eeg.design import describe_design
from tasks.eeg.epochs import trial_id_of, write_epochs
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
from tasks.runtime.files import link_or_copy
from tasks.runtime.map import Map

logger = logging.getLogger(__name__)


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
        Folder of one Parquet file per recording.
    quality
        Table of what was found in each recording.
    averages
        Table of the mean epoch and the mean spectrum of each recording.
    params
        Cleaning, whitening, averaging and split.
    map
        Runs the shards: one per recording, then one per session, then one per subject.
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

    _publish(findings, epochs)
    table = trial_table(rows, shown, pictures, findings)
    seen = named_by_training(splits, table["concept"].to_pylist(), table["kept"].to_pylist())
    write_table(table.append_column("split", pa.array(seen, pa.string())), trials, TRIALS)
    write_table(quality_table(findings), quality, QUALITY)
    curves = map(average_recording, [epochs / f"{name}.parquet" for name in findings])
    write_table(pa.concat_tables(curves), averages, AVERAGES)


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
    trial_ids = [trial_id_of(name, order) for order in shown["presentation_order"].to_pylist()]
    onsets_s = shown["onset_s"].to_pylist()
    steps = params.model_dump(mode="json", exclude={"split", "whitening", "repetitions"})
    training = None if looked_at is None else [trial_id in looked_at for trial_id in trial_ids]
    entry = cache.entry(name, [recording["sha256"], trial_ids, onsets_s, steps, training])
    if entry.exists():
        logger.info("%s: epochs taken from the cache", name)
        return entry.read()
    source = open_source(parse_params(recording["source"]), raw)
    found = source.read(recording_of_row(recording))
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
    if len(found.eeg) != len(onsets_s):
        raise SourceError(
            f"{name} must store one epoch per event; it stores {len(found.eeg)} for "
            f"{len(onsets_s)} events. Mend the source."
        )
    return clean_stored_epochs(found, params, name, training).cropped(params.window)


def _stimuli_of(shown: pa.Table, chosen: list[bool]) -> dict[str, str]:
    """Return the stimulus of each chosen trial."""
    names = ("recording_id", "presentation_order", "stimulus_id")
    columns = (shown[name].to_pylist() for name in names)
    return {
        trial_id_of(name, order): stimulus
        for name, order, stimulus, is_chosen in zip(*columns, chosen, strict=True)
        if is_chosen
    }


def _publish(findings: dict[str, Findings], folder: Path) -> None:
    """Put the epochs of these recordings, and no others, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in findings:
            path.unlink()
    for name, found in findings.items():
        link_or_copy(found.epochs, folder / f"{name}.parquet")
