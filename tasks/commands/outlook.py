"""What later stages will say of a study's parts, told from its events: no EEG is cleaned for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tasks.artifacts.catalogue import Artifacts
    from tasks.eeg.sources.registry import AnySourceParams

LISTED = 10  # names in a message


def expect(
    params: Mapping[str, Any], source: AnySourceParams, artifacts: Artifacts
) -> Iterator[tuple[str, str]]:
    """Say what the parts of a study hold, and which stage would refuse them.

    The events are those that `ingest` wrote of this very source; before it has run, the source is asked.
    Trials that cleaning will reject are not known yet.

    Parameters
    ----------
    params
        All sections of params.yaml.

    Yields
    ------
    mark : str
        ``ok``, ``--`` (worth knowing) or ``!!`` (a stage would refuse).
    text : str
        One sentence or two.
    """
    from pydantic import TypeAdapter, ValidationError

    from tasks.artifacts.splits import HELD_OUT, SPLITS, main_split
    from tasks.eeg.splits import SplitParams
    from tasks.runtime.errors import PerceptError

    try:
        split = TypeAdapter(SplitParams).validate_python(params["preprocess"]["split"])
    except (KeyError, TypeError, ValidationError):
        return  # said by the params findings
    try:
        trials = _trials(params, source, artifacts, split)
    except PerceptError as error:
        yield "!!", str(error)
        return
    counts = {part: trials[trials["split"] == part] for part in SPLITS}
    parts = (
        f"{part} {len(own)} trials of {own['stimulus_id'].nunique()} pictures and "
        f"{own['concept'].nunique()} concepts"
        for part, own in counts.items()
        if len(own)
    )
    yield "ok", "; ".join(parts)
    for text in _refusals(params, trials, artifacts):
        yield "!!", text
    held_out = trials[trials["split"].isin(HELD_OUT)]
    main = counts.get(main_split(held_out["split"]) or "", held_out)
    n_concepts, ks = main["concept"].nunique(), params.get("evaluate", {}).get("ks", [])
    if n_concepts and (over := [k for k in ks if k >= n_concepts]):
        yield (
            "--",
            f"the held-out trials show {n_concepts} concepts: any decoder is right among the first "
            f"{', '.join(map(str, over))} of them (evaluate.ks)",
        )
    if moved := sorted(set(trials.loc[trials["moved"], "concept"])):
        yield (
            "--",
            f"{len(moved)} concepts are shown by test trials and by no training trial "
            f"({', '.join(moved[:LISTED])}): their trials will count as zero_shot",
        )


def _refusals(
    params: Mapping[str, Any], trials: pd.DataFrame, artifacts: Artifacts
) -> Iterator[str]:
    """Yield what `preprocess`, `train`, `retrieve`, `evaluate` and `explain` would refuse."""
    from tasks.artifacts.splits import HELD_OUT, SEEN
    from tasks.clip.galleries import GALLERY_SPLITS
    from tasks.encoder.dataset import TrainingDataError, check_splits

    if params["preprocess"].get("whitening"):
        fitted = trials.groupby(trials["subject"] + " " + trials["session"])["fitted_on"].any()
        if without := sorted(fitted.index[~fitted]):
            yield (
                f"each session must have training trials to be whitened; {len(without)} have none "
                f"({', '.join(without[:LISTED])}): set preprocess.whitening to null, or change "
                "preprocess.split"
            )
    seen = trials[trials["split"].isin(SEEN)]
    try:
        check_splits(seen, artifacts.trials, int(params.get("train", {}).get("batch_size", 1)))
    except TrainingDataError as error:
        yield str(error)
    held_out = trials[trials["split"].isin(HELD_OUT)]
    if held_out.empty:
        yield "no trial is held out, so that nothing can be evaluated: change preprocess.split"
    section = params.get("retrieve", {})
    k = int(section.get("k", 1))
    for name in section.get("galleries", ()):
        inside = trials["split"].isin(GALLERY_SPLITS[name])
        n_pictures = trials.loc[inside, "stimulus_id"].nunique()
        if n_pictures < k:
            yield (
                f"the gallery {name} will hold the captions of {n_pictures} pictures, fewer than "
                f"retrieve.k = {k}: lower it"
            )
    per_subject = held_out["subject"].value_counts()
    if alone := sorted(per_subject.index[per_subject < 2]):
        yield (
            f"maps need two held-out trials of a subject; {', '.join(alone[:LISTED])} has one: hold out "
            "more"
        )


def _trials(
    params: Mapping[str, Any], source: AnySourceParams, artifacts: Artifacts, split: Any
) -> pd.DataFrame:
    """Return a row per presentation, with the part that it will be in."""
    import pyarrow as pa

    from tasks.eeg.rows import with_subjects
    from tasks.eeg.splits import assign_splits, fitted_on, named_by_training

    recordings, events, stimuli = _found(source, artifacts) or _asked(params, source, artifacts)
    _refuse_gone(recordings, stimuli)
    shown = with_subjects(events, recordings)
    untimed = [row["recording_id"] for row in recordings if not row["timed"]]
    splits = assign_splits(shown, stimuli, split, untimed)
    concept_of = dict(
        zip(stimuli["stimulus_id"].to_pylist(), stimuli["concept"].to_pylist(), strict=True)
    )
    concepts = [concept_of[name] for name in shown["stimulus_id"].to_pylist()]
    named = named_by_training(splits, concepts, [True] * len(splits))
    subjects = shown["subject"].to_pylist()
    sessions = {row["recording_id"]: row["session"] for row in recordings}
    columns = {
        "subject": subjects,
        "session": [sessions[name] for name in shown["recording_id"].to_pylist()],
        "stimulus_id": shown["stimulus_id"].to_pylist(),
        "concept": concepts,
        "split": named,
        "moved": [a != b for a, b in zip(named, splits, strict=True)],
        "fitted_on": fitted_on(splits, subjects),
    }
    found: pd.DataFrame = pa.table(columns).to_pandas()
    return found


def _found(
    source: AnySourceParams, artifacts: Artifacts
) -> tuple[list[dict[str, Any]], pa.Table, pa.Table] | None:
    """Return recordings, events and stimuli as `ingest` found them, or None where it did not."""
    from tasks.artifacts.tables import read_table

    names = ("recordings", "events", "stimuli")
    if not all(getattr(artifacts, name).exists() for name in names):
        return None
    tables = [read_table(getattr(artifacts, n), artifacts.all()[n].schema) for n in names]
    recordings = tables[0].to_pylist()
    if {row["source"] for row in recordings} != {source.model_dump_json()}:
        return None
    return recordings, tables[1], tables[2]


def _refuse_gone(recordings: list[dict[str, Any]], stimuli: pa.Table) -> None:
    """Refuse recordings and pictures that `ingest` found and that are gone since."""
    from tasks.eeg.sources.protocol import SourceError
    from tasks.eeg.sources.truncation import is_absent

    pictures = stimuli["image_path"].to_pylist() if "image_path" in stimuli.column_names else []
    paths = [
        Path(name) for name in (*(row["path"] for row in recordings if "path" in row), *pictures)
    ]
    if gone := [path.as_posix() for path in paths if is_absent(path)]:
        raise SourceError(
            f"What `ingest` found must still be on disk; {len(gone)} of {len(paths)} recordings and pictures are "
            f"gone: {', '.join(gone[:LISTED])}. Restore them, or run `dvc repro ingest`."
        )


def _asked(
    params: Mapping[str, Any], source: AnySourceParams, artifacts: Artifacts
) -> tuple[list[dict[str, Any]], pa.Table, pa.Table]:
    """Return the same as the source tells it; no picture is opened."""
    import pyarrow as pa

    from tasks.eeg.rows import event_table
    from tasks.eeg.sources.registry import open_source
    from tasks.eeg.sources.required_files import absent_files
    from tasks.eeg.study import check_images, check_listed, is_held, missing_images, without

    opened = open_source(source, artifacts.raw)
    absent = absent_files(source, artifacts.raw / source.folder)
    recordings = [recording for recording in opened.recordings() if is_held(recording, absent)]
    shown = {recording: opened.events(recording) for recording in recordings}
    listed = opened.stimuli()
    check_listed(shown, listed)
    missing = missing_images(listed)
    if params["ingest"].get("on_missing_image") == "raise":
        check_images(shown, missing)
    present = [stimulus for stimulus in listed if stimulus.stimulus_id not in missing]
    parts = opened.official_split() or {}
    stimuli = {
        "stimulus_id": [s.stimulus_id for s in present],
        "concept": [s.concept for s in present],
        "official_split": [parts.get(s.stimulus_id, "") for s in present],
    }
    rows = [
        {name: getattr(r, name) for name in ("recording_id", "subject", "session", "timed")}
        for r in recordings
    ]
    return rows, event_table(without(shown, missing)), pa.table(stimuli)
