"""EEGCVPR, the ImageNet EEG of Spampinato et al. (2017), as its publisher cut it.

Six subjects saw 50 pictures of each of 40 concepts for 0.5 s each, one concept after the other: the
block design in which a decoder can tell *when* a trial was recorded instead of *what* was seen.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import mne
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tasks.eeg.sources.protocol import (
    Event,
    Recording,
    Source,
    SourceError,
    SourceParams,
    Stimulus,
    StoredEpochs,
)
from tasks.eeg.sources.safe_loading import load_pth
from tasks.simulation.head import CHANNELS, MONTAGE

logger = logging.getLogger(__name__)

SHOWN_S = 0.5
LISTED = 10  # names in a message
WNID = re.compile(r"n\d{8}")
KEYS = frozenset({"eeg", "image", "label", "subject"})
PARTS = MappingProxyType({"train": "train", "val": "validation", "test": "test"})
REMEDY = "Copy the files of the study from their origin again, all of one release."
CLASSES = """
n02106662 German shepherd; n02124075 Egyptian cat; n02281787 lycaenid; n02389026 sorrel;
n02492035 capuchin; n02504458 African elephant; n02510455 panda; n02607072 anemone fish;
n02690373 airliner; n02906734 broom; n02951358 canoe; n02992529 cell phone;
n03063599 coffee mug; n03100240 convertible; n03180011 desktop computer;
n03197337 digital watch; n03272010 electric guitar; n03272562 electric locomotive;
n03297495 espresso maker; n03376595 folding chair; n03445777 golf ball; n03452741 grand piano;
n03584829 iron; n03590841 jack-o'-lantern; n03709823 mailbag; n03773504 missile;
n03775071 mitten; n03792782 mountain bike; n03792972 mountain tent; n03877472 pajama;
n03888257 parachute; n03982430 pool table; n04044716 radio telescope; n04069434 reflex camera;
n04086273 revolver; n04120489 running shoe; n07753592 banana; n07873807 pizza; n11939491 daisy;
n13054560 bolete
"""
CONCEPTS: Mapping[str, str] = MappingProxyType(
    dict(entry.strip().split(" ", 1) for entry in CLASSES.split(";"))
)
"""ImageNet's words for the classes that were shown."""


class EegcvprParams(SourceParams):
    """Which of the publisher's files are used, and how."""

    name: Literal["eegcvpr"]
    file: str  # in the study folder, as all that follow; for instance eeg_5_95_std.pth
    unit: Literal["uV", "standardised"]  # of the numbers in the file; *_std.pth are standardised
    sfreq_hz: PositiveFloat
    first_sample: NonNegativeInt  # of the window that is used, after the onset
    n_samples: PositiveInt  # of the window
    min_length: PositiveInt  # samples; segments outside min_length..max_length are left out
    max_length: PositiveInt  # samples
    split_file: str | None  # for instance block_splits_by_image_all.pth
    split_number: int = Field(ge=0)  # the file holds several
    images: str  # folder of <wnid>/<name>.JPEG
    image_order: str | None  # names of the images in order of presentation, one per line
    channels_file: str | None  # names of the channels, one per line; null: as the publisher says


@dataclass(frozen=True)
class Segment:
    """One item of the publisher's list."""

    eeg: Any  # tensor, channels by samples
    subject: int
    image: str
    wnid: str


