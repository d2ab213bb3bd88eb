"""The synthetic study with EEG: each tier speaks from a known place, and a linear decoder listens."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from tasks.artifacts.contracts.image_vectors import IMAGE_VECTORS
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.topographies import TOPOGRAPHIES
from tasks.eeg.epochs import EpochsInfo, write_epochs
from tasks.explanation.scalp import directions_of
from tasks.language.prompts import TIER_OF
from tests.synthetic_study import DIM, KINDS, SyntheticStudy, make_study, unit

MONTAGE = "colin27_1005"
CAP = (
    "Fp1 Fp2 AF3 AF4 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 CP5 CP1 CP2 CP6 "
    "P7 P3 Pz P4 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2 Iz"
)
CHANNELS = tuple(CAP.split())
PEAKS = {"object": "Oz", "spatial": "Cz", "thematic": "AF3"}
DISTURBANCES = ("P7", "CP2", "F4")
"""Where strong noise is: filters must take it off, and so are large where nothing is to be heard."""
N_TIMES = DIM
N_LATENTS = 5


class Listener(torch.nn.Module):
    """One spatial filter per head, then a common readout of its time course."""

    def __init__(self, filters, readout):
        super().__init__()
        self.filters = torch.nn.Parameter(torch.tensor(filters, dtype=torch.float32))
        self.readout = torch.nn.Parameter(torch.tensor(readout, dtype=torch.float32))

    def forward(self, eeg, subject_index):
        heard = torch.einsum("nct,kc->nkt", eeg, self.filters) @ self.readout
        return torch.nn.functional.normalize(heard, dim=-1)


@dataclass
class Encoder:
    module: torch.nn.Module
    kinds: tuple[str, ...]

    def subject_index(self, subjects):
        return torch.zeros(len(subjects), dtype=torch.int64)

    def require_channels(self, channels):
        assert tuple(channels) == CHANNELS


@dataclass
class ListeningStudy:
    """Tables, epochs of all trials in their order, what was planted and who listens."""

    tables: SyntheticStudy
    eeg: np.ndarray
    planted: dict[str, np.ndarray]
    encoder: Encoder

    @property
    def topographies(self):
        rows = [
            {"factor": tier, "channel": channel, "tier": tier, "weight": float(weight)}
            for tier, weights in self.planted.items()
            for channel, weight in zip(CHANNELS, weights, strict=True)
        ]
        return pa.Table.from_pylist(rows, TOPOGRAPHIES)

    @property
    def stimuli(self):
        frame = self.tables.trials.to_pandas().drop_duplicates("stimulus_id")
        rows = [
            {
                "stimulus_id": row.stimulus_id,
                "concept": row.concept,
                "image_path": f"{row.stimulus_id}.png",
                "width_px": 8,
                "height_px": 8,
                "sha256": hashlib.sha256(row.stimulus_id.encode()).hexdigest(),
                "official_split": "",
            }
            for row in frame.itertuples()
        ]
        return pa.Table.from_pylist(rows, STIMULI)

    @property
    def image_vectors(self):
        ids = sorted(set(self.tables.trials["stimulus_id"].to_pylist()))
        vectors = unit(np.random.default_rng(0).standard_normal((len(ids), DIM)))
        rows = [{"stimulus_id": s, "vector": v} for s, v in zip(ids, vectors, strict=True)]
        return pa.Table.from_pylist(rows, IMAGE_VECTORS)


def make_listening_study(signal=4.0, seed=0, n_subjects=3):
    """Make a study whose EEG holds the vector of each caption, at the place of its tier."""
    tables = make_study(n_per_split=6, n_subjects=n_subjects, seed=seed)
    rng = np.random.default_rng(seed)
    tables.text_vectors = _unrelated_vectors(tables, rng)
    places = directions_of(CHANNELS, MONTAGE)
    angles = np.arccos(np.clip(places @ places.T, -1, 1))
    planted = {tier: _spread(angles, [channel])[:, 0] for tier, channel in PEAKS.items()}
    codes, _ = np.linalg.qr(rng.standard_normal((N_TIMES, DIM)))
    eeg = _noise(angles, tables.trials.num_rows, rng)
    spoken = {k: v @ codes.T for k, v in _true_vectors(tables).items()}
    for kind in KINDS:
        eeg += signal * np.einsum("c,nt->nct", planted[TIER_OF[kind]], spoken[kind])
    mixing = np.stack([planted[TIER_OF[kind]] for kind in KINDS], axis=1)
    filters = np.linalg.solve(_covariance(angles), mixing)
    module = Listener((filters @ np.linalg.inv(mixing.T @ filters)).T, codes)
    study = ListeningStudy(tables, eeg.astype(np.float32), planted, Encoder(module.eval(), KINDS))
    tables.predictions = _predictions(study)
    return study


def _unrelated_vectors(study, rng):
    """Give captions vectors that name the concept in the tier `object`, and are their own in others."""
    stimuli = study.trials.to_pandas().drop_duplicates("stimulus_id")[["stimulus_id", "concept"]]
    meaning = {
        concept: rng.standard_normal(N_LATENTS) for concept in sorted(set(stimuli["concept"]))
    }
    rows = []
    for kind in KINDS:
        basis = rng.standard_normal((N_LATENTS, DIM))
        for stimulus_id, concept in stimuli.itertuples(index=False):
            latents = rng.standard_normal(N_LATENTS)
            if TIER_OF[kind] == "object":
                latents = meaning[concept] + 0.2 * latents
            vector = unit(latents @ basis)
            rows.append({"caption_id": f"{stimulus_id}_{kind}", "vector": vector})
    return pa.Table.from_pylist(rows, TEXT_VECTORS)


def _true_vectors(tables):
    vector = dict(zip(*tables.text_vectors.to_pydict().values(), strict=True))
    stimuli = tables.trials["stimulus_id"].to_pylist()
    return {kind: np.array([vector[f"{s}_{kind}"] for s in stimuli]) for kind in KINDS}


def _spread(angles, channels):
    return np.exp(-((angles[:, [CHANNELS.index(c) for c in channels]] / 0.8) ** 2))


def _covariance(angles):
    disturbances = _spread(angles, DISTURBANCES)
    return disturbances @ disturbances.T + 0.05 * np.eye(len(angles))


def _noise(angles, n_trials, rng):
    root = np.linalg.cholesky(_covariance(angles))
    return root @ rng.standard_normal((n_trials, len(CHANNELS), N_TIMES))


def _predictions(study):
    rows = study.tables.trials.to_pylist()
    with torch.inference_mode():
        vectors = study.encoder.module(torch.from_numpy(study.eeg), None).numpy()
    return pa.Table.from_pylist(
        [
            {"trial_id": row["trial_id"], "kind": kind, "vector": vector}
            for row, heads in zip(rows, vectors, strict=True)
            if row["split"] in {"test", "zero_shot"}
            for kind, vector in zip(KINDS, heads, strict=True)
        ],
        PREDICTIONS,
    )


def write_epoch_files(study, folder):
    """Write the epochs of all trials, one file per recording; two samples come before the picture."""
    info = EpochsInfo(CHANNELS, 100.0, -0.02, "uV", "average", "none")
    recordings = np.array(study.tables.trials["recording_id"].to_pylist())
    trial_ids = np.array(study.tables.trials["trial_id"].to_pylist())
    for recording in np.unique(recordings):
        rows = recordings == recording
        write_epochs(folder / f"{recording}.arrow", trial_ids[rows].tolist(), study.eeg[rows], info)
