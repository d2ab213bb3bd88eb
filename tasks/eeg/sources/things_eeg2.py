"""THINGS-EEG2 (Gifford et al., NeuroImage 264, 2022): recordings, or epochs as others stored them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import mne
import numpy as np
from jaxtyping import Float64

from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    StoredEpochs,
    info_with_montage,
)
from tasks.eeg.sources.things_eeg2_layouts import (
    FILES,
    PARTS,
    TARGET,
    Layout,
    Part,
    load_dict,
    load_raw,
    load_stored,
    part_of,
)

METADATA_KEYS = MappingProxyType(
    {
        "training": ("train_img_concepts", "train_img_files"),
        "test": ("test_img_concepts", "test_img_files"),
    }
)
SHOWN_S = 0.1  # of every 0.2 s


class ThingsEeg2Params(SourceParams):
    """Which files are there; folders are relative to the study."""

    name: Literal["things_eeg2"]
    layout: Layout
    eeg: str  # folder of sub-01, sub-02, ...
    images: str  # folder of training_images and test_images
    metadata: str  # image_metadata.npy
    montage: str  # MNE's, with the positions of the electrodes


class ThingsEeg2Source(Source):
    """Reads the raw files, or one of four layouts of preprocessed epochs.

    ``raw``: ``sub-01/ses-01/raw_eeg_{training,test}.npy`` of OSF. ``official`` and ``nice``:
    ``sub-01/preprocessed_eeg_{training,test}.npy`` as the authors or NICE and ATM wrote them.
    ``ubp``: ``sub-01/{train,test}.pt``. ``arrays``: ``sub-01/{train,test}.npy`` as NeuroBridge and
    SAMGA read them, with ``info.json`` beside, or else in the channels and times of NICE.

    Stored epochs were whitened, and their repetitions shuffled: they have no unit, and neither order
    nor onsets.
    """

    params: ThingsEeg2Params

    def recordings(self) -> list[Recording]:
        """Return every recording, in order of subject, session and part."""
        eeg, patterns = self.folder / self.params.eeg, FILES[self.params.layout]
        paths = [path for pattern in patterns for path in eeg.glob(pattern)]
        if not paths:
            raise SourceError(
                f"{eeg} must hold files named like {' or '.join(patterns)} in the layout "
                f"{self.params.layout!r}; none was found. "
                "Put them there, or mend ingest.source.eeg or layout."
            )
        return sorted(map(self._recording, paths), key=lambda recording: recording.recording_id)

    def events(self, recording: Recording) -> list[Event]:
        """Return the presentations of one recording; those of targets are left out."""
        pictures = self._stimuli()[part_of(recording.path)]
        if self.params.layout == "raw":
            raw = load_raw(recording.path)
            return _triggered(recording.path, raw.trigger, raw.sfreq_hz, pictures)
        stored = load_stored(recording.path, self.params.layout)
        n_images, n_repetitions, _, n_times = stored.eeg.shape
        _check_pictures(recording.path, n_images, stored.images, pictures)
        length_s = n_times / _rate_of(stored.times_s)
        shown = [picture.stimulus_id for picture in pictures for _ in range(n_repetitions)]
        return [Event(i, i * length_s, SHOWN_S, name, 0) for i, name in enumerate(shown)]

    def stimuli(self) -> list[Stimulus]:
        """Return every stimulus: training images, then test images."""
        return [picture for pictures in self._stimuli().values() for picture in pictures]

    def read(self, recording: Recording) -> mne.io.BaseRaw | StoredEpochs:
        """Open a recording; pickled ones cannot be opened without loading them."""
        if self.params.layout == "raw":
            raw = load_raw(recording.path)
            info = info_with_montage(raw.channels, raw.sfreq_hz, raw.types, self.params.montage)
            return mne.io.RawArray(raw.signal, info, verbose="ERROR")
        stored = load_stored(recording.path, self.params.layout)
        info = info_with_montage(
            stored.channels, _rate_of(stored.times_s), "eeg", self.params.montage
        )
        trials = stored.eeg.reshape(-1, *stored.eeg.shape[2:])
        return StoredEpochs(
            eeg=trials.astype(np.float32, copy=False),
            info=info,
            tmin_s=round(float(stored.times_s[0]), 9),
            unit="standardised",
        )

    def official_split(self) -> dict[str, str]:
        """Return the publisher's split: no test image shows a concept of a training image."""
        splits = {"training": "train", "test": "zero_shot"}
        return {
            picture.stimulus_id: splits[part]
            for part, pictures in self._stimuli().items()
            for picture in pictures
        }

    def _stimuli(self) -> dict[Part, list[Stimulus]]:
        return _load_stimuli(self.folder / self.params.metadata, self.folder / self.params.images)

    def _recording(self, path: Path) -> Recording:
        part = part_of(path)
        if self.params.layout == "raw":
            subject, session = path.parts[-3:-1]
            name = f"{subject}_{session}_run-{part}"
            return Recording(name, subject, session, path)
        subject, session = path.parent.name, f"ses-{part}"
        return Recording(f"{subject}_{session}", subject, session, path, timed=False)


