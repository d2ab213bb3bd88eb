"""Report, on trials of the study of kind "features", which target and which decoder come before which.

Nothing is asserted: the ranking is a result. Targets of one linear decoder: captions' bag of words, and each layer of
the network that drives the brain (a ceiling: no decoder of real EEG has it). Prints a line of JSON per seed.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.simulation.views import say
from tasks.simulation.vision import LAYERS, principal_components
from tests.simulation.listening import (
    averaged,
    epochs,
    feature_params,
    planned,
    ridge,
    top_1,
    whitened,
)

SEEDS = (3, 4, 5)
N_TRAIN, N_TEST, N_DIMENSIONS = 600, 200, 50


def targets_of(study, cache):
    """Return the vectors of every picture that a decoder may be taught."""
    with np.load(cache / "seen.npz") as seen:
        layers = {f"layer: {n}": principal_components(seen[n], N_DIMENSIONS) for n in LAYERS}
    errors, rng = study.brain_params.caption_errors, study.rng("captions")
    said = [Counter(" ".join(say(s, errors, rng).values()).split()) for s in study.stimuli.values()]
    words = sorted({word for text in said for word in text})
    counts = np.array([[text[word] for word in words] for text in said], float)
    return {"words of captions": principal_components(counts, N_DIMENSIONS)} | layers


def rank(seed, cache):
    params = feature_params(
        seed=seed, n_stimuli=N_TRAIN + N_TEST, n_subjects=1, noise={"n_bad_channels": 0}
    )
    train, test = tuple(range(N_TRAIN)), tuple(range(N_TRAIN, N_TRAIN + N_TEST))
    study = planned(params, [(train, 1)] * 4 + [(test, 4)], cache)
    parts = [epochs(study, 1, session) for session in range(1, 5)]
    eeg, shown = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    asked, seen = epochs(study, 1, 5)
    eeg, asked = whitened(eeg, shown, eeg), whitened(eeg, shown, asked)
    fits = {
        "averages": averaged(eeg, shown, 4)[0].reshape(N_TRAIN, -1).astype(float),
        "single trials": eeg.reshape(len(eeg), -1).astype(float),
    }
    questions = {
        "of 1": (asked.reshape(len(asked), -1), seen - N_TRAIN),
        "of 4": (averaged(asked, seen, 4)[0].reshape(N_TEST, -1), np.arange(N_TEST)),
    }
    found = {}
    for target, vectors in targets_of(study, cache).items():
        for taught, x in fits.items():
            y = vectors[:N_TRAIN] if taught == "averages" else vectors[shown]
            decoder = ridge(x, y)
            for question, (trials, own) in questions.items():
                share = top_1(decoder(trials), own, vectors[N_TRAIN:])
                found[f"{target}, taught {taught}, asked {question}"] = round(share, 4)
    return found


if __name__ == "__main__":
    for seed in SEEDS:
        with TemporaryDirectory() as folder:
            print(json.dumps({"seed": seed, "top_1_of_200": rank(seed, Path(folder))}), flush=True)
