"""What each kind of study needs on disk, and where a newcomer gets it."""

from dataclasses import dataclass
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
    """

    pattern: str
    origin: str


def needed_files(params: AnySourceParams) -> list[Needed]:
    """Return what must lie in the folder of a study."""
    match params:
        case SimulatedParams():
            return [Needed("recordings/*_eeg.fif", "run `dvc repro simulate`")]
        case EegcvprParams():
            files = [Needed(params.file, PERCEIVE_LAB), Needed(f"{params.images}/n*/*", IMAGENET)]
            if params.split_file:
                files.append(Needed(params.split_file, PERCEIVE_LAB))
            if params.image_order:
                origin = "issue 5 of perceivelab/eeg_visual_classification has it attached"
                files.append(Needed(params.image_order, origin))
            return files
        case EegImagenetParams():
            files = [Needed(file, EEG_IMAGENET) for file in params.files]
            return [*files, Needed(f"{params.images}/n*/*", IMAGENET)]
        case AlljoinedParams():
            names = (*ALLJOINED_FILES.values(), params.metadata)
            files = [Needed(f"{params.eeg}/sub-*/{name}", ALLJOINED) for name in names]
            return [*files, Needed(f"{params.images}/*", ALLJOINED)]
        case ThingsEeg2Params():
            fetched = f"{FETCH} (osf.io/y63gw)"
            origin = f"{FETCH} ({OSF})" if params.layout == "raw" else OSF
            return [
                *(Needed(f"{params.eeg}/{pattern}", origin) for pattern in FILES[params.layout]),
                Needed(f"{params.images}/training_images/*/*", fetched),
                Needed(f"{params.images}/test_images/*/*", fetched),
                Needed(params.metadata, fetched),
            ]
        case BidsParams():
            table = "write it: a line per stimulus with the columns stimulus, image and concept"
            return [
                Needed("sub-*/**/*_eeg.*", "your recordings in BIDS, for instance by mne-bids"),
                Needed(params.stimuli_table, table),
            ]
        case EpochsParams():
            origin = "your epochs; docs/real_recordings.md says how they are named"
            tables = "a row per epoch: what was shown; docs/real_recordings.md has an example"
            kinds = ["*epo.fif"] if params.arrays is None else ["*.np[yz]", "*.csv"]
            return [
                *(Needed(f"**/{k}", tables if k == "*.csv" else origin) for k in kinds),
                Needed(f"{params.images}/**/*.*", "the pictures that were shown"),
            ]
        case CsvStreamsParams():
            files = [Needed("**/*.csv", "your recordings; docs/real_recordings.md has an example")]
            images = sorted({marker.image for marker in params.markers.values()})
            return files + [Needed(image, "the picture that was shown") for image in images]


def missing_files(params: AnySourceParams, folder: Path) -> list[Needed]:
    """Return what of `needed_files` is not in ``folder``."""
    return [need for need in needed_files(params) if not any(folder.glob(need.pattern))]
