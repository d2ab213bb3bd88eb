"""The known sources, by name. A new source is one module and one line in each of the two places here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tasks.eeg.sources.protocol import Source, SourceError
from tasks.eeg.sources.simulated import SimulatedParams, SimulatedSource

AnySourceParams = SimulatedParams

SOURCES: Mapping[str, Callable[[Path, Any], Source]] = {
    "simulated": SimulatedSource,
}


def parse_params(text: str) -> AnySourceParams:
    """Return the params of a source that were written down as JSON.

    Parameters
    ----------
    text
        As in the table of recordings.
    """
    return TypeAdapter(AnySourceParams).validate_json(text)


def open_source(params: AnySourceParams, raw: Path) -> Source:
    """Return the source that ``params`` names.

    Parameters
    ----------
    params
        Of one of the known sources.
    raw
        Folder of all studies.

    Returns
    -------
    Source
        Nothing is read yet.

    Raises
    ------
    SourceError
        If there is no such folder.
    """
    folder = raw / params.folder
    if not folder.is_dir():
        raise SourceError(
            f"The study folder {folder} must exist; it does not. Put the study there "
            "(`percept doctor` says what belongs into it), or run `dvc repro simulate` for the simulated one."
        )
    return SOURCES[params.name](folder, params)
