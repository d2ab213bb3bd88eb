"""Find out what a study holds, check it, and write it down as tables."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from tasks.artifacts.contracts.events import EVENTS
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.recordings import RECORDINGS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.tables import empty_table, write_table
from tasks.eeg.rows import event_table, recording_table, stimulus_table
from tasks.eeg.sources.protocol import SourceError, Stimulus
from tasks.eeg.sources.registry import AnySourceParams, open_source
from tasks.eeg.sources.required_files import absent_files
from tasks.eeg.study import (
    LISTED,
    EventsOf,
    check_events,
    check_fetched,
    check_images,
    check_inside,
    check_recordings,
    check_repeated,
    examine_images,
    examine_recording,
    is_held,
    missing_images,
    repeated_images,
    without,
)
from tasks.runtime.map import Map
from tasks.runtime.params import Params

logger = logging.getLogger(__name__)

IMAGES_PER_SHARD = 2000


class IngestParams(Params):
    """Which study is used, and how strict to be with it."""

    source: AnySourceParams
    on_missing_recording: Literal["raise", "drop"]
    on_missing_image: Literal["raise", "drop"]
    on_repeated_image: Literal["raise", "drop"]


def ingest(
    raw: Path,
    *,
    recordings: Path,
    events: Path,
    stimuli: Path,
    oracle: Path,
    topographies: Path,
    params: IngestParams,
    map: Map,
) -> None:
    """Write the tables of a study, or say what is wrong with it.

    Parameters
    ----------
    raw
        Folder of all studies.
    recordings, events, stimuli
        Tables that every study has.
    oracle, topographies
        The truth of a simulated study; without rows for a recorded one.
    params
        The source.
    map
        Runs the shards: recordings, and blocks of images.
    """
    source = open_source(params.source, raw)
    absent = absent_files(params.source, raw / params.source.folder)
    if params.on_missing_recording == "raise":
        check_fetched(absent)
    elif absent:
        logger.warning(
            "%d files are left out, for they are not on disk: %s", len(absent), _names(absent)
        )
    found = [recording for recording in source.recordings() if is_held(recording, absent)]
    if not found:
        raise SourceError(
            f"{raw / params.source.folder} must hold a recording that is on disk; {len(absent)} files are not: "
            f"{_names(absent)}. Fetch them (`datalad get`, `git annex get`, `git lfs pull`)."
        )
    check_inside(raw / params.source.folder, (recording.path for recording in found))
    facts = map(partial(examine_recording, source), found)
    check_recordings(facts)

    shown: EventsOf = {recording: source.events(recording) for recording in found}
    listed = source.stimuli()
    check_inside(raw / params.source.folder, (stimulus.image_path for stimulus in listed))
    check_events(shown, listed, facts)
    missing = missing_images(listed)
    if params.on_missing_image == "raise":
        check_images(shown, missing)
    present = [stimulus for stimulus in listed if stimulus.stimulus_id not in missing]
    images = [image for block in map(examine_images, _blocks(present)) for image in block]
    repeated = repeated_images(images)
    if params.on_repeated_image == "raise":
        check_repeated(repeated)
    kept = shown
    for reason, names in (("are missing", missing), ("are also those of others", {*repeated})):
        n_before = sum(map(len, kept.values()))
        kept = without(kept, names)
        if dropped := n_before - sum(map(len, kept.values())):
            text = "%d trials are left out: the images of their %d stimuli %s."
            logger.warning(text, dropped, len(names), reason)
    images = [image for image in images if image.stimulus.stimulus_id not in repeated]
    if empty := [recording.recording_id for recording, rows in kept.items() if not rows]:
        logger.warning(
            "%d recordings are left out, for no trial of them is left: %s",
            len(empty),
            ", ".join(empty),
        )
        facts = [fact for fact in facts if kept[fact.recording]]

    write_table(
        recording_table(params.source.name, params.source.model_dump_json(), facts),
        recordings,
        RECORDINGS,
    )
    write_table(event_table(kept), events, EVENTS)
    write_table(
        stimulus_table(images, source.official_split() or {}),
        stimuli,
        STIMULI,
    )
    write_table(source.oracle() or empty_table(ORACLE), oracle, ORACLE)
    write_table(source.topographies() or empty_table(TOPOGRAPHIES), topographies, TOPOGRAPHIES)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.as_posix() for path in paths[:LISTED])


def _blocks(stimuli: Sequence[Stimulus]) -> list[Sequence[Stimulus]]:
    return [stimuli[i : i + IMAGES_PER_SHARD] for i in range(0, len(stimuli), IMAGES_PER_SHARD)]
