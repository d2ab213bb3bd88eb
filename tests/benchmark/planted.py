"""A finished run in its folder, with predictions whose scores can be told by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from PIL import Image

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.image_gallery import IMAGE_GALLERY
from tasks.artifacts.contracts.image_predictions import IMAGE_PREDICTIONS
from tasks.artifacts.contracts.image_targets import IMAGE_TARGETS
from tasks.artifacts.contracts.renders import RENDERS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.contracts.trials import TRIALS
from tasks.artifacts.tables import write_table
from tasks.clip.vectors import levels_to_table, vectors_to_table
from tasks.scores.feature_spaces import FeatureWeights


def picture(index):
    return f"p{index:03d}"


class Planted:
    """A run of n test pictures, each of a concept of its own, with one other picture per concept.

    The vector of test picture i is the i-th axis, that of the other picture of its concept the same plus a
    little of the last axis.
    """

    def __init__(
        self, root: Path, n=10, subjects=("sub-01", "sub-02"), trained=None, repetitions=1
    ):
        self.root, self.n, self.subjects = root, n, subjects
        self.trained = subjects if trained is None else trained
        self.repetitions = repetitions
        self.artifacts = Artifacts(root)
        self.axes = np.eye(n + 1, dtype=np.float32)[:n]
        root.mkdir(parents=True, exist_ok=True)
        params = {
            "train": {"seed": 0},
            "retrieve": {},
            "evaluate": {"feature_weights": dict.fromkeys(FeatureWeights.model_fields)},
        }
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        self._write_stimuli()
        self._write_trials()

    def _write_stimuli(self):
        rows, rng = [], np.random.default_rng(0)
        for index in range(self.n):
            for name in (picture(index), f"other{index:03d}"):
                path = Path("data/raw/pictures") / f"{name}.png"
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
                Image.fromarray(pixels).resize((40, 40)).save(self.root / path)
                rows.append((name, f"c{index:03d}", str(path), 40, 40, "", ""))
        table = pd.DataFrame(rows, columns=STIMULI.names)
        write_table(
            pa.Table.from_pandas(table, preserve_index=False), self.artifacts.stimuli, STIMULI
        )
        others = 0.9 * self.axes + 0.1 * np.eye(self.n + 1, dtype=np.float32)[self.n]
        vectors = np.concatenate([self.axes, others])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        names = [picture(i) for i in range(self.n)] + [f"other{i:03d}" for i in range(self.n)]
        table = vectors_to_table({"stimulus_id": names}, vectors)
        write_table(table, self.artifacts.image_gallery, IMAGE_GALLERY)
        targets = levels_to_table(names, {"final": vectors})
        write_table(targets, self.artifacts.image_targets, IMAGE_TARGETS)

    def _write_trials(self):
        rows = []
        for subject in sorted({*self.subjects, *self.trained}):
            shown = [("other000", "c000", "train")] if subject in self.trained else []
            if subject in self.subjects:
                test = [(picture(i), f"c{i:03d}", "zero_shot") for i in range(self.n)]
                shown += test * self.repetitions
            for order, (stimulus, concept, split) in enumerate(shown):
                trial_id = f"{subject}_ses-01_trial-{order:04d}"
                where = (trial_id, f"{subject}_ses-01", subject, "ses-01", 0, order, float(order))
                rows.append((*where, stimulus, concept, 0, split, True, ""))
        self.trials = pd.DataFrame(rows, columns=TRIALS.names)
        table = pa.Table.from_pandas(self.trials, schema=TRIALS, preserve_index=False)
        write_table(table, self.artifacts.trials, TRIALS)

    @property
    def test_trials(self):
        return self.trials[self.trials["split"] == "zero_shot"].reset_index(drop=True)

    def predict(self, vectors):
        """Write predictions of the test trials, in their order."""
        vectors = np.asarray(vectors, np.float32)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        trials = self.test_trials["trial_id"].tolist()[: len(vectors)]
        table = vectors_to_table({"trial_id": trials}, vectors)
        write_table(table, self.artifacts.image_predictions, IMAGE_PREDICTIONS)
        return self

    def plant(self, right):
        """Predict the shown picture in so many trials of each subject, and another one in the others.

        Of the others, the shown picture stands in the third place.
        """
        rows = []
        for place, index in enumerate(self.test_trials["stimulus_id"].str[1:].astype(int)):
            order = place % (self.n * self.repetitions)
            own = self.axes[index]
            if order >= right:
                other = self.axes[(index + 1) % self.n] + 0.8 * self.axes[(index + 2) % self.n]
                own = other + 0.5 * own
            rows.append(own)
        return self.predict(rows)

    def render(self, source, flagged=False):
        """Write renders: for each test trial, a copy of the picture that `source` names for it."""
        rows = []
        for trial in self.test_trials.itertuples():
            name = source(int(trial.stimulus_id[1:]))
            path = f"data/raw/pictures/{name}.png"
            rows.append((trial.trial_id, "decoded", 0, "", 1.0, 0, path, flagged))
        table = pa.Table.from_pandas(
            pd.DataFrame(rows, columns=RENDERS.names), schema=RENDERS, preserve_index=False
        )
        write_table(table, self.artifacts.renders, RENDERS)
        return self
