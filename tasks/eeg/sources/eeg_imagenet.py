"""EEG-ImageNet (Zhu et al., 2024), as its publisher cut it.

Sixteen subjects saw 50 pictures of each of 80 ImageNet classes for 0.5 s each, one class after the other:
the block design in which a decoder can tell *when* a trial was recorded instead of *what* was seen.
"""

import logging
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
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
    info_with_montage,
)
from tasks.eeg.sources.safe_loading import load_pth

logger = logging.getLogger(__name__)

SHOWN_S = 0.5
LISTED = 10  # names in a message
KEYS = frozenset({"eeg_data", "granularity", "subject", "label", "image"})
PLAUSIBLE_UV = (0.1, 2000.0)  # standard deviation of a typical EEG channel
REMEDY = "Copy the files of the study from their origin again, all of one release."
CHANNELS = (
    "Fp1", "Fpz", "Fp2", "AF3", "AF4", "F7", "F5", "F3", "F1", "Fz", "F2", "F4", "F6", "F8", "FT7",
    "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "Cz", "C2", "C4",
    "C6", "T8", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "P7", "P5", "P3", "P1",
    "Pz", "P2", "P4", "P6", "P8", "PO7", "PO5", "PO3", "POz", "PO4", "PO6", "PO8", "CB1", "O1", "Oz",
    "O2", "CB2",
)  # fmt: skip
UNPLACED = ("CB1", "CB2")  # at the cerebellum: in none of MNE's montages


class EegImagenetParams(SourceParams):
    """Which of the publisher's files are used, and how."""

    name: Literal["eeg_imagenet"]
    files: tuple[str, ...] = Field(
        min_length=1
    )  # in the study folder, for instance EEG-ImageNet_1.pth
    granularity: Literal["all", "coarse", "fine"]  # which of the two experiments
    unit: Literal["V", "uV", "standardised"]  # of the numbers in the files
    sfreq_hz: PositiveFloat
    first_sample: NonNegativeInt  # of the window that is used, after the onset
    n_samples: PositiveInt  # of the window
    n_training: (
        PositiveInt  # pictures of each class and subject, the first ones: the publisher's split
    )
    images: str  # folder of <wnid>/<name>.JPEG
    class_names: str | None  # lines of wnid and words, as in ImageNet's LOC_synset_mapping.txt
    montage: str  # MNE's, with the positions of the electrodes


