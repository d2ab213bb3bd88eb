"""What each kind of study needs on disk, and where a newcomer gets it."""

import os
import re
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from tasks.eeg.sources.alljoined import FILES as ALLJOINED_FILES
from tasks.eeg.sources.alljoined import AlljoinedParams
from tasks.eeg.sources.bids import BidsParams
from tasks.eeg.sources.csv_streams import CsvStreamsParams
from tasks.eeg.sources.eeg_imagenet import EegImagenetParams
from tasks.eeg.sources.eegcvpr import EegcvprParams
from tasks.eeg.sources.epochs import EpochsParams
from tasks.eeg.sources.registry import AnySourceParams
from tasks.eeg.sources.simulated import SimulatedParams
from tasks.eeg.sources.things_eeg2 import ThingsEeg2Params
from tasks.eeg.sources.things_eeg2_layouts import FILES
from tasks.eeg.sources.truncation import is_absent
from tasks.eeg.sources.tsv import read_rows

PERCEIVE_LAB = (
    "ask the authors, PeRCeiVe Lab: github.com/perceivelab/eeg_visual_classification; "
    "it may not be redistributed"
)
EEG_IMAGENET = "its authors: github.com/Promise-Z5Q2SQ/EEG-ImageNet-Dataset"
ALLJOINED = "Alljoined, for non-commercial use once its licence is accepted: github.com/Alljoined/Alljoined-1.6M"
IMAGENET = "ImageNet ILSVRC2012 training images, after registration at image-net.org"
OSF = "THINGS-EEG2, CC BY 4.0: osf.io/3jk45"
FETCH = "run `percept fetch things_eeg2 --subjects 1 2`, or for all without --subjects"


@dataclass(frozen=True)
class Needed:
    """One file, or a family of files.

    Attributes
    ----------
    pattern
        Relative to the study; a glob pattern.
    origin
        Where it comes from.
    is_picture
        Whether it is what was shown, and no recording.
    """

    pattern: str
    origin: str
    is_picture: bool = False


def needed_files(params: AnySourceParams) -> list[Needed]:
    """Return what must lie in the folder of a study."""
    match params:
        case SimulatedParams():
            return [Needed("recordings/*_eeg.fif", "run `dvc repro simulate`")]
        case EegcvprParams():
            files = [
                Needed(params.file, PERCEIVE_LAB),
                Needed(f"{params.images}/n*/*", IMAGENET, is_picture=True),
            ]
            if params.split_file:
                files.append(Needed(params.split_file, PERCEIVE_LAB))
            if params.image_order:
                origin = "issue 5 of perceivelab/eeg_visual_classification has it attached"
                files.append(Needed(params.image_order, origin))
            return files
        case EegImagenetParams():
            files = [Needed(file, EEG_IMAGENET) for file in params.files]
            return [*files, Needed(f"{params.images}/n*/*", IMAGENET, is_picture=True)]
        case AlljoinedParams():
            names = (*ALLJOINED_FILES.values(), params.metadata)
            files = [Needed(f"{params.eeg}/sub-*/{name}", ALLJOINED) for name in names]
            return [*files, Needed(f"{params.images}/*", ALLJOINED, is_picture=True)]
        case ThingsEeg2Params():
            fetched = f"{FETCH} (osf.io/y63gw)"
            origin = f"{FETCH} ({OSF})" if params.layout == "raw" else OSF
            return [
                *(Needed(f"{params.eeg}/{pattern}", origin) for pattern in FILES[params.layout]),
                Needed(f"{params.images}/training_images/*/*", fetched, is_picture=True),
                Needed(f"{params.images}/test_images/*/*", fetched, is_picture=True),
                Needed(params.metadata, fetched),
            ]
        case BidsParams():
            task = f"_task-{params.task}" if params.task else ""
            table = "write it: a line per stimulus with the columns stimulus, image and concept"
            return [
                Needed(
                    f"sub-*/**/*{task}_*eeg.*", "your recordings in BIDS, for instance by mne-bids"
                ),
                Needed(params.stimuli_table, table),
            ]
        case EpochsParams():
            origin = "your epochs; docs/real_recordings.md says how they are named"
            tables = "a row per epoch: what was shown; docs/real_recordings.md has an example"
            kinds = ["*epo.fif"] if params.arrays is None else ["*.np[yz]", "*.csv"]
            return [
                *(Needed(f"**/{k}", tables if k == "*.csv" else origin) for k in kinds),
                Needed(f"{params.images}/**/*.*", "the pictures that were shown", is_picture=True),
            ]
        case CsvStreamsParams():
            files = [Needed("**/*.csv", "your recordings; docs/real_recordings.md has an example")]
            images = sorted({marker.image for marker in params.markers.values()})
            return files + [
                Needed(image, "the picture that was shown", is_picture=True) for image in images
            ]


def missing_files(params: AnySourceParams, folder: Path) -> list[Needed]:
    """Return what of `needed_files` is not in ``folder``: nowhere, or not for each subject and session there."""
    missing = []
    for need in needed_files(params):
        parent, name = Path(need.pattern).parent, Path(need.pattern).name
        if not _listed(folder, need.pattern):
            missing.append(need)
        elif "*" in str(parent) and "*" not in name:  # it belongs into every folder of this kind
            places = sorted(path for path in folder.glob(str(parent)) if path.is_dir())
            missing += [
                Needed((path / name).relative_to(folder).as_posix(), need.origin)
                for path in places
                if not os.path.lexists(path / name)
            ]
    return missing


def absent_files(params: AnySourceParams, folder: Path) -> list[Path]:
    """Return the recordings, and the files beside them, that the study lists and the disk does not hold.

    They are links to nothing, empty files or the stand-ins of git-annex and Git LFS, and what the tables
    ``*_scans.tsv`` of BIDS list.
    """
    needs = [need for need in needed_files(params) if not need.is_picture]
    found = {name for need in needs for name in _listed(folder, need.pattern)}
    if isinstance(params, CsvStreamsParams | EpochsParams):
        pattern = re.compile(params.files)
        found = {name for name in found if pattern.fullmatch(name) or name.endswith(".csv")}
    if isinstance(params, BidsParams):
        found |= _scanned(params, folder)
    return sorted(folder / name for name in found if is_absent(folder / name))


def _listed(folder: Path, pattern: str) -> list[str]:
    """Return what fits a pattern, relative to the folder; pathlib would pass over links to nothing."""
    return glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207


def _scanned(params: BidsParams, folder: Path) -> set[str]:
    """Return the recordings of the task that the tables of scans list, relative to the study."""
    remedy = "Mend the table, or take it away."
    return {
        (table.parent / name).relative_to(folder).as_posix()
        for table in folder.glob("sub-*/**/*_scans.tsv")
        for (name,) in read_rows(table, ("filename",), remedy)
        if "_eeg." in name and (params.task is None or f"_task-{params.task}_" in name)
    }
