"""Simulate a study whose truth is known: pictures, recordings, and what can be got out of them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.artifacts.tables import read_table, write_table
from tasks.runtime.files import (
    fingerprint,
    link_or_copy,
    sha256_of,
    write_json,
    write_text,
)
from tasks.runtime.map import Map
from tasks.simulation.brain import FACTORS, topography
from tasks.simulation.design import StudyParams
from tasks.simulation.factor_study import FactorStudy, response_times_s
from tasks.simulation.feature_study import FeatureStudy
from tasks.simulation.head import CHANNELS
from tasks.simulation.pictures import CAPTIONS_NAME, Photograph, picture_of
from tasks.simulation.recording import Shard, make_recording
from tasks.simulation.scene import Scene
from tasks.simulation.study import AnyStudy, make_study, stimuli_of
from tasks.simulation.views import say

OTHER_CODE = ("__init__", "judge", "views")
"""Modules of `tasks.simulation` that recordings do not depend on."""

LIBRARIES = (
    "fontawesomefree",
    "mne",
    "numpy",
    "pillow",
    "pyarrow",
    "scipy",
    "timm",
    "torch",
)


def simulate(*, simulated: Path, params: StudyParams, map: Map) -> None:
    """Write a simulated study as raw data, with the truth beside it.

    Finished recordings are kept in ``data/cache/simulate`` under a hash of all that they depend on
    until the study is whole, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    simulated
        Folder of the study: ``recordings/``, ``stimuli/``, ``stimuli.tsv``, ``truth/`` and
        ``study.json``; the last alone where the design is "none".
    params
        The study.
    map
        Runs the shards: recordings.
    """
    cache = simulated.parents[1] / "cache" / "simulate" / _fingerprint(params)
    shards = [] if params.schedule.design == "none" else _shards(params, cache)
    study = make_study(params, cache) if shards else None
    map(make_recording, shards)
    with _whole(simulated) as folder:
        write_json(folder / "study.json", _facts(params, study, shards))
        if study:
            _write_stimuli(study, folder)
            _write_truth(study, shards, folder)
            for path in (path for shard in shards for path in (shard.eeg, shard.events)):
                link_or_copy(path, folder / "recordings" / path.name)
    shutil.rmtree(cache, ignore_errors=True)


def _shards(params: StudyParams, cache: Path) -> list[Shard]:
    return [
        Shard(params, subject, session, cache)
        for subject in range(1, params.n_subjects + 1)
        for session in range(1, params.n_sessions + 1)
    ]


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``folder`` that takes its place when the block ends well."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _facts(params: StudyParams, study: AnyStudy | None, shards: list[Shard]) -> dict[str, Any]:
    """Return the params, and which channels of which recording are bad."""
    bad = {}
    if study:
        bad = {s.recording_id: study.bad_channels(s.subject, s.session) for s in shards}
    return {"params": params.model_dump(mode="json"), "bad_channels": bad}


def _write_stimuli(study: AnyStudy, folder: Path) -> None:
    """Write the picture of each stimulus, its scene or its captions where there are any, and the list of all."""
    params, stimuli = study.params, folder / "stimuli"
    stimuli.mkdir()
    for name, stimulus in study.stimuli.items():
        picture_of(stimulus, params.pictures, params.picture_px).save(stimuli / f"{name}.png")
        if isinstance(stimulus, Scene):
            text = json.dumps(stimulus.to_json(), indent=2)
            (stimuli / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    rows = [f"{name}\t{stimulus.concept}" for name, stimulus in study.stimuli.items()]
    write_text(folder / "stimuli.tsv", "\n".join(["stimulus_id\tconcept", *rows]) + "\n")
    if isinstance(study, FeatureStudy):
        _write_captions(study, folder / CAPTIONS_NAME)


def _write_captions(study: FeatureStudy, path: Path) -> None:
    """Write what people say of scenes; captions of photographs are taken along where their folder has some."""
    errors, rng = study.brain_params.caption_errors, study.rng("captions")
    said = {
        name: say(stimulus, errors, rng)
        for name, stimulus in study.stimuli.items()
        if isinstance(stimulus, Scene)
    }
    given = Path(study.params.pictures) / CAPTIONS_NAME
    if said:
        write_json(path, said)
    elif given.is_file():
        link_or_copy(given, path)


def _write_truth(study: AnyStudy, shards: list[Shard], folder: Path) -> None:
    """Write the oracle's answers, and the planted topographies where factors have some."""
    answers = pa.concat_tables([read_table(shard.oracle, ORACLE) for shard in shards])
    write_table(answers, folder / "truth" / "oracle.parquet", ORACLE)
    if isinstance(study, FactorStudy):
        topographies = pa.Table.from_pylist(_topographies(study), schema=TOPOGRAPHIES)
        write_table(topographies, folder / "truth" / "topographies.parquet", TOPOGRAPHIES)


def _topographies(study: FactorStudy) -> list[dict[str, Any]]:
    subjects = [study.subject(number) for number in range(1, study.params.n_subjects + 1)]
    times_s = response_times_s(study.params.sfreq_hz)
    return [
        {"factor": name, "channel": channel, "tier": factor.tier, "weight": round(float(weight), 9)}
        for name, factor in FACTORS.items()
        for channel, weight in zip(CHANNELS, topography(subjects, name, times_s), strict=True)
    ]


def _fingerprint(params: StudyParams) -> str:
    """Hash all that the recordings depend on."""
    folder = Path(__file__).parent / "simulation"
    code = [sha256_of(p) for p in sorted(folder.glob("*.py")) if p.stem not in OTHER_CODE]
    photographs = [
        sha256_of(stimulus.path)
        for stimulus in stimuli_of(params).values()
        if isinstance(stimulus, Photograph)
    ]
    libraries = [version(name) for name in LIBRARIES]
    return fingerprint(params.model_dump(mode="json"), code, libraries, photographs)
