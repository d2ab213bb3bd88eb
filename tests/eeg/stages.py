"""`ingest` and `preprocess` on a study under a temporary folder."""

from pathlib import Path
from typing import Any

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.tables import read_table
from tasks.ingest import IngestParams, ingest
from tasks.preprocess import PreprocessParams, preprocess
from tasks.runtime.map import serial_map

STRICT = {"on_missing_recording": "raise", "on_repeated_image": "raise"}
INGESTED = ("recordings", "events", "stimuli", "oracle", "topographies")


def run_ingest(
    raw: Path, source: dict[str, Any], on_missing_image: str = "raise", **changes: str
) -> Artifacts:
    """Ingest the study that lies in ``raw``, which is <root>/data/raw."""
    artifacts = Artifacts(raw.parents[1])
    section = {"source": source, "on_missing_image": on_missing_image} | STRICT | changes
    ingest(
        raw,
        **{name: getattr(artifacts, name) for name in INGESTED},
        params=IngestParams.model_validate(section),
        map=serial_map,
    )
    return artifacts


def run_preprocess(artifacts: Artifacts, section: dict[str, Any]) -> None:
    """Preprocess what was ingested."""
    reads = (artifacts.recordings, artifacts.events, artifacts.stimuli, artifacts.raw)
    outs = ("trials", "epochs", "quality", "averages")
    preprocess(
        *reads,
        **{name: getattr(artifacts, name) for name in outs},
        params=PreprocessParams.model_validate(section),
        map=serial_map,
    )


def rows(artifacts: Artifacts, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return read_table(getattr(artifacts, name), Artifacts.all()[name].schema).to_pylist()
