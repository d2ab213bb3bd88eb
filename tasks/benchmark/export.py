"""Predictions as NeuralBench keeps those of its own runs; docs/neuralbench.md says what is known of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.benchmark.runs import Run
from tasks.runtime.errors import PerceptError
from tasks.runtime.files import atomic_path, write_text


def export(run: Run, folder: Path) -> Path:
    """Write ``metadata.csv``, ``y_pred.npy`` and ``y_true.npy``, one row per held-out trial.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PerceptError
        If the run has no image head.
    """
    predicted = run.predicted()
    if predicted is None:
        raise PerceptError(
            f"There must be predictions of an image head to export; {run.artifacts.image_predictions} is "
            "empty. Set train.target.image above 0, then run `dvc repro`."
        )
    trials = run.trials
    subjects = sorted(set(trials["subject"]))
    metadata = trials.assign(
        timeline=trials["recording_id"],
        batch_idx=range(len(trials)),
        dataloader_idx=0,
        subject_id=[subjects.index(subject) for subject in trials["subject"]],
        group=trials["stimulus_id"],
    )
    columns = [
        "timeline",
        "batch_idx",
        "dataloader_idx",
        "subject_id",
        "group",
        "subject",
        "trial_id",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "metadata.csv", metadata[columns].to_csv(index=False))
    true = run.image_vectors(trials["stimulus_id"].tolist())
    for name, vectors in (("y_pred", predicted), ("y_true", true)):
        with atomic_path(folder / f"{name}.npy") as partial, partial.open("wb") as file:
            np.save(file, vectors.astype(np.float32), allow_pickle=False)
    return folder
