"""The known sources, by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.eeg.sources.protocol import Source, SourceError
from tasks.eeg.sources.simulated import SimulatedSource

SOURCES: Mapping[str, Callable[[Path], Source]] = {"simulated": SimulatedSource}


def open_source(name: str, folder: Path) -> Source:
    """Return the source ``name`` reading ``folder``.

    Parameters
    ----------
    name
        A key of `SOURCES`.
    folder
        Where the study lies.

    Returns
    -------
    Source
        Nothing is read yet.

    Raises
    ------
    SourceError
        If there is no such source or no such folder.
    """
    if name not in SOURCES:
        known = ", ".join(sorted(SOURCES))
        raise SourceError(
            f"A source must be one of {known}; {name!r} is none. Mend ingest.source in params.yaml."
        )
    if not folder.is_dir():
        raise SourceError(
            f"The study folder {folder} must exist; it does not. "
            "Put the study there, or run `dvc repro simulate` for the simulated one."
        )
    return SOURCES[name](folder)
