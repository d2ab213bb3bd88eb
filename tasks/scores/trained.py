"""What a trained cell names on held-out trials, trial by trial, as `evaluate` scores it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.oracle import CONCEPT_BOUND, ORACLE
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.splits import HELD_OUT, main_split
from tasks.artifacts.tables import read_table
from tasks.clip.vectors import table_to_levels, vectors_to_table
from tasks.eeg.epochs import read_epochs
from tasks.encoder.checkpoints import Encoder
from tasks.scores.concept import concept_ranking
from tasks.scores.held_out import HeldOut
from tasks.scores.image_retrieval import image_ranking
from tasks.scores.params import OBJECT_TIER

Answers = dict[str, list[Any]]


@dataclass(frozen=True)
class HeldOutEEG:
    """Held-out trials with their epochs, before anything is decoded.

    Attributes
    ----------
    trials : pyarrow.Table
        All trials of the study.
    queries : pyarrow.Table
        Those that are scored, sorted by trial_id.
    eeg : numpy.ndarray
        Their epochs.
    captions, text_vectors : pyarrow.Table
        Of all stimuli.
    """

    trials: pa.Table
    queries: pa.Table
    eeg: Float[np.ndarray, "n_trials n_channels n_times"]
    captions: pa.Table
    text_vectors: pa.Table

    @classmethod
    def read(cls, artifacts: Artifacts, subjects: list[str]) -> HeldOutEEG:
        """Read the held-out trials of some subjects."""
        trials = read_table(artifacts.trials, TRIALS)
        held_out = pc.is_in(trials["split"], pa.array(HELD_OUT))
        theirs = pc.is_in(trials["subject"], pa.array(subjects))
        trials = trials.filter(pc.or_(pc.invert(held_out), theirs))
        chosen = pc.and_(pc.and_(trials["kept"], theirs_of(trials, subjects)), held_out_of(trials))
        queries = trials.filter(chosen).sort_by("trial_id")
        eeg, _ = read_epochs(artifacts.epochs, queries["trial_id"].to_pylist())
        return cls(
            trials,
            queries,
            eeg,
            read_table(artifacts.captions, CAPTIONS),
            read_table(artifacts.text_vectors, TEXT_VECTORS),
        )

    def decoded_by(self, encoder: Encoder, subjects: list[str] | None) -> HeldOut:
        """Join what an encoder predicts of each trial.

        Parameters
        ----------
        subjects : list of str or None
            Whose filters decode each trial; None: their own.
        """
        own = self.queries["subject"].to_pylist()
        predicted = encoder.predict(self.eeg, own if subjects is None else subjects)
        n_trials, n_kinds, dim = predicted.shape
        ids = self.queries["trial_id"].to_pylist()
        keys = {
            "trial_id": pa.array(np.repeat(ids, n_kinds)),
            "kind": pa.array(np.tile(encoder.kinds, n_trials)),
        }
        table = vectors_to_table(keys, predicted.reshape(-1, dim))
        return HeldOut.join(self.trials, self.captions, self.text_vectors, table)


def theirs_of(trials: pa.Table, subjects: list[str]) -> pa.ChunkedArray:
    """Tell which trials are of these subjects."""
    return pc.is_in(trials["subject"], pa.array(subjects))


def held_out_of(trials: pa.Table) -> pa.ChunkedArray:
    """Tell which trials no training has seen."""
    return pc.is_in(trials["split"], pa.array(HELD_OUT))


def concept_answers(held_out: HeldOut, split: str | None) -> Answers | None:
    """Return, trial by trial, whether the concept is named.

    Parameters
    ----------
    split : str or None
        The trials that are asked about; None where the study has none.

    Returns
    -------
    dict or None
        Columns trial_id, subject, stimulus_id, correct; None where no head names objects, or no trial
        is of this split.
    """
    kinds = held_out.kinds(OBJECT_TIER)
    some = held_out.of(held_out.trials["split"] == split)
    if not kinds or not len(some.trials):
        return None
    names = some.candidates()
    nearest = concept_ranking(some, kinds, names).first.argmin(axis=1)
    right = np.array(names)[nearest] == some.trials["concept"].to_numpy()
    return _answers(some.trials, right, len(names))


def stimulus_answers(held_out: HeldOut) -> Answers | None:
    """Return, trial by trial, the probability that the stimulus is identified by all heads' captions."""
    test = held_out.main()
    if not len(test.trials):
        return None
    stimuli = test.stimuli()
    ranking = test.gallery(stimuli).stimulus_ranking(list(test.predicted), test.predicted)
    own = np.searchsorted(stimuli, test.trials["stimulus_id"])
    return _answers(test.trials, ranking.recall(1)[np.arange(len(own)), own], len(stimuli))