class EegcvprSource(Source):
    """Reads the dict of segments that the publisher saved with PyTorch.

    One recording per subject, of segments without their place in time: the onsets are nominal, as if
    the windows followed each other, and only with ``image_order`` is their order the experiment's.
    Nothing is kept open: the file is mapped anew by each method, which costs little.
    """

    params: EegcvprParams

    def recordings(self) -> list[Recording]:
        """Return one recording per subject."""
        segments = self._segments()
        n_left_out = sum(not self._usable(segment) for segment in segments)
        if n_left_out:
            text = "%d of %d segments are left out: too short for the params, or too long."
            logger.warning(text, n_left_out, len(segments))
        timed = self._positions() is not None
        path = self.folder / self.params.file
        return [
            Recording(f"sub-{subject:02}_ses-01", f"sub-{subject:02}", "ses-01", path, timed)
            for subject in sorted({segment.subject for segment in segments})
        ]

    def events(self, recording: Recording) -> list[Event]:
        """Return the used segments of one subject, in order; a block is a concept."""
        step_s = self.params.n_samples / self.params.sfreq_hz
        shown = self._shown(recording)
        blocks = {wnid: block for block, wnid in enumerate(dict.fromkeys(s.wnid for s in shown))}
        return [
            Event(order, order * step_s, SHOWN_S, segment.image, blocks[segment.wnid])
            for order, segment in enumerate(shown)
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every picture that a segment belongs to, in order of the names."""
        images = self.folder / self.params.images
        wnids = {segment.image: segment.wnid for segment in self._segments()}
        return [
            Stimulus(name, CONCEPTS.get(wnid, wnid), images / wnid / f"{name}.JPEG")
            for name, wnid in sorted(wnids.items())
        ]

    def read(self, recording: Recording) -> StoredEpochs:
        """Return the windows of one subject's segments."""
        first, n_samples = self.params.first_sample, self.params.n_samples
        info, shown = self._info(), self._shown(recording)
        eeg = np.empty((len(shown), len(info["ch_names"]), n_samples), np.float32)
        for row, segment in zip(eeg, shown, strict=True):
            row[:] = segment.eeg[:, first : first + n_samples].numpy()
        return StoredEpochs(eeg, info, first / self.params.sfreq_hz, self.params.unit)

    def official_split(self) -> dict[str, str] | None:
        """Return the publisher's split; its numbers count the segments of all subjects together."""
        if self.params.split_file is None:
            return None
        segments = self._segments()
        found: dict[str, str] = {}
        for key, numbers in self._split().items():
            for number in map(int, numbers):
                if not 0 <= number < len(segments):
                    raise SourceError(
                        f"{self.params.split_file} must number the {len(segments)} segments of "
                        f"{self.params.file}; it holds {number}. {REMEDY}"
                    )
                image = segments[number].image
                if found.setdefault(image, PARTS[key]) != PARTS[key]:
                    raise SourceError(
                        f"{self.params.split_file} must have every image in one part; {image} is "
                        f"in {found[image]} and {PARTS[key]}. {REMEDY}"
                    )
        return found

    def _segments(self) -> list[Segment]:
        """Return all segments of all subjects, in the order of the file."""
        path = self.folder / self.params.file
        segments = _parse(load_pth(path), path)
        n_channels = len(self._channels())
        odd = [tuple(s.eeg.shape) for s in segments if s.eeg.shape[0] != n_channels]
        if odd:
            raise SourceError(
                f"Every segment of {path} must have {n_channels} channels; {len(odd)} have not, the "
                f"first is of shape {odd[0]}. Name the channels in ingest.source.channels_file."
            )
        return segments

    def _usable(self, segment: Segment) -> bool:
        length = int(segment.eeg.shape[1])
        reached = self.params.first_sample + self.params.n_samples
        return max(self.params.min_length, reached) <= length <= self.params.max_length

    def _shown(self, recording: Recording) -> list[Segment]:
        """Return the used segments of one subject: in order of time if known, else of the classes."""
        subject = int(recording.subject.removeprefix("sub-"))
        shown = [s for s in self._segments() if s.subject == subject and self._usable(s)]
        positions = self._positions()
        if positions is None:
            classes = list(dict.fromkeys(segment.wnid for segment in shown))
            return sorted(shown, key=lambda segment: classes.index(segment.wnid))
        unknown = sorted({s.image for s in shown} - positions.keys())
        if unknown:
            raise SourceError(
                f"{self.params.image_order} must list every image that was shown; {len(unknown)} are "
                f"missing: {', '.join(unknown[:LISTED])}. Add them, or set ingest.source.image_order "
                "to null."
            )
        return sorted(shown, key=lambda segment: positions[segment.image])

    def _positions(self) -> dict[str, int] | None:
        """Return each image's place in the order of presentation, or None where it is not known."""
        if self.params.image_order is None:
            return None
        names = _lines(self.folder / self.params.image_order)
        return {_image_name(name): position for position, name in enumerate(names)}

    def _split(self) -> dict[str, Sequence[Any]]:
        path = self.folder / str(self.params.split_file)
        content = load_pth(path)
        try:
            split = content["splits"][self.params.split_number]
            return {key: split[key] for key in PARTS}
        except (LookupError, TypeError) as error:
            raise SourceError(
                f"{path} must hold 'splits', and number {self.params.split_number} of them "
                f"{', '.join(PARTS)}; it does not ({error!r}). "
                "Change ingest.source.split_number, or set split_file to null."
            ) from error

    def _channels(self) -> Sequence[str]:
        if self.params.channels_file is None:
            return CHANNELS
        return _lines(self.folder / self.params.channels_file)

    def _info(self) -> mne.Info:
        names = list(self._channels())
        montage = mne.channels.make_standard_montage(MONTAGE)
        unknown = [name for name in names if name not in montage.ch_names]
        if unknown:
            raise SourceError(
                f"Every channel must have its place in MNE's montage {MONTAGE}; {len(unknown)} have "
                f"none: {', '.join(unknown[:LISTED])}. Rename them in {self.params.channels_file}."
            )
        info = mne.create_info(names, self.params.sfreq_hz, "eeg", verbose="ERROR")
        return info.set_montage(montage, verbose="ERROR")


def _parse(content: Any, path: Path) -> list[Segment]:
    items = content.get("dataset") if isinstance(content, dict) else None
    if not isinstance(items, list) or not items or not all(map(_is_segment, items)):
        raise SourceError(
            f"{path} must hold a list 'dataset' of segments with eeg (of two dimensions), "
            f"image, label and subject; it does not. {REMEDY}"
        )
    images, labels = content.get("images"), content.get("labels")
    try:
        return [_segment(item, images, labels) for item in items]
    except (LookupError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} must say which image of which class each segment shows, by the lists 'images' "
            f"and 'labels' or by names like n02106662_10232 in 'image'; it does not ({error}). "
            "Take a release of the file that has both lists."
        ) from error


def _is_segment(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() >= KEYS and getattr(item["eeg"], "ndim", 0) == 2


def _segment(item: dict[str, Any], images: Any, labels: Any) -> Segment:
    image = item["image"]
    if not isinstance(image, str):
        if images is None:
            raise ValueError(f"there is no list 'images', and 'image' is {image!r}")
        image = images[_index(image)]
    image = _image_name(image)
    named = WNID.match(image)
    wnid = labels[_index(item["label"])] if labels is not None else named and named[0]
    if wnid is None:
        raise ValueError(f"there is no list 'labels', and {image!r} names no class")
    if named and named[0] != wnid:
        raise ValueError(f"the image {image} has the label {wnid}")
    return Segment(item["eeg"], int(item["subject"]), image, wnid)


def _index(number: Any) -> int:
    """Return a number, or a tensor of one, as an index: a negative one would count from the end."""
    if int(number) < 0:
        raise ValueError(f"{int(number)} is no index")
    return int(number)


def _image_name(text: str) -> str:
    """Return the name of an image without its folder and its ending."""
    return PurePosixPath(text.strip().replace("\\", "/")).stem


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise SourceError(
            f"{path} must exist; it does not. Put it there, or set its name "
            "in ingest.source to null."
        )
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
