"""The data sets that may be fetched by anybody: addresses, places and licences.

EEGCVPR and ImageNet may not be redistributed, and EEG-ImageNet's and Alljoined's licences leave it to
the user to ask or to agree first: `percept doctor` says where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class RemoteFile:
    """One file of a publisher.

    Attributes
    ----------
    url
        Where it is downloaded from.
    path
        Where it goes, relative to the study.
    known_hash
        ``algorithm:digest`` as the publisher says; None where the first download is recorded.
    unpack_to
        Folder, relative to the study, that an archive is unpacked to and then deleted; None keeps the file.
    """

    url: str
    path: str
    known_hash: str | None = None
    unpack_to: str | None = None


@dataclass(frozen=True)
class RemoteStudy:
    """A public data set.

    Attributes
    ----------
    licence
        Said before anything is fetched.
    common
        Files that every subject needs.
    by_subject
        Files of each subject, by number.
    """

    licence: str
    common: tuple[RemoteFile, ...]
    by_subject: Mapping[int, tuple[RemoteFile, ...]]

    def files(self, subjects: Sequence[int] | None) -> list[RemoteFile]:
        """Return what some subjects need, or all."""
        chosen = self.by_subject if subjects is None else dict.fromkeys(subjects)
        return [*self.common, *(file for subject in chosen for file in self.by_subject[subject])]


THINGS_EEG2_RAW = MappingProxyType(
    {
        1: 33244238,
        2: 33247340,
        3: 33247355,
        4: 33247361,
        5: 33247376,
        6: 34404491,
        7: 33247622,
        8: 33247652,
        9: 38916017,
        10: 33247694,
    }
)
"""Subject to file number at Figshare+, article 18470912."""


def _osf(number: str, path: str, unpack_to: str | None = None) -> RemoteFile:
    return RemoteFile(f"https://osf.io/download/{number}/", path, unpack_to=unpack_to)


def _things_eeg2(subject: int, number: int) -> RemoteFile:
    url = f"https://plus.figshare.com/ndownloader/files/{number}"
    return RemoteFile(url, f"raw_data/sub-{subject:02}.zip", unpack_to="raw_data")


STUDIES: Mapping[str, RemoteStudy] = MappingProxyType(
    {
        "things_eeg2": RemoteStudy(
            "THINGS-EEG2 (Gifford et al., 2022), CC BY 4.0; its photographs are for research alone",
            (
                _osf("qkgtf", "image_set/image_metadata.npy"),
                _osf("znu7b", "image_set/test_images.zip", "image_set"),
                _osf("3v527", "image_set/training_images.zip", "image_set"),
            ),
            {
                subject: (_things_eeg2(subject, number),)
                for subject, number in THINGS_EEG2_RAW.items()
            },
        )
    }
)
"""By name: the folder of the study under data/raw is called so too."""
