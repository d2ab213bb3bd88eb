"""The known sources, by name. A new source is one module and one line in each of the two places here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from tasks.eeg.sources.alljoined import AlljoinedParams, AlljoinedSource
from tasks.eeg.sources.bids import BidsParams, BidsSource
from tasks.eeg.sources.csv_streams import CsvStreamsParams, CsvStreamsSource
from tasks.eeg.sources.eeg_imagenet import EegImagenetParams, EegImagenetSource
from tasks.eeg.sources.eegcvpr import EegcvprParams, EegcvprSource
from tasks.eeg.sources.epochs import EpochsParams, EpochsSource
from tasks.eeg.sources.protocol import Source, SourceError
from tasks.eeg.sources.simulated import SimulatedParams, SimulatedSource
from tasks.eeg.sources.things_eeg2 import ThingsEeg2Params, ThingsEeg2Source

AnySourceParams = Annotated[
    AlljoinedParams
    | BidsParams
    | CsvStreamsParams
    | EegImagenetParams
    | EegcvprParams
    | EpochsParams
    | SimulatedParams
    | ThingsEeg2Params,
    Field(discriminator="name"),
]

SOURCES: Mapping[str, Callable[[Path, Any], Source]] = {
    "alljoined": AlljoinedSource,
    "bids": BidsSource,
    "csv_streams": CsvStreamsSource,
    "eeg_imagenet": EegImagenetSource,
    "eegcvpr": EegcvprSource,
    "epochs": EpochsSource,
    "simulated": SimulatedSource,
    "things_eeg2": ThingsEeg2Source,
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