def _load_stimuli(metadata: Path, images: Path) -> dict[Part, list[Stimulus]]:
    """Return the pictures of each part, in the order of their numbers."""
    table = load_dict(metadata, tuple(chain(*METADATA_KEYS.values())))
    named: dict[Part, list[tuple[str, str]]] = {}
    for part in PARTS:
        folders, files = (list(map(str, table[key])) for key in METADATA_KEYS[part])
        if len(folders) != len(files):
            raise SourceError(
                f"{metadata} must name one concept per image; it names {len(folders)} concepts and "
                f"{len(files)} images in {part}. Copy it from its origin again."
            )
        named[part] = list(zip(folders, files, strict=True))
    _refuse_shared_concepts(metadata, named)
    counts = Counter(Path(file).stem for pairs in named.values() for _, file in pairs)
    return {
        part: [
            Stimulus(
                _stimulus_id(part, folder, file, counts),
                _concept(folder),
                images / f"{part}_images" / folder / file,
            )
            for folder, file in pairs
        ]
        for part, pairs in named.items()
    }


def _concept(folder: str) -> str:
    """Return the concept without its number; homonyms of THINGS (bat1, bat2) keep theirs."""
    return re.sub(r"^\d+_", "", folder)


def _stimulus_id(part: Part, folder: str, file: str, counts: Mapping[str, int]) -> str:
    stem = Path(file).stem
    return stem if counts[stem] == 1 else f"{part}_{folder}_{stem}"


def _refuse_shared_concepts(
    metadata: Path, named: Mapping[Part, Sequence[tuple[str, str]]]
) -> None:
    training, test = ({_concept(folder) for folder, _ in named[part]} for part in PARTS)
    if training & test:
        raise SourceError(
            f"The test concepts of {metadata} must not be trained on; {len(training & test)} are: "
            f"{', '.join(sorted(training & test)[:10])}. Copy it from its origin again."
        )


def _triggered(
    path: Path,
    trigger: Float64[np.ndarray, "n_samples"],
    sfreq_hz: float,
    pictures: list[Stimulus],
) -> list[Event]:
    """Return an event for each picture, at the first sample of its code."""
    before = np.concatenate([[0.0], trigger[:-1]])
    samples = np.flatnonzero((trigger != 0) & (trigger != before) & (trigger != TARGET))
    codes = trigger[samples]
    numbers = np.rint(codes)
    known = (numbers == codes) & (numbers >= 1) & (numbers <= len(pictures))
    if not known.all():
        raise SourceError(
            f"Every code of the stim channel of {path} must be the number of one of {len(pictures)} "
            f"{part_of(path)} images, or {TARGET}; {np.count_nonzero(~known)} are not, the first is "
            f"{codes[~known][0]:g}. Use the image_metadata.npy that belongs to the recordings."
        )
    shown = zip(samples.tolist(), numbers.astype(int).tolist(), strict=True)
    return [
        Event(order, sample / sfreq_hz, SHOWN_S, pictures[number - 1].stimulus_id, 0)
        for order, (sample, number) in enumerate(shown)
    ]


def _check_pictures(
    path: Path, n_images: int, images: list[str] | None, pictures: list[Stimulus]
) -> None:
    """Refuse epochs that are not those of the pictures, or not in their order."""
    if n_images != len(pictures):
        raise SourceError(
            f"{path} must hold epochs of each of the {len(pictures)} {part_of(path)} images; it holds "
            f"those of {n_images}. Use the image_metadata.npy that belongs to it."
        )
    known = ["/".join(picture.image_path.parts[-2:]) for picture in pictures]
    if images is not None and images != known:
        found, due = next(pair for pair in zip(images, known, strict=True) if pair[0] != pair[1])
        raise SourceError(
            f"The images that {path} names must be in the order of image_metadata.npy; the first that "
            f"is not is {found} where {due} is due. Use the image_metadata.npy that belongs to it."
        )


def _rate_of(times_s: Float64[np.ndarray, "n_times"]) -> float:
    return round(float((len(times_s) - 1) / (times_s[-1] - times_s[0])), 6)
