"""`percept trace`: one trial through every table, in pipeline order."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

KEYS = ("trial_id", "recording_id", "stimulus_id")

EXAMPLE = "percept trace sub-01_ses-01_trial-0042"


def add(commands: Any) -> None:
    """Add the command to the subparsers of `percept`."""
    command = commands.add_parser("trace", help="print every row of one trial, raw file to picture")
    command.add_argument("trial_id", metavar="TRIAL_ID", help="such as sub-01_ses-01_trial-0042")
    command.set_defaults(command=_trace)


def _trace(options: argparse.Namespace) -> None:
    for line in trace(options.trial_id):
        print(line)


def trace(trial_id: str, root: Path = Path()) -> Iterator[str]:
    """Yield one line per row that belongs to a trial, raw file to picture.

    Parameters
    ----------
    trial_id
        For instance ``sub-01_ses-01_trial-0042``.

    Raises
    ------
    PerceptError
        If ``trials`` does not hold the trial.
    """
    import pyarrow.compute as pc

    from tasks.artifacts.catalogue import Artifacts
    from tasks.artifacts.tables import read_table
    from tasks.runtime.errors import PerceptError

    artifacts = Artifacts(root)
    trials = read_table(artifacts.trials, Artifacts.trials.schema)
    found = trials.filter(pc.field("trial_id") == trial_id).to_pylist()
    if not found:
        example = trials["trial_id"][0].as_py() if trials.num_rows else "none"
        raise PerceptError(
            f"A trial must be in {artifacts.trials}; {trial_id!r} is not. An id looks like {example}."
        )
    trial = found[0]
    for name, artifact in Artifacts.all().items():
        path: Path = getattr(artifacts, name)
        if artifact.schema is not None and path.exists():
            for row in _rows_of(read_table(path, artifact.schema), trial):
                yield f"{name:14s} " + "  ".join(f"{k}={_short(v)}" for k, v in row.items())


def _rows_of(table: pa.Table, trial: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that join with ``trial`` on the most specific key they have."""
    import pyarrow.compute as pc

    key = next((k for k in KEYS if k in table.column_names), None)
    if key is None:
        return []
    mask = pc.field(key) == trial[key]
    if key == "recording_id" and "presentation_order" in table.column_names:
        mask &= pc.field("presentation_order") == trial["presentation_order"]
    rows: list[dict[str, Any]] = table.filter(mask).to_pylist()
    return rows


def _short(value: object) -> object:
    """Return vectors by their first entries, numbers rounded, all else as it is."""
    if isinstance(value, list):
        head = ", ".join(f"{v:.2f}" for v in value[:3])
        return f"[{head}, ... {len(value)}]"
    return f"{value:.4g}" if isinstance(value, float) else value
