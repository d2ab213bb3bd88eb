"""The rows of the tables that `ingest` and `preprocess` write."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.artifacts.contracts.events import EVENTS
from tasks.artifacts.contracts.quality import QUALITY
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS, trial_ids_of
from tasks.eeg.cleaning import CleanRecording
from tasks.eeg.shards import Findings
from tasks.eeg.sources.protocol import Event, Recording
from tasks.eeg.study import EventsOf, ImageFacts, RecordingFacts


def recording_table(dataset: str, source: str, facts: Sequence[RecordingFacts]) -> pa.Table:
    """Return one row per recording, under contract RECORDINGS.

    Parameters
    ----------
    source
        Its params, as JSON.
    """
    rows = [
        {
            "recording_id": fact.recording.recording_id,
            "dataset": dataset,
            "source": source,
            "subject": fact.recording.subject,
            "session": fact.recording.session,
            "path": fact.recording.path.as_posix(),
            "timed": fact.recording.timed,
            "sfreq_hz": fact.sfreq_hz,
            "n_channels": len(fact.channels),
            "duration_s": fact.duration_s,
            "sha256": fact.sha256,
        }
        for fact in facts
    ]
    return pa.Table.from_pylist(rows, RECORDINGS)


def recording_of_row(row: Mapping[str, Any]) -> Recording:
    """Return what a row of `recordings` was made from."""
    names = ("recording_id", "subject", "session", "timed")
    return Recording(**{name: row[name] for name in names}, path=Path(row["path"]))


def event_table(events: EventsOf) -> pa.Table:
    """Return one row per presentation, under contract EVENTS.

    Parameters
    ----------
    events
        Of each recording, in the order in which a subject met them: repetitions are counted here.
    """
    seen: Counter[tuple[str, str]] = Counter()
    rows = [
        _event_row(recording, event, seen) for recording in events for event in events[recording]
    ]
    return pa.Table.from_pylist(rows, EVENTS)


def with_subjects(events: pa.Table, recordings: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the events with what a split may look at beside them: the column ``subject``.

    Parameters
    ----------
    recordings
        Rows of `recordings`.
    """
    subject_of = {row["recording_id"]: row["subject"] for row in recordings}
    subjects = [subject_of[name] for name in events["recording_id"].to_pylist()]
    return events.append_column("subject", pa.array(subjects, pa.string()))


def stimulus_table(images: Sequence[ImageFacts], official_split: Mapping[str, str]) -> pa.Table:
    """Return one row per picture, under contract STIMULI.

    Parameters
    ----------
    official_split
        The publisher's, by stimulus_id.
    """
    rows = [
        {
            "stimulus_id": image.stimulus.stimulus_id,
            "concept": image.stimulus.concept,
            "image_path": image.stimulus.image_path.as_posix(),
            "width_px": image.width_px,
            "height_px": image.height_px,
            "sha256": image.sha256,
            "official_split": official_split.get(image.stimulus.stimulus_id, ""),
        }
        for image in images
    ]
    return pa.Table.from_pylist(rows, STIMULI)


def trial_table(
    recordings: list[dict[str, Any]],
    events: pa.Table,
    stimuli: pa.Table,
    findings: dict[str, Findings],
) -> pa.Table:
    """Return one row per presentation, under contract TRIALS but without the split."""
    recording_of = {row["recording_id"]: row for row in recordings}
    concept_of = {row["stimulus_id"]: row["concept"] for row in stimuli.to_pylist()}
    rows = []
    columns = (events[name].to_pylist() for name in ("recording_id", "presentation_order"))
    for trial_id, event in zip(trial_ids_of(*columns), events.to_pylist(), strict=True):
        name = event["recording_id"]
        reason = findings[name].reject_reasons[trial_id]
        added = {
            "trial_id": trial_id,
            "subject": recording_of[name]["subject"],
            "session": recording_of[name]["session"],
            "concept": concept_of[event["stimulus_id"]],
            "kept": not reason,
            "reject_reason": reason,
        }
        rows.append(added | event)
    schema = TRIALS.remove(TRIALS.get_field_index("split"))
    return pa.Table.from_pylist(rows, schema)


def quality_row(name: str, clean: CleanRecording) -> dict[str, Any]:
    """Return a row of QUALITY."""
    bad = [channel for channel in clean.info.channels if channel in clean.bad_channels]
    reasons = Counter(_kind_of(reason) for reason in clean.reject_reasons if reason)
    return {
        "recording_id": name,
        "n_events": len(clean.reject_reasons),
        "n_kept": len(clean.eeg),
        "rejections": "; ".join(f"{n} {kind}" for kind, n in sorted(reasons.items())),
        "bad_channels": ",".join(bad),
        "bad_channel_reasons": ",".join(clean.bad_channels[channel] for channel in bad),
        "n_ica_removed": clean.n_ica_removed,
        "line_noise_ratio": float(f"{clean.line_noise_ratio:.6g}"),
        "drift_uv": float(f"{clean.drift_uv:.6g}"),
        "peak_to_peak_uv": float(f"{clean.peak_to_peak_uv:.6g}"),
    }


def _kind_of(reason: str) -> str:
    """Return a reason without its numbers: peak to peak, flat, autoreject, outside the recording."""
    return re.split(r":| \d", reason)[0]


def quality_table(findings: dict[str, Findings]) -> pa.Table:
    """Return one row per recording, under contract QUALITY."""
    return pa.Table.from_pylist([found.quality for found in findings.values()], QUALITY)


def _event_row(
    recording: Recording, event: Event, seen: Counter[tuple[str, str]]
) -> dict[str, Any]:
    """Return a row; ``seen`` counts how often each subject has seen each stimulus so far."""
    key = (recording.subject, event.stimulus_id)
    seen[key] += 1
    return {
        "recording_id": recording.recording_id,
        "presentation_order": event.presentation_order,
        "onset_s": event.onset_s,
        "duration_s": event.duration_s,
        "stimulus_id": event.stimulus_id,
        "block": event.block,
        "repetition": seen[key] - 1,
    }
