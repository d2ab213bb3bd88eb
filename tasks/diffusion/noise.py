"""What is retrieved when the encoder hears noise in the place of EEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks._errors import PerceptError
from tasks.analysis.controls import MAX_NOISE_SOURCES, gaussian_noise
from tasks.analysis.statistics import seed_of
from tasks.clip.galleries import GALLERY_SPLITS, Gallery, build_galleries
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder


def retrieve_from_noise(
    chosen: pd.DataFrame,
    trials: pa.Table,
    captions: pa.Table,
    text_vectors: pa.Table,
    epochs: Path,
    encoder: Encoder,
    *,
    gallery: str,
    k: int,
    seed: int,
) -> pd.DataFrame:
    """Let the encoder hear noise and retrieve captions as for EEG.

    The noise has the mean and the covariance, over channels and times, of the subject's training epochs:
    to the encoder it looks like EEG, and it knows of no picture.

    Parameters
    ----------
    chosen : pandas.DataFrame
        Trials whose EEG noise stands in for.
    trials, captions, text_vectors : pyarrow.Table
        Under their contracts.
    epochs : Path
        Folder of the EEG.
    encoder : Encoder
        As it was trained.
    gallery : str
        Which captions are searched.
    k : int
        Captions per trial and kind.
    seed : int
        Of the noise.

    Returns
    -------
    pandas.DataFrame
        Columns trial_id, gallery, kind, rank, caption_id, cosine.

    Raises
    ------
    PerceptError
        If no training trial was kept.
    """
    training = _noise_sources(trials.to_pandas(), seed)
    eeg, info = read_epochs(epochs, training["trial_id"].tolist())
    encoder.require_channels(info.channels)
    subjects = chosen["subject"].tolist()
    known = training["subject"].tolist()
    if not set(subjects) <= set(known):  # a held-out subject's noise is made of everybody's epochs
        noise = gaussian_noise(eeg, ["all"] * len(known), ["all"] * len(subjects), seed)
    else:
        noise = gaussian_noise(eeg, known, subjects, seed)
    predicted = encoder.predict(noise, subjects)
    galleries = build_galleries(trials, captions, text_vectors, encoder.kinds)
    head = {kind: index for index, kind in enumerate(encoder.kinds)}
    parts = [
        _answers(chosen, g, predicted[:, head[g.kind]], k) for g in galleries if g.name == gallery
    ]
    return pd.concat(parts, ignore_index=True)


def _noise_sources(trials: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Choose training trials of each subject by lot."""
    training = trials[trials["kept"] & trials["split"].isin(GALLERY_SPLITS["train"])]
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
