"""One simulated recording on disk: its EEG, its events and what the oracle makes of it.

A recording is made in a folder of its own under the stage's cache. It counts as finished once its
list of checksums, the last file to be written, is there; then it is never made again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pyarrow as pa
from jaxtyping import Float

from tasks.artifacts.contracts.oracle import CONCEPT_BOUND, ORACLE
from tasks.artifacts.contracts.trials import trial_id_of
from tasks.artifacts.tables import write_table
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import sha256_of, write_json, write_text
from tasks.simulation.bound import bound_answers
from tasks.simulation.brain import FACTORS
from tasks.simulation.design import Study, StudyParams, recording_id
from tasks.simulation.factor_study import FactorStudy
from tasks.simulation.head import make_info
from tasks.simulation.oracle import decode
from tasks.simulation.scene import VOCABULARY
from tasks.simulation.study import AnyStudy, make_study

logger = logging.getLogger(__name__)

STEP_UV = 0.05
"""Resolution of the 16-bit samples."""

EVENT_COLUMNS = (
    "presentation_order",
    "onset_s",
    "duration_s",
    "stimulus_id",
    "block",
    "repetition",
)


class SimulationError(PerceptError):
    """A study cannot be simulated, or what was kept of it cannot be trusted."""


@dataclass(frozen=True)
class Shard:
    """One recording of a study, small enough to be sent to another process.

    Attributes
    ----------
    params : StudyParams
        The study.
    subject, session : int
        Counted from 1.
    cache : pathlib.Path
        Folder of the study's finished recordings.
    """

    params: StudyParams
    subject: int
    session: int
    cache: Path

    @property
    def recording_id(self) -> str:
        """Return the name of the recording."""
        return recording_id(self.subject, self.session)

    @property
    def folder(self) -> Path:
        """Return the folder of the recording's files."""
        return self.cache / self.recording_id

    @property
    def eeg(self) -> Path:
        """Return the path of the continuous EEG."""
        return self.folder / f"{self.recording_id}_eeg.fif"

    @property
    def events(self) -> Path:
        """Return the path of the presentations."""
        return self.folder / f"{self.recording_id}_events.tsv"

    @property
    def oracle(self) -> Path:
        """Return the path of the oracle's answers."""
        return self.folder / "oracle.parquet"

    @property
    def checksums(self) -> Path:
        """Return the path of the file whose presence says that the others are whole."""
        return self.folder / "checksums.json"


def make_recording(shard: Shard) -> None:
    """Simulate one recording and write it, unless that was done before.

    Parameters
    ----------
    shard : Shard
        Which recording, and where it goes.

    Raises
    ------
    SimulationError
        If a finished recording has changed since, or amplitudes do not fit into 16 bits.
    """
    if shard.checksums.exists():
        _check(shard)
        logger.info("%s was simulated before.", shard.recording_id)
        return
    shard.folder.mkdir(parents=True, exist_ok=True)
    study = make_study(shard.params, shard.cache)
    eeg = study.record(shard.subject, shard.session)
    answers = _answers(study, shard, eeg)
    _write_eeg(eeg, study, shard.eeg)
    _write_events(study, shard)
    write_table(pa.Table.from_pylist(answers, schema=ORACLE), shard.oracle, ORACLE)
    files = (shard.eeg, shard.events, shard.oracle)
    write_json(shard.checksums, {path.name: sha256_of(path) for path in files})


def _write_eeg(eeg: Float[np.ndarray, "n_channels n_times"], study: Study, path: Path) -> None:
    """Write the EEG as 16-bit FIF; a truncated file does no harm, for its checksum is missing."""
    largest, limit = float(np.abs(eeg).max()), STEP_UV * np.iinfo(np.int16).max
    if not largest <= limit:
        raise SimulationError(
            f"A simulated recording must stay within +-{limit:.0f} uV; {path.name} reaches "
            f"{largest:.0f} uV. Lower the amplitudes of simulate.brain or simulate.noise."
        )
    info = make_info(study.params.sfreq_hz)
    info["line_freq"] = study.params.noise.line_hz
    for channel in info["chs"]:
        channel["cal"] = STEP_UV * 1e-6
    raw = mne.io.RawArray(eeg * 1e-6, info, verbose="ERROR")
    raw.save(path, fmt="short", overwrite=True, verbose="ERROR")


def _write_events(study: Study, shard: Shard) -> None:
    schedule = study.schedule(shard.subject, shard.session)
    names = list(study.stimuli)
    lines = ["\t".join(EVENT_COLUMNS)]
    columns = (schedule.onsets, schedule.stimuli, schedule.blocks, schedule.repetitions)
    for order, (onset, stimulus, block, repetition) in enumerate(zip(*columns, strict=True)):
        onset_s = onset / study.params.sfreq_hz
        lines.append(
            f"{order}\t{onset_s:.6f}\t{schedule.duration_s:.6f}\t{names[stimulus]}"
            f"\t{block}\t{repetition}"
        )
    write_text(shard.events, "\n".join(lines) + "\n")


def _answers(
    study: AnyStudy, shard: Shard, eeg: Float[np.ndarray, "n_channels n_times"]
) -> list[dict[str, str]]:
    """Return the rows of the oracle's table: of the exact decoder or of the bound, whichever is known."""
    schedule = study.schedule(shard.subject, shard.session)
    if isinstance(study, FactorStudy):
        answers = decode(study, shard.subject, shard.session, eeg)
        truth = study.levels(schedule)
        columns = {
            name: [
                (VOCABULARY[name][a], VOCABULARY[name][t]) for a, t in zip(said, true, strict=True)
            ]
            for name, said, true in zip(FACTORS, answers.T, truth.T, strict=True)
        }
    else:
        concepts = [stimulus.concept for stimulus in study.stimuli.values()]
        said = bound_answers(study, shard.subject, shard.session)
        columns = {
            CONCEPT_BOUND: [(a, concepts[t]) for a, t in zip(said, schedule.stimuli, strict=True)]
        }
    rows = [
        {
            "trial_id": trial_id_of(shard.recording_id, order, len(schedule.onsets)),
            "factor": name,
            "predicted": pairs[order][0],
            "actual": pairs[order][1],
        }
        for order in range(len(schedule.onsets))
        for name, pairs in columns.items()
    ]
    shares = (
        f"{name} {np.mean([said == true for said, true in pairs]):.2f}"
        for name, pairs in columns.items()
    )
    logger.info("%s: the oracle is right in %s.", shard.recording_id, ", ".join(shares))
    return rows


def _check(shard: Shard) -> None:
    """Refuse a finished recording whose files are not as they were written."""
    try:
        expected = json.loads(shard.checksums.read_text())
        found = {name: sha256_of(shard.folder / name) for name in expected}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise SimulationError(_complaint(shard, f"it cannot be read ({error})")) from error
    changed = [name for name in expected if found[name] != expected[name]]
    if changed:
        raise SimulationError(_complaint(shard, f"{', '.join(changed)} changed"))


def _complaint(shard: Shard, finding: str) -> str:
    return (
        f"The finished recording {shard.folder} must be as it was written; {finding}. "
        "Delete that folder and run the stage again: the other recordings are kept."
    )