class EegImagenetSource(Source):
    """Reads the lists of trials that the publisher saved with PyTorch.

    One recording per subject, of trials whose place in time was not published. CB1 and CB2 have no place
    in MNE's montages; they are no EEG channels here. Files are mapped anew by each method.
    """

    params: EegImagenetParams

    def recordings(self) -> list[Recording]:
        """Return one recording per subject; its path is the first file that holds trials of it."""
        paths: dict[int, Path] = {}
        for path, item in self._items():
            paths.setdefault(int(item["subject"]), path)
        if not paths:
            raise SourceError(
                f"The files of {self.folder} must hold trials of the granularity "
                f"{self.params.granularity!r}; they hold none. Change ingest.source.granularity."
            )
        return [
            Recording(f"sub-{s:02}_ses-01", f"sub-{s:02}", "ses-01", paths[s], timed=False)
            for s in sorted(paths)
        ]

    def events(self, recording: Recording) -> list[Event]:
        """Return the trials of one subject in the order of the files; a block is a class."""
        shown = self._shown(recording)
        length_s = self.params.n_samples / self.params.sfreq_hz
        blocks = {label: n for n, label in enumerate(dict.fromkeys(i["label"] for i in shown))}
        return [
            Event(order, order * length_s, SHOWN_S, _name(item), blocks[item["label"]])
            for order, item in enumerate(shown)
        ]

    def stimuli(self) -> list[Stimulus]:
        """Return every picture that was shown, in order of the names."""
        words, images = self._class_names(), self.folder / self.params.images
        labels = {_name(item): str(item["label"]) for _, item in self._items()}
        return [
            Stimulus(name, words.get(wnid, wnid), images / wnid / f"{name}.JPEG")
            for name, wnid in sorted(labels.items())
        ]

    def read(self, recording: Recording) -> StoredEpochs:
        """Return the windows of one subject's trials."""
        first, stop = self.params.first_sample, self.params.first_sample + self.params.n_samples
        shown = self._shown(recording)
        eeg = np.empty((len(shown), len(CHANNELS), self.params.n_samples), np.float32)
        for row, item in zip(eeg, shown, strict=True):
            row[:] = item["eeg_data"][:, first:stop].numpy()
        if self.params.unit == "V":
            eeg *= 1e6
        known: Literal["uV", "standardised"] = (
            "standardised" if self.params.unit == "standardised" else "uV"
        )
        if known == "uV":
            self._refuse_other_units(recording, eeg)
        return StoredEpochs(eeg, self._info(), first / self.params.sfreq_hz, known)

    def official_split(self) -> dict[str, str]:
        """Return the publisher's split: the first pictures of each class train.

        A subject may lack trials: a picture has the place that it has for subjects who lack none before it.
        Classes whose pictures come in no common order are left out, with a warning.
        """
        shown: dict[tuple[str, str, int], list[str]] = {}
        for _, item in self._items():
            key = (str(item["granularity"]), str(item["label"]), int(item["subject"]))
            shown.setdefault(key, []).append(_name(item))
        places: dict[str, int] = {}
        for names in shown.values():
            for place, name in enumerate(names):
                places[name] = max(place, places.get(name, 0))
        unordered = {
            label
            for (_, label, _), names in shown.items()
            if any(places[one] >= places[other] for one, other in pairwise(names))
        }
        if unordered:
            text = "%d classes have no official split, for their pictures come in another order for each subject: %s"
            logger.warning(text, len(unordered), ", ".join(sorted(unordered)[:LISTED]))
        return {
            name: "train" if places[name] < self.params.n_training else "test"
            for (_, label, _), names in shown.items()
            if label not in unordered
            for name in names
        }

    def _items(self) -> list[tuple[Path, dict[str, Any]]]:
        """Return all trials of the granularity, with their file."""
        found = []
        for file in self.params.files:
            path = self.folder / file
            content = load_pth(path)
            items = content.get("dataset") if isinstance(content, dict) else None
            whole = partial(_is_trial, at_least=self.params.first_sample + self.params.n_samples)
            if not isinstance(items, list) or not items or not all(map(whole, items)):
                raise SourceError(
                    f"{path} must hold a list 'dataset' of trials with eeg_data of {len(CHANNELS)} x "
                    f"{self.params.first_sample + self.params.n_samples} or more, granularity, subject, "
                    f"label and image; it does not. {REMEDY}"
                )
            found += [(path, item) for item in items]
        wanted = self.params.granularity
        return [(p, item) for p, item in found if wanted in ("all", item["granularity"])]

    def _shown(self, recording: Recording) -> list[dict[str, Any]]:
        subject = int(recording.subject.removeprefix("sub-"))
        return [item for _, item in self._items() if int(item["subject"]) == subject]

    def _class_names(self) -> dict[str, str]:
        if self.params.class_names is None:
            return {}
        path = self.folder / self.params.class_names
        if not path.is_file():
            raise SourceError(
                f"{path} must exist; it does not. Put it there, or set ingest.source.class_names to null."
            )
        pairs = (
            line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line
        )
        return {wnid: words.split(",")[0].strip() for wnid, words in pairs}

    def _info(self) -> mne.Info:
        types = ["misc" if name in UNPLACED else "eeg" for name in CHANNELS]
        return info_with_montage(CHANNELS, self.params.sfreq_hz, types, self.params.montage)

    def _refuse_other_units(self, recording: Recording, eeg: np.ndarray) -> None:
        typical = float(np.median(eeg[:: max(1, len(eeg) // 100)].std(axis=2)))
        low, high = PLAUSIBLE_UV
        if not low <= typical <= high:
            raise SourceError(
                f"{recording.recording_id} must be in {self.params.unit}, with channels that deviate by "
                f"{low:g} to {high:g} uV; a typical one deviates by {typical:.3g} uV. Change "
                "ingest.source.unit."
            )


def _is_trial(item: Any, at_least: int) -> bool:
    if not isinstance(item, dict) or not item.keys() >= KEYS:
        return False
    shape = tuple(getattr(item["eeg_data"], "shape", ()))
    return len(shape) == 2 and shape[0] == len(CHANNELS) and shape[1] >= at_least


def _name(item: dict[str, Any]) -> str:
    """Return the name of a trial's picture, without its folder and its ending."""
    return PurePosixPath(str(item["image"]).replace("\\", "/")).stem
