"""A study of a few trials as the stages before `train` write it, with an effect that can be decoded."""

import shutil
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import write_table
from tasks.clip.vectors import levels_to_table, vectors_to_table
from tasks.eeg.epochs import EpochsInfo, write_epochs
from tasks.encoder.params import TrainParams

SUBJECTS = ("sub-01", "sub-02")
KINDS = ("ObjectSnap", "ThemeTag")
CONCEPTS = ("cat", "dog", "car")
N_CHANNELS, N_TIMES, DIM = 8, 48, 12
INFO = EpochsInfo(tuple(f"E{i}" for i in range(N_CHANNELS)), 100.0, -0.05, "uV", "average", "none")
SPLITS = ("train", "train", "train", "train", "train", "train", "validation", "validation", "test")

SECTION = {
    "seed": 0,
    "caption_kinds": "all",
    "channels": "all",
    "per_subject": True,
    "precision": "float32",
    "compile": False,
    "batch_size": 16,
    "keep_epochs": False,
    "architecture": {
        "name": "st_transformer",
        "start": {
            "share_of_group": 0.3,
            "n_scores": 6,
            "prior_trials": 1.0,
            "noise_floor": 0.01,
            "n_virtual": 4,
            "low_pass_hz": 12.0,
            "n_latents": 4,
            "n_starts": 2,
        },
        "network": {
            "patch_samples": 6,
            "width": 8,
            "n_layers": 1,
            "n_attention_heads": 2,
            "head_width": 8,
            "max_slots": 10,
            "dropout": 0.1,
        },
    },
    "target": {
        "text": 1.0,
        "image": 0.0,
        "shared_text": False,
        "image_levels": "first",
        "image_projection": None,
    },
    "objective": {
        "infonce": 1.0,
        "mse": 0.0,
        "mmd": 0.0,
        "cross_entropy": 0.0,
        "normalise_eeg": True,
        "duplicate_cosine": 0.999,
        "soft_targets": 0.0,
        "scale": {"temperature": 0.1, "learned": True, "one_for_all": False, "map": "exp"},
    },
    "optimiser": {
        "learning_rate": 0.003,
        "weight_decay": 0.01,
        "betas": [0.9, 0.999],
        "gradient_norm": 1.0,
        "initial_sd": None,
    },
    "schedule": {"name": "cosine", "max_epochs": 6, "warmup_epochs": 1},
    "selection": {"name": "best", "by": "recall_at_1", "patience": 6, "ema_decay": 0.9},
    "augmentation": {
        "synthetic_share": 0.5,
        "repetition_mix": 0.5,
        "channel_dropout": 0.1,
        "time_shift_samples": 1,
        "noise": 0.0,
        "smoothing": 0.0,
        "smoothing_samples": 5,
    },
}
ARCHITECTURES = {
    "linear": {"n_components": 4, "bin_samples": 4, "n_scores": 6, "prior_trials": 1.0},
    "ridge": {"bin_samples": 4, "alphas": [0.1, 1.0, 10.0]},
    "xdawn_lda": {"n_components": 4, "bin_samples": 4},
}
"""Params of the baselines; a network has `dropout` alone."""


def changed(**updates) -> TrainParams:
    """Return the params of the tests with some changed: each by its own name, wherever it lies."""
    section = deepcopy(SECTION)
    if isinstance(name := updates.pop("architecture", None), str) and name != "st_transformer":
        own = ARCHITECTURES.get(name, {"dropout": 0.1})
        section["architecture"] = {"name": name, **own}
    for name, value in updates.items():
        places = [place for place in _mappings(section) if name in place]
        assert len(places) == 1, f"{name} is in {len(places)} places"
        old = places[0][name]
        both = isinstance(old, dict) and isinstance(value, dict) and "name" not in value
        places[0][name] = old | value if both else value
    return TrainParams.model_validate(section)


def _mappings(section: dict) -> list[dict]:
    inner = [
        place for value in section.values() if isinstance(value, dict) for place in _mappings(value)
    ]
    return [section, *inner]


PARAMS = changed()


