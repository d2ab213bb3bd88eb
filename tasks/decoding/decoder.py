"""Decode EEG with an encoder that was exported: the nearest captions of each kind, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from tasks.clip.search import top_k
from tasks.decoding.bundle import Bundle, load_bundle
from tasks.decoding.calibration import evidence_of
from tasks.decoding.recordings import OnMissing, RecordingError, clean, onsets_of, open_recording
from tasks.language.prompts import TIER_OF

COLUMNS = ("trial", "onset_s", "tier", "kind", "rank", "caption", "cosine", "confidence")


@dataclass(frozen=True)
class Decoded:
    """What was decoded of some trials.

    Attributes
    ----------
    vectors : numpy.ndarray
        Shape (n_trials, n_kinds, dim): unit vectors in the encoder's CLIP space.
    kinds : tuple of str
        The caption kinds, in the order of the vectors.
    table : pandas.DataFrame
        One row per trial, kind and rank: trial, onset_s (s; NaN for epochs), tier, kind, rank (1 is the nearest), caption,
        cosine, confidence (of rank 1; NaN where the encoder was not calibrated).
    dropped : dict of int to str
        Trials that were not decoded, and why.
    """

    vectors: Float32[np.ndarray, "n_trials n_kinds dim"]
    kinds: tuple[str, ...]
    table: pd.DataFrame
    dropped: dict[int, str]

    @property
    def captions(self) -> pd.DataFrame:
        """The nearest caption of each trial (rows) and kind (columns)."""
        return self._first("caption")

    @property
    def confidence(self) -> pd.DataFrame:
        """How likely it says what the picture's own caption says, of each trial (rows) and kind (columns)."""
        return self._first("confidence")

    def to_pandas(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def _first(self, column: str) -> pd.DataFrame:
        nearest = self.table[self.table["rank"] == 1]
        return nearest.pivot_table(column, "trial", "kind", aggfunc="first", dropna=False)[
            list(self.kinds)
        ]


@dataclass(frozen=True)
class Decoder:
    """An encoder with its preprocessing, captions and calibration.

    Attributes
    ----------
    bundle : Bundle
        What was exported.
    """

    bundle: Bundle

    @property
    def channels(self) -> tuple[str, ...]:
        """The EEG channels that it reads, in their order."""
        return self.bundle.encoder.channels

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects that it was trained on."""
        return self.bundle.encoder.subjects

    def decode(
        self,
        epochs: mne.BaseEpochs | Float[np.ndarray, "n_trials n_channels n_times"],
        *,
        subject: str | None = None,
        k: int = 5,
        on_missing: OnMissing = "refuse",
    ) -> Decoded:
        """Decode epochs.

        Parameters
        ----------
        epochs : mne.BaseEpochs or numpy.ndarray
            Epochs of MNE are put into the channels, window, rate and reference of training; filter them as in training
            before. An array is taken as it is: microvolt, with the encoder's channels and samples.
        subject : str or None
            Of training; None where it is another, which only an encoder of one model for all subjects can read.
        k : int
            Captions per trial and kind.
        on_missing : {"refuse", "interpolate"}
            What to do about channels that are not there.

        Returns
        -------
        Decoded
            Captions, confidence and vectors.

        Raises
        ------
        RecordingError
            If channels, rate or unit do not fit.
        EncoderError
            If the shape of an array does not fit, or the encoder has no filters for the subject.
        """
        if isinstance(epochs, np.ndarray):
            eeg = np.asarray(epochs, np.float32)
            kept, dropped = _kept([""] * len(eeg))
        else:
            config = self.bundle.config
            done = clean(
                epochs, (), config.preprocess, self.channels, config.sfreq_hz, on_missing, "These epochs"
            )  # fmt: skip
            eeg = done.eeg
            kept, dropped = _kept(done.reject_reasons)
        return self._answer(eeg, kept, [np.nan] * len(kept), dropped, subject, k)

    def decode_recording(
        self,
        path: str | Path,
        *,
        events: str | Path | None = None,
        every_s: float | None = None,
        subject: str | None = None,
        k: int = 5,
        on_missing: OnMissing = "refuse",
    ) -> Decoded:
        """Decode a recording from its file.

        Parameters
        ----------
        path : str or Path
            Any format that MNE reads.
        events : str, Path or None
            Table with a column ``onset``, in s; None takes the annotations of the recording.
        every_s : float or None
            Decode a window after so many seconds, whatever the events.
        subject, k, on_missing
            As in `decode`.

        Raises
        ------
        RecordingError
            If the recording cannot be read, has no events, or does not fit the encoder.
        QualityError
            If too many channels are bad, or a channel is not finite.
        """
        path, config = Path(path), self.bundle.config
        found = open_recording(path)
        if isinstance(found, mne.BaseEpochs):
            return self.decode(found, subject=subject, k=k, on_missing=on_missing)
        table = None if events is None else Path(events)
        onsets_s = onsets_of(found, config.preprocess, table, every_s, path.name)
        done = clean(
            found, onsets_s, config.preprocess, self.channels, config.sfreq_hz, on_missing, path.name
        )  # fmt: skip
        kept, dropped = _kept(done.reject_reasons)
        return self._answer(done.eeg, kept, [onsets_s[row] for row in kept], dropped, subject, k)

    def _answer(
        self,
        eeg: Float32[np.ndarray, "n_trials n_channels n_times"],
        kept: Sequence[int],
        onsets_s: Sequence[float],
        dropped: dict[int, str],
        subject: str | None,
        k: int,
    ) -> Decoded:
        """Predict the vectors of some trials and find their captions."""
        encoder, config = self.bundle.encoder, self.bundle.config
        if not len(eeg):
            reasons = "; ".join(sorted(set(dropped.values()))) or "there are none"
            raise RecordingError(f"A trial must be left to decode; none is ({reasons}).")
        vectors = encoder.predict(eeg, [subject or ""] * len(eeg))
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for place, kind in enumerate(encoder.kinds):
            own = np.ascontiguousarray(vectors[:, place])
            said, n = config.captions[kind], min(k, len(config.captions[kind]))
            rows, cosines = top_k(own, self.bundle.vectors[kind], n)
            sure = np.full((len(own), n), np.nan)
            if (calibration := config.calibration.get(kind)) is not None:
                evidence = evidence_of(own, self.bundle.vectors[kind])
                sure[:, 0] = calibration.confidence(evidence)
            columns["trial"].extend(np.repeat(kept, n))
            columns["onset_s"].extend(np.repeat(np.asarray(onsets_s, float), n))
            columns["tier"].extend([str(TIER_OF[kind])] * rows.size)
            columns["kind"].extend([kind] * rows.size)
            columns["rank"].extend(np.tile(np.arange(1, n + 1), len(own)))
            columns["caption"].extend(said[row] for row in rows.ravel())
            columns["cosine"].extend(cosines.ravel())
            columns["confidence"].extend(sure.ravel())
        table = pd.DataFrame(columns)
        table = table.sort_values(["trial", "kind", "rank"], kind="stable", ignore_index=True)
        return Decoded(vectors, encoder.kinds, table, dropped)


def load_encoder(folder: str | Path) -> Decoder:
    """Load an encoder that `percept export` wrote.

    Raises
    ------
    BundleError
        If the folder is incomplete or altered, or of a newer version.
    """
    return Decoder(load_bundle(Path(folder)))


def _kept(reasons: Sequence[str]) -> tuple[list[int], dict[int, str]]:
    dropped = {row: reason for row, reason in enumerate(reasons) if reason}
    return [row for row in range(len(reasons)) if row not in dropped], dropped
