"""What is predicted and retrieved when the encoder hears noise in the place of EEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import TRAIN
from tasks.artifacts.tables import read_table
from tasks.clip.galleries import Gallery, build_galleries
from tasks.clip.vectors import vectors_to_table
from tasks.controls.noise import MAX_NOISE_SOURCES, Epochs, gaussian_noise
from tasks.diffusion.conditions import Heard
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder, load_encoder
from tasks.runtime.errors import PerceptError
from tasks.statistics.draws import seed_of


@dataclass(frozen=True)
class NoiseControl:
    """Lets the encoder hear noise and retrieves captions as for EEG.

    The noise has the mean and the covariance, over channels and times, of the subject's training epochs:
    to the encoder it looks like EEG, and it knows of no picture.

    Attributes
    ----------
    trials, epochs, captions, text_vectors, encoder : Path
        As `retrieve` reads them.
    gallery : str
        Which captions are searched.
    seed : int
        Of the noise.
    """

    trials: Path
    epochs: Path
    captions: Path
    text_vectors: Path
    encoder: Path
    gallery: str
    seed: int

    def __call__(self, chosen: pd.DataFrame, k: int) -> Heard:
        """Predict vectors and retrieve captions from noise in the place of the EEG of some trials.

        Parameters
        ----------
        k : int
            Captions per trial and kind.

        Returns
        -------
        Heard
            Predictions, by trial and kind, and retrievals.

        Raises
        ------
        PerceptError
            If no training trial was kept.
        """
        trials, encoder = read_table(self.trials, TRIALS), load_encoder(self.encoder)
        captions = read_table(self.captions, CAPTIONS)
        vectors = read_table(self.text_vectors, TEXT_VECTORS)
        galleries = build_galleries(trials, captions, vectors, encoder.kinds)
        noise = self._noise(trials.to_pandas(), chosen["subject"].tolist(), encoder)
        predicted = encoder.predict(noise, chosen["subject"].tolist())
        head = {kind: index for index, kind in enumerate(encoder.kinds)}
        searched = [gallery for gallery in galleries if gallery.name == self.gallery]
        parts = [_answers(chosen, g, predicted[:, head[g.kind]], k) for g in searched]
        keys = {
            "trial_id": np.repeat(chosen["trial_id"].to_numpy(), len(encoder.kinds)),
            "kind": np.tile(encoder.kinds, len(chosen)),
        }
        vectors_of_heads = predicted.reshape(-1, predicted.shape[-1])
        return Heard(vectors_to_table(keys, vectors_of_heads), pd.concat(parts, ignore_index=True))

    def _noise(self, trials: pd.DataFrame, subjects: Sequence[str], encoder: Encoder) -> Epochs:
        """Draw noise for some subjects."""
        training = _noise_sources(trials, self.seed)
        eeg, info = read_epochs(self.epochs, training["trial_id"].tolist())
        encoder.require_channels(info.channels)
        return gaussian_noise(eeg, training["subject"].tolist(), subjects, self.seed)


def _noise_sources(trials: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose training trials of each subject by lot."""
    training = trials[trials["kept"] & trials["split"].eq(TRAIN)]
    if training.empty:
        raise PerceptError(
            "Noise is made of the epochs of kept training trials; found none. "
            "Mend the params of preprocess."
        )
    lot = training.assign(lot=[seed_of(seed, "noise", t) for t in training["trial_id"]])
    return lot.sort_values("lot").groupby("subject").head(MAX_NOISE_SOURCES)


def _answers(chosen: pd.DataFrame, gallery: Gallery, queries: np.ndarray, k: int) -> pd.DataFrame:
    """Return the nearest captions of one kind: a row per trial and rank."""
    caption_ids, cosines = gallery.nearest(np.ascontiguousarray(queries), k)
    return pd.DataFrame(
        {
            "trial_id": np.repeat(chosen["trial_id"].to_numpy(), k),
            "gallery": gallery.name,
            "kind": gallery.kind,
            "rank": np.tile(np.arange(1, k + 1), len(chosen)),
            "caption_id": caption_ids.to_pylist(),
            "cosine": cosines.ravel(),
        }
    )
