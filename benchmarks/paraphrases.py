"""Whether an encoder minds how captions are worded: the same pictures and EEG, described in one wording and in five.

``python benchmarks/paraphrases.py`` simulates a study of 320 pictures, writes its captions as they are and then each in
one of five wordings at random, and trains on both: shares of held-out trials of which the concept is named (40
concepts) and the picture found, closed form alone and trained, for three seeds of the training and the draw of
wordings. ``--architecture NAME`` takes another encoder with params of its own as JSON: ``--architecture
'{"name": "linear", "n_components": 20, "bin_samples": 4, "n_scores": 100, "prior_trials": 5.0}'``.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from tasks.artifacts.catalogue import Artifacts
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import read_table, write_table
from tasks.clip.model import ClipModel
from tasks.clip.vectors import vectors_to_table
from tasks.runtime.map import serial_map
from tasks.sweeps.cells import read_result, run_cell
from tasks.sweeps.plan import Cell, changed
from tasks.wiring.contract import call, load_stage
from tasks.wiring.presets import merged

ROOT = Path(__file__).resolve().parents[1]
WORDINGS = (
    "{}",
    "here is {}",
    "{}, seen in a photograph",
    "{} can be seen",
    "look, {}",
)
SEEDS = (0, 1, 2)
STUDY = {
    "simulate": {"seed": 11, "n_stimuli": 320, "n_presentations": 3, "n_sessions": 3},
    "train": {
        "batch_size": 64,
        "schedule": {"max_epochs": 8},
        "selection": {"by": "recall_at_1"},
    },
}
SIZES = {"start": {"n_scores": 100, "n_virtual": 16, "n_latents": 24, "n_starts": 2}}
CLOSED_FORM = {
    "optimiser": {"learning_rate": 1e-12},
    "schedule": {"max_epochs": 1, "warmup_epochs": 0},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", type=json.loads, default=SIZES)
    options = parser.parse_args()
    os.chdir(ROOT)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        train = simulate(study)
        train = changed(train, {"architecture": options.architecture})
        scores = {
            name: {
                f"{n} wordings": [measure(study, n, seed, changed(train, arm)) for seed in SEEDS]
                for n in (1, len(WORDINGS))
            }
            for name, arm in (("closed form", CLOSED_FORM), ("trained", {}))
        }
    print(json.dumps(summary(scores) | {"seconds": round(time.monotonic() - began)}))


def simulate(root: Path) -> dict[str, object]:
    """Make the study without captions' vectors, and return its section `train`."""
    params = changed(yaml.safe_load(merged("tiny")), STUDY)
    file = root / "params.yaml"
    root.mkdir()
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    artifacts = Artifacts(root)
    artifacts.clip_model.parent.mkdir(parents=True)
    artifacts.clip_model.symlink_to(Artifacts(ROOT).clip_model)
    for stage in ("simulate", "ingest", "preprocess", "caption"):
        call(load_stage(stage), artifacts, file, serial_map)
    return params["train"]


def reworded(study: Path, n_wordings: int, seed: int) -> Path:
    """Return a copy of the study with captions in so many wordings, and their vectors."""
    root = study.with_name(f"{n_wordings}-{seed}")
    before, after = Artifacts(study), Artifacts(root)
    if not root.exists():
        after.captions.parent.mkdir(parents=True)
        after.trials.parent.symlink_to(before.trials.parent)
        table = read_table(before.captions, CAPTIONS)
        drawn = np.random.default_rng(seed).integers(n_wordings, size=len(table))
        texts = [
            WORDINGS[i].format(text)
            for i, text in zip(drawn, table["text"].to_pylist(), strict=True)
        ]
        place = table.schema.get_field_index("text")
        write_table(table.set_column(place, "text", pa.array(texts)), after.captions, CAPTIONS)
        vectors = ClipModel(f"local-dir:{before.clip_model}").encode_texts(texts)
        keys = {"caption_id": table["caption_id"].to_pylist()}
        write_table(vectors_to_table(keys, vectors), after.text_vectors, TEXT_VECTORS)
    return root


def measure(study: Path, n_wordings: int, seed: int, train: dict[str, object]) -> dict[str, float]:
    """Train once and return the shares of right answers."""
    root = reworded(study, n_wordings, seed)
    cell = Cell(
        *(str(root), "paraphrases", "pooled", "all", "one", train | {"seed": seed}),
        *(1.0, None, False, str(study.parent / "cells")),
    )
    run_cell(cell)
    answers = read_result(cell)["answers"]
    return {name: float(np.mean(answers[name]["correct"])) for name in ("concept", "stimulus")}


def summary(scores: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, object]:
    """Return mean and standard deviation over seeds, and the difference that wordings make."""
    found: dict[str, object] = {}
    for name, by_wording in scores.items():
        for score in ("concept", "stimulus"):
            values = {w: [seed[score] for seed in seeds] for w, seeds in by_wording.items()}
            one, five = values.values()
            found[f"{name}, {score}"] = {
                **{w: [round(v, 3) for v in own] for w, own in values.items()},
                "five less one": round(statistics.mean(five) - statistics.mean(one), 3),
                "sd over seeds": round(max(map(statistics.stdev, values.values())), 3),
            }
    return found


if __name__ == "__main__":
    main()
