"""What was decoded from the held-out trials, beside what was shown: every row joined by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float

from tasks.artifacts.splits import HELD_OUT, SEEN, SPLITS, TRAIN, UNUSED, ZERO_SHOT, main_split
from tasks.clip.vectors import table_to_vectors
from tasks.runtime.errors import PerceptError
from tasks.scores.ranking import CaptionGallery, Vectors

KNOWN = "known_"
"""What the names of scores begin with where held-out pictures were also in training."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out trials with an epoch, in the order of their ids.

    Attributes
    ----------
    trials : pandas.DataFrame
        Columns trial_id, subject, stimulus_id, concept, split.
    predicted : Mapping[str, Float[np.ndarray, "n_trials dim"]]
        Caption kind to the unit-norm vectors that its head predicted.
    captions : pandas.DataFrame
        Columns caption_id, stimulus_id, tier, kind, text, concept, split, of all stimuli.
    vectors : Float[np.ndarray, "n_captions dim"]
        Unit-norm text vectors, one per row of `captions`.
    """

    trials: pd.DataFrame
    predicted: Mapping[str, Vectors]
    captions: pd.DataFrame
    vectors: Vectors

    @classmethod
    def join(
        cls,
        trials: pa.Table,
        captions: pa.Table,
        text_vectors: pa.Table,
        predictions: pa.Table,
        splits: Sequence[str] = HELD_OUT,
    ) -> Self:
        """Join the tables of these names, for the trials of some splits.

        Raises
        ------
        PerceptError
            If no held-out trial was kept, or a trial or a caption has no vector.
        """
        shown = trials.to_pandas()
        kept = shown[shown["kept"] & shown["split"].isin(splits)].sort_values("trial_id")
        if kept.empty:
            raise PerceptError(
                f"Evaluation needs kept trials of the splits {', '.join(splits)}; found none. "
                "Hold out stimuli in `preprocess`."
            )
        of_stimulus = one_split_per_stimulus(shown, SEEN)
        texts = captions.to_pandas().merge(of_stimulus, on="stimulus_id").sort_values("caption_id")
        ids = texts["caption_id"].tolist()
        return cls(
            kept[["trial_id", "subject", "stimulus_id", "concept", "split"]].reset_index(drop=True),
            _predicted(predictions, kept["trial_id"].tolist()),
            texts.reset_index(drop=True),
            vectors_of(text_vectors, "caption_id", ids, "Run `dvc repro embed`."),
        )

    def of(self, rows: pd.Series[bool]) -> Self:
        """Return the chosen trials alone, with all captions."""
        chosen = rows.to_numpy()
        return replace(
            self,
            trials=self.trials[chosen].reset_index(drop=True),
            predicted={kind: vectors[chosen] for kind, vectors in self.predicted.items()},
        )

    def main(self) -> Self:
        """Return the trials that headlines, audit and calibration are about: those of `main_split`."""
        return self.of(self.trials["split"] == main_split(self.trials["split"]))

    def kinds(self, tier: str) -> list[str]:
        """Return the predicted kinds of a tier."""
        tiers = dict(zip(self.captions["kind"], self.captions["tier"], strict=True))
        return [kind for kind in self.predicted if tiers.get(kind) == tier]

    def stimuli(self) -> list[str]:
        """Return the stimuli of the trials, in the order of their ids."""
        return sorted(set(self.trials["stimulus_id"]))

    def concepts(self) -> list[str]:
        """Return all concepts that captions can name: the trained ones and the held-out ones."""
        return sorted(set(self.captions["concept"][self._may_name()]))

    def candidates(self) -> list[str]:
        """Return the concepts that are told apart.

        Where no concept that was shown was ever trained, these are the ones that were shown, as in the
        200-way task of THINGS-EEG2; elsewhere all that captions can name.
        """
        if set(self.trials["split"]) == {ZERO_SHOT}:
            return sorted(set(self.trials["concept"]))
        return self.concepts()

    def naming(self, kind: str) -> tuple[Vectors, list[str]]:
        """Return the text vectors that may name concepts, and their concepts.

        Trained concepts are named by captions of training stimuli. A held-out concept has none: it
        is named by the captions of its own, held-out stimuli, as a person names a class.
        """
        named = (self.captions["kind"] == kind) & self._may_name()
        return self.vectors[named.to_numpy()], self.captions["concept"][named].tolist()

    def _may_name(self) -> pd.Series[bool]:
        return self.captions["split"].isin([TRAIN, ZERO_SHOT])

    def gallery(self, stimulus_ids: Sequence[str]) -> CaptionGallery:
        """Return the captions of some stimuli in every predicted kind.

        Raises
        ------
        PerceptError
            If a stimulus lacks a caption.
        """
        row = {
            key: index
            for index, key in enumerate(
                zip(self.captions["stimulus_id"], self.captions["kind"], strict=True)
            )
        }
        texts, vectors = {}, {}
        for kind in self.predicted:
            missing = [s for s in stimulus_ids if (s, kind) not in row]
            if missing:
                raise PerceptError(
                    f"Every held-out stimulus needs a caption of kind {kind}; {len(missing)} have "
                    f"none, {missing[0]!r} first. Run `dvc repro caption`."
                )
            rows = [row[stimulus, kind] for stimulus in stimulus_ids]
            texts[kind] = tuple(self.captions["text"].iloc[rows])
            vectors[kind] = self.vectors[rows]
        return CaptionGallery(tuple(stimulus_ids), texts, vectors)


def one_split_per_stimulus(trials: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    """Return the concept and one split of each stimulus, though its trials be in several.

    Parameters
    ----------
    trials : pandas.DataFrame
        Columns stimulus_id, concept, split.
    first : Sequence[str]
        Splits that count before others, in this order; ``none`` counts where there is no other.
    """
    ranked = [*first, *(split for split in SPLITS if split not in first), UNUSED]
    order = trials.assign(place=trials["split"].map(ranked.index)).sort_values(
        ["stimulus_id", "place"], kind="stable"
    )
    return order.drop_duplicates("stimulus_id")[["stimulus_id", "concept", "split"]]


def vectors_of(
    table: pa.Table, key: str, ids: Sequence[str], remedy: str
) -> Float[np.ndarray, "n dim"]:
    """Return the vectors of some ids, in their order.

    Parameters
    ----------
    table : pyarrow.Table
        Columns `key` and vector.
    key : str
        Name of the column of ids.
    remedy : str
        What the reader of an error shall do.

    Raises
    ------
    PerceptError
        If an id has no vector.
    """
    row = {name: index for index, name in enumerate(table[key].to_pylist())}
    missing = [name for name in ids if name not in row]
    if missing:
        raise PerceptError(
            f"Every {key} needs a vector; {len(missing)} of {len(ids)} have none, "
            f"{missing[0]!r} first. {remedy}"
        )
    return np.asarray(table_to_vectors(table)[[row[name] for name in ids]])


def _predicted(predictions: pa.Table, trial_ids: Sequence[str]) -> dict[str, Vectors]:
    """Return the predicted vectors of each kind, in the order of the trials."""
    kinds = list(dict.fromkeys(predictions["kind"].to_pylist()))
    if not kinds:
        raise PerceptError(
            "Predictions must hold a row per trial and kind; found none. Run `dvc repro retrieve`."
        )
    of_row = np.array(predictions["kind"].to_pylist())
    return {
        kind: vectors_of(
            predictions.filter(pa.array(of_row == kind)),
            "trial_id",
            trial_ids,
            "Run `dvc repro retrieve`.",
        )
        for kind in kinds
    }