@dataclass
class SmallStudy:
    """The tables before they are written, and the epochs of each subject's only recording."""

    trials: pd.DataFrame
    captions: pd.DataFrame
    text_vectors: np.ndarray
    image_vectors: np.ndarray
    eeg: dict[str, np.ndarray]

    def write(self, folder: Path) -> list[Path]:
        """Write everything and return the paths that `train` reads, in its order."""
        paths = [
            folder / name
            for name in ("trials", "epochs", "captions", "text_vectors", "image_targets")
        ]
        trials, epochs, captions, text_vectors, image_targets = paths
        write_table(pa.Table.from_pandas(self.trials, preserve_index=False), trials, TRIALS)
        for subject, rows in self.trials.groupby("subject"):
            ids = rows["trial_id"].tolist()
            write_epochs(epochs / f"{subject}_ses-01.arrow", ids, self.eeg[subject], INFO)
        write_table(pa.Table.from_pandas(self.captions, preserve_index=False), captions, CAPTIONS)
        ids = self.captions["caption_id"].tolist()
        write_table(
            vectors_to_table({"caption_id": ids}, self.text_vectors), text_vectors, TEXT_VECTORS
        )
        ids = list(dict.fromkeys(self.captions["stimulus_id"]))
        levels = {"final": self.image_vectors, "layer 2": self.image_vectors[:, ::-1]}
        write_table(levels_to_table(ids, levels), image_targets, IMAGE_TARGETS)
        return paths


def make_small_study(n_repetitions: int = 3, snr: float = 2.0, seed: int = 0) -> SmallStudy:
    """Draw stimuli (9 of each concept and theme), captions and trials."""
    rng = np.random.default_rng(seed)
    stimuli = pd.DataFrame(
        [
            (f"stim-{i * 9 + j:04d}", concept, j % 3, split)
            for i, concept in enumerate(CONCEPTS)
            for j, split in enumerate(SPLITS)
        ],
        columns=["stimulus_id", "concept", "theme", "split"],
    )
    words = {word: rng.normal(size=DIM) for word in (*CONCEPTS, *range(3))}
    captions, vectors = [], []
    for stimulus in stimuli.itertuples():
        for kind, word in zip(KINDS, (stimulus.concept, stimulus.theme), strict=True):
            name = f"{stimulus.stimulus_id}_{kind}"
            row = (name, stimulus.stimulus_id, "object", kind, str(word), "test", "test", "", "ok")
            captions.append(row)
            vectors.append(words[word])
    trials, eeg = [], {}
    evoked = {word: rng.normal(size=(N_CHANNELS, N_TIMES)) for word in words}
    for subject in SUBJECTS:
        shown = np.concatenate([rng.permutation(len(stimuli)) for _ in range(n_repetitions)])
        turned = np.eye(N_CHANNELS) + 0.2 * rng.normal(size=(N_CHANNELS, N_CHANNELS))
        epochs = rng.normal(size=(len(shown), N_CHANNELS, N_TIMES))
        for order, index in enumerate(shown):
            row = stimuli.iloc[index]
            epochs[order] += 0.3 * snr * turned @ (evoked[row.concept] + evoked[row.theme])
            trials.append(_trial(subject, order, row, order // len(stimuli)))
        eeg[subject] = epochs.astype(np.float32)
    return SmallStudy(
        pd.DataFrame(trials, columns=TRIALS.names),
        pd.DataFrame(captions, columns=CAPTIONS.names),
        _unit(np.array(vectors)),
        _unit(rng.normal(size=(len(stimuli), DIM))),
        eeg,
    )


def _trial(subject: str, order: int, stimulus: pd.Series, repetition: int) -> tuple:
    recording = f"{subject}_ses-01"
    where = (f"{recording}_trial-{order:04d}", recording, subject, "ses-01", 0, order, float(order))
    what = (stimulus.stimulus_id, stimulus.concept, repetition, stimulus.split)
    return (*where, *what, True, "")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def written_study(root):
    """Write the small study below `root` where the catalogue expects it, and return `root`."""
    for path in make_small_study().write(root / "written"):
        target = getattr(Artifacts(root), path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    return root
