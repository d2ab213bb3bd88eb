"""What training is given: trials of the train and validation split alone, with their caption vectors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import HELD_OUT, SEEN, TRAIN
from tasks.artifacts.tables import read_table
from tasks.clip.vectors import table_to_levels, table_to_vectors
from tasks.eeg.epochs import EpochsInfo, open_epochs
from tasks.encoder.blocks import blocks
from tasks.encoder.params import TrainParams
from tasks.runtime.errors import PerceptError
from tasks.runtime.stored import StoredRows

POSTERIOR = re.compile(r"(P|O|TP)")  # beginnings of 10-20 names
POSTERIOR17 = (
    *("P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8"),
    *("PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2"),
)
"""What UBP, NeuroBridge and others decode of the 63 channels of THINGS-EEG2 (configs/eeg/ubp.yaml)."""


class TrainingDataError(PerceptError):
    """The data cannot be trained on."""


@dataclass(frozen=True)
class Trials:
    """Trials of one split.

    Attributes
    ----------
    eeg : StoredRows
        Epochs of shape (n_trials, n_channels, n_times), read where they are indexed.
    subject_index : numpy.ndarray
        Index into the subjects of the data.
    stimulus_index : numpy.ndarray
        Index into the stimuli of the data.
    """

    eeg: StoredRows
    subject_index: Int64[np.ndarray, " n_trials"]
    stimulus_index: Int64[np.ndarray, " n_trials"]

    def rows(self, chosen: Bool[np.ndarray, " n_trials"]) -> Trials:
        """Return some of the trials."""
        return Trials(self.eeg.of(chosen), self.subject_index[chosen], self.stimulus_index[chosen])


@dataclass(frozen=True)
class TrainingData:
    """All that training may see.

    Attributes
    ----------
    train, validation : Trials
        Trials to learn from and trials to choose the epoch by.
    targets : numpy.ndarray
        The vector of each stimulus and kind, unit norm.
    concepts : list of str
        What each stimulus shows.
    images : numpy.ndarray or None
        The vectors of each picture that an image head learns, by level, of unit norm; None where there is no
        image head.
    kinds, subjects : tuple of str
        In the order of the indices.
    info : EpochsInfo
        What the epochs mean, as they were recorded.
    decoded_channels : tuple of int or None
        Which of the recorded channels the trials hold; None for all.
    split_fingerprint : str
        Of which trial is in which of the two splits.
    """

    train: Trials
    validation: Trials
    targets: Float32[np.ndarray, "n_stimuli n_kinds dim"]
    concepts: list[str]
    kinds: tuple[str, ...]
    subjects: tuple[str, ...]
    info: EpochsInfo
    split_fingerprint: str
    decoded_channels: tuple[int, ...] | None = None
    images: Float32[np.ndarray, "n_stimuli n_levels image_dim"] | None = None

    @property
    def concept_index(self) -> Int64[np.ndarray, " n_stimuli"]:
        """What each stimulus shows, by number among the names in alphabetical order."""
        return np.unique(self.concepts, return_inverse=True)[1].astype(np.int64)

    @property
    def fingerprint(self) -> str:
        """Hash of everything in it."""
        digest = hashlib.sha256(
            repr((self.kinds, self.subjects, self.concepts, self.info)).encode()
        )
        for trials in (self.train, self.validation):
            for rows in blocks(np.arange(len(trials.eeg)), trials.eeg.shape[1:]):
                digest.update(trials.eeg[rows].data)
            for index in (trials.subject_index, trials.stimulus_index):
                digest.update(np.ascontiguousarray(index).data)
        digest.update(self.targets.data)
        if self.images is not None:
            digest.update(self.images.data)
        return digest.hexdigest()[:24]


def read_training_data(
    trials: Path,
    epochs: Path,
    captions: Path,
    text_vectors: Path,
    image_targets: Path,
    *,
    params: TrainParams,
) -> TrainingData:
    """Read and check the train and validation trials and the vectors of their stimuli.

    Parameters
    ----------
    trials, epochs, captions, text_vectors, image_targets : pathlib.Path
        The artefacts of these names.
    params : TrainParams
        `caption_kinds`, `target`, `channels` and `batch_size`.

    Raises
    ------
    TrainingDataError
        If the data cannot be trained on.
    """
    table = read_table(trials, TRIALS).to_pandas()
    chosen = table[table["kept"] & table["split"].isin(SEEN)]
    chosen = chosen.sort_values("trial_id")
    check_splits(chosen, trials, params.batch_size)
    stimuli = sorted(chosen["stimulus_id"].unique())
    kinds = None if params.caption_kinds == "all" else params.caption_kinds
    found_kinds, targets = read_text_targets(captions, text_vectors, stimuli, kinds)
    if params.target.shared_text:
        targets = _as_one(targets)
    images = None
    if params.target.image:
        images = table_to_levels(read_table(image_targets, IMAGE_TARGETS), stimuli)
    subjects = sorted(chosen["subject"].unique())
    eeg, info = open_epochs(epochs, chosen["trial_id"].tolist())
    _check_finite(eeg, chosen["trial_id"].tolist(), info)
    decoded = decoded_channels(info.channels, params.channels)
    everything = Trials(
        replace(eeg, columns=decoded),
        np.searchsorted(subjects, chosen["subject"]).astype(np.int64),
        np.searchsorted(stimuli, chosen["stimulus_id"]).astype(np.int64),
    )
    in_train = (chosen["split"] == TRAIN).to_numpy()
    split = "\n".join(f"{i} {s}" for i, s in zip(chosen["trial_id"], chosen["split"], strict=True))
    return TrainingData(
        everything.rows(in_train),
        everything.rows(~in_train),
        targets,
        chosen.set_index("stimulus_id")["concept"].groupby(level=0).first().loc[stimuli].tolist(),
        tuple(found_kinds),
        tuple(subjects),
        info,
        hashlib.sha256(split.encode()).hexdigest()[:24],
        decoded,
        images,
    )


def decoded_channels(
    recorded: Sequence[str], wanted: list[str] | Literal["all", "posterior", "posterior17"]
) -> tuple[int, ...] | None:
    """Return the indices of the channels to decode; None for all of them.

    Parameters
    ----------
    recorded : Sequence of str
        Names, in the order of the rows of an epoch.
    wanted : list of str, "all", "posterior" or "posterior17"
        See `TrainParams.channels`.

    Raises
    ------
    TrainingDataError
        If a channel was not recorded, or none is posterior.
    """
    if wanted == "all":
        return None
    if wanted == "posterior":
        found = tuple(i for i, name in enumerate(recorded) if POSTERIOR.match(name.upper()))
        if not found:
            raise TrainingDataError(
                "train.channels: posterior needs channels with 10-20 names that begin with P, O or "
                f"TP; found {', '.join(recorded[:5])} and so on. List the channels by name."
            )
        return found
    if wanted == "posterior17":
        wanted = list(POSTERIOR17)
    unknown = [name for name in wanted if name not in recorded]
    if unknown or not wanted:
        raise TrainingDataError(
            f"train.channels must name recorded channels; {', '.join(unknown) or 'an empty list'} is "
            f"none of {', '.join(recorded)}. Mend train.channels in params.yaml."
        )
    return tuple(i for i, name in enumerate(recorded) if name in wanted)


def _as_one(
    targets: Float32[np.ndarray, "n_stimuli n_kinds dim"],
) -> Float32[np.ndarray, "n_stimuli n_kinds dim"]:
    """Put the mean vector of all kinds in the place of each."""
    mean = targets.mean(axis=1, keepdims=True)
    mean /= np.linalg.norm(mean, axis=2, keepdims=True)
    return np.ascontiguousarray(np.repeat(mean, targets.shape[1], axis=1))


def refuse_strangers(trials: Path) -> None:
    """Check that every held-out subject is trained on too, as filters per subject ask for.

    Parameters
    ----------
    trials : pathlib.Path
        The artefact of this name.

    Raises
    ------
    TrainingDataError
        If trials of another subject are held out.
    """
    table = read_table(trials, TRIALS, ["subject", "split", "kept"]).to_pandas()
    table = table[table["kept"]]
    known = set(table.loc[table["split"].isin(SEEN), "subject"])
    held_out = set(table.loc[table["split"].isin(HELD_OUT), "subject"])
    strangers = sorted(held_out - known)
    if strangers:
        raise TrainingDataError(
            "train.per_subject must be false where a subject is held out altogether: there are "
            f"no filters for {', '.join(strangers)}. Set it to false in params.yaml."
        )


def check_splits(chosen: pd.DataFrame, path: Path, batch_size: int) -> None:
    """Check that training and validation trials are such that an encoder can be trained and chosen.

    Parameters
    ----------
    chosen : pandas.DataFrame
        Columns subject, split, stimulus_id and concept of these trials.
    path : Path
        What they are called in errors.

    Raises
    ------
    TrainingDataError
        If they are not.
    """
    remedy = "Mend `preprocess.split` in params.yaml and run `dvc repro preprocess`."
    train = chosen[chosen["split"] == TRAIN]
    if len(train) == len(chosen):
        raise TrainingDataError(
            f"{path} must hold kept trials of the split 'validation', by which the epoch is chosen; "
            f"it holds none. {remedy}"
        )
    concepts = sorted(train["concept"].unique())
    if len(concepts) < 2:
        raise TrainingDataError(
            f"The training trials of {path} must show at least two concepts; found "
            f"{', '.join(concepts) or 'no training trial'}. {remedy}"
        )
    n_stimuli = train["stimulus_id"].nunique()
    if n_stimuli < batch_size:
        raise TrainingDataError(
            f"There must be at least as many training stimuli as train.batch_size ({batch_size}); "
            f"{path} holds {n_stimuli}. Lower train.batch_size in params.yaml."
        )
    unseen = set(chosen["subject"]) - set(train["subject"])
    if unseen:
        raise TrainingDataError(
            f"Every subject of {path} with validation trials must have training trials; "
            f"{', '.join(sorted(unseen))} has none. {remedy}"
        )


def read_text_targets(
    captions: Path, text_vectors: Path, stimuli: list[str], kinds: list[str] | None
) -> tuple[list[str], Float32[np.ndarray, "n_stimuli n_kinds dim"]]:
    """Return the kinds, and the vector of each stimulus's caption of each kind."""
    columns = ["caption_id", "stimulus_id", "kind"]
    table = read_table(captions, CAPTIONS, columns).to_pandas()
    known = list(dict.fromkeys(table["kind"]))
    unknown = sorted(set(kinds or ()) - set(known))
    if unknown:
        raise TrainingDataError(
            f"train.caption_kinds must name caption kinds of {captions}; {', '.join(unknown)} is none of "
            f"{', '.join(known)}. Mend train.caption_kinds in params.yaml."
        )
    wanted = [kind for kind in known if kinds is None or kind in kinds]
    ids = table.set_index(["stimulus_id", "kind"])["caption_id"]
    pairs = pd.MultiIndex.from_product([stimuli, wanted])
    missing = pairs.difference(ids.index)
    if len(missing):
        stimulus, kind = missing[0]
        raise TrainingDataError(
            f"{captions} must hold every kind of caption of every training and validation stimulus; "
            f"{len(missing)} are missing, for instance {kind} of {stimulus}. Run `dvc repro caption`."
        )
    vectors = read_table(text_vectors, TEXT_VECTORS)
    rows = pd.Index(vectors["caption_id"].to_pylist()).get_indexer(ids.loc[pairs].tolist())
    if (rows < 0).any():
        caption_id = ids.loc[pairs].iloc[int(np.argmax(rows < 0))]
        raise TrainingDataError(
            f"{text_vectors} must hold the vector of every caption; that of {caption_id} is missing. "
            "Run `dvc repro embed`."
        )
    chosen = table_to_vectors(vectors.take(rows))
    return wanted, chosen.reshape(len(stimuli), len(wanted), -1)


def _check_finite(eeg: StoredRows, trial_ids: list[str], info: EpochsInfo) -> None:
    parts = blocks(np.arange(len(eeg)), eeg.shape[1:])
    finite = np.concatenate([np.isfinite(eeg[rows]).all(axis=2) for rows in parts])
    if not finite.all():
        trial, channel = np.argwhere(~finite)[0]
        raise TrainingDataError(
            f"Epochs must be finite; channel {info.channels[channel]} of trial {trial_ids[trial]} "
            f"is not ({int((~finite).sum())} channels of trials in all). "
            "Mend the recording or reject the trial, then run `dvc repro preprocess`."
        )