def picture_answers(data: HeldOutEEG, encoder: Encoder, targets: pa.Table) -> Answers | None:
    """Return, trial by trial, the probability that the picture is found by its own vector.

    Parameters
    ----------
    targets : pyarrow.Table
        `image_targets`.

    Returns
    -------
    dict or None
        As `concept_answers` does; None where no trial is held out, or the encoder has no image head.
    """
    trials = data.queries.to_pandas()
    seen = encoder.predict_images(data.eeg, trials["subject"].tolist())
    asked = (trials["split"] == main_split(trials["split"])).to_numpy()
    if seen is None or not asked.any():
        return None
    trials = trials[asked]
    stimuli = sorted(set(trials["stimulus_id"]))
    ranking = image_ranking(seen[asked], encoder.gallery(table_to_levels(targets, stimuli)))
    own = np.searchsorted(stimuli, trials["stimulus_id"])
    return _answers(trials, ranking.recall(1)[np.arange(len(own)), own], len(stimuli))


def averaged(data: HeldOutEEG, n_presentations: int) -> HeldOutEEG | None:
    """Average the first presentations of each stimulus to each subject into one trial.

    Parameters
    ----------
    n_presentations : int
        How many; stimuli with fewer are left out.

    Returns
    -------
    HeldOutEEG or None
        None where no stimulus was presented so often.
    """
    frame = data.queries.to_pandas()
    groups = frame.groupby(["subject", "stimulus_id"]).indices
    chosen = sorted(sorted(rows)[:n_presentations] for rows in groups.values())
    chosen = [rows for rows in chosen if len(rows) == n_presentations]
    if not chosen:
        return None
    first = pa.array([rows[0] for rows in chosen])
    queries = data.queries.take(first)
    ids = set(queries["trial_id"].to_pylist())
    held_out, kept = held_out_of(data.trials).to_numpy(), data.trials["trial_id"].to_pylist()
    trials = data.trials.filter(
        pa.array([not out or i in ids for out, i in zip(held_out, kept, strict=True)])
    )
    eeg = data.eeg[np.array(chosen)].mean(axis=1)
    order = np.argsort(queries["trial_id"].to_pylist())
    return replace(data, trials=trials, queries=queries.take(pa.array(order)), eeg=eeg[order])


def oracle_answers(artifacts: Artifacts, trial_ids: list[str]) -> list[bool] | None:
    """Return whether the best possible decoder, or its bound, names the concept of each trial; None where unknown."""
    answers = read_table(artifacts.oracle, ORACLE).to_pandas()
    answers = answers[answers["factor"].isin(["concept", CONCEPT_BOUND])].set_index("trial_id")
    if not set(trial_ids) <= set(answers.index):
        return None
    rows = answers.loc[trial_ids]
    found: list[bool] = (rows["predicted"] == rows["actual"]).tolist()
    return found


def _answers(trials: pd.DataFrame, correct: np.ndarray, n_candidates: int) -> Answers:
    columns: Answers = {n: trials[n].tolist() for n in ("trial_id", "subject", "stimulus_id")}
    columns["chance"] = [1 / n_candidates] * len(trials)
    return columns | {"correct": np.asarray(correct, np.float64).round(6).tolist()}
