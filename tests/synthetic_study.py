"""A study in tables, small and of known truth, with predictions as good as a test wants."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.oracle import ORACLE
from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.contracts.retrievals import RETRIEVALS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.contracts.trials import TRIALS
from tasks.language.prompts import TIER_OF

KINDS = ("ObjectSnap", "SpatialLink", "ThemeTag")
CONCEPTS = ("apple", "bed", "bell", "book", "camera", "car", "carrot", "cat", "chair", "clock")
N_ZERO_SHOT = 2
COLOURS = ("red", "green", "blue")
THEMES = ("night", "ocean", "desert")
DIM = 48


@dataclass
class SyntheticStudy:
    """Tables as the stages before `evaluate` write them."""

    trials: pa.Table
    captions: pa.Table
    text_vectors: pa.Table
    predictions: pa.Table
    retrievals: pa.Table
    oracle: pa.Table

    @property
    def tables(self):
        return (self.trials, self.captions, self.text_vectors, self.predictions)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_study(noise=0.0, n_per_split=3, n_subjects=2, n_repetitions=2, seed=0, shuffled=False):
    """Make a study whose predicted vectors are the true text vectors plus noise, or those of others."""
    rng = np.random.default_rng(seed)
    stimuli = _stimuli(n_per_split)
    captions = _captions(stimuli)
    word = dict(_word_vectors(captions, rng))
    vectors = np.stack([word[text] for text in captions["text"]])
    trials = _trials(stimuli, n_subjects, n_repetitions)
    held_out = trials[trials["split"].isin(["test", "zero_shot"])]
    by_key = {
        key: i for i, key in enumerate(zip(captions["stimulus_id"], captions["kind"], strict=True))
    }
    source = held_out["stimulus_id"].to_numpy()
    if shuffled:
        moved = dict(zip(sorted(set(source)), rng.permutation(sorted(set(source))), strict=True))
        source = [moved[stimulus] for stimulus in source]
    predictions, retrievals = [], []
    train = captions["split"] == "train"
    for trial_id, stimulus_id in zip(held_out["trial_id"], source, strict=True):
        for kind in KINDS:
            truth = vectors[by_key[stimulus_id, kind]]
            vector = unit(truth + noise * rng.standard_normal(DIM)).astype(np.float32)
            predictions.append((trial_id, kind, vector))
            rows = np.flatnonzero(train & (captions["kind"] == kind))
            cosines = vectors[rows] @ vector
            for place, j in enumerate(np.argsort(-cosines, kind="stable")[:2], 1):
                caption_id = captions["caption_id"].iloc[rows[j]]
                retrievals.append((trial_id, "train", kind, place, caption_id, cosines[j]))
    return SyntheticStudy(
        _table(trials, TRIALS),
        _table(captions, CAPTIONS),
        _table({"caption_id": captions["caption_id"], "vector": list(vectors)}, TEXT_VECTORS),
        _table(pd.DataFrame(predictions, columns=PREDICTIONS.names), PREDICTIONS),
        _table(pd.DataFrame(retrievals, columns=RETRIEVALS.names), RETRIEVALS),
        _table(_oracle(trials, rng), ORACLE),
    )


def _stimuli(n_per_split):
    rows = []
    for c, concept in enumerate(CONCEPTS):
        splits = ("zero_shot",) if c >= len(CONCEPTS) - N_ZERO_SHOT else ("train", "test")
        for split in splits:
            for i in range(n_per_split):
                number = len(rows)
                colour, theme = COLOURS[(i + c) % 3], THEMES[(i + number) % 3]
                rows.append((f"stimulus-{number:03d}", concept, split, colour, theme))
    return pd.DataFrame(rows, columns=["stimulus_id", "concept", "split", "colour", "theme"])


def _captions(stimuli):
    rows = []
    for s in stimuli.itertuples():
        texts = (
            f"a {s.colour} {s.concept}",
            f"a {s.concept} in the {s.theme}",
            f"a {s.theme} scene",
        )
        for kind, text in zip(KINDS, texts, strict=True):
            caption_id = f"{s.stimulus_id}_{kind}"
            rows.append((caption_id, s.stimulus_id, str(TIER_OF[kind]), kind, text, s.split))
    captions = pd.DataFrame(
        rows, columns=["caption_id", "stimulus_id", "tier", "kind", "text", "split"]
    )
    return captions.assign(source="scene", model="scene", prompt_sha256="0" * 64, status="ok")


def _word_vectors(captions, rng):
    words = sorted({word for text in captions["text"] for word in text.split()})
    vector = {word: rng.standard_normal(DIM) for word in words}
    for text in sorted(set(captions["text"])):
        total = np.sum([vector[word] for word in text.split() if word not in {"a", "the", "in"}], 0)
        yield text, unit(total).astype(np.float32)


def _trials(stimuli, n_subjects, n_repetitions):
    rows = []
    for subject in range(1, n_subjects + 1):
        recording_id = f"sub-{subject:02d}_ses-01"
        order = 0
        for repetition in range(n_repetitions):
            for s in stimuli.itertuples():
                rows.append(
                    {
                        "trial_id": f"{recording_id}_trial-{order:04d}",
                        "recording_id": recording_id,
                        "subject": f"sub-{subject:02d}",
                        "session": "ses-01",
                        "block": 0,
                        "presentation_order": order,
                        "onset_s": float(order),
                        "stimulus_id": s.stimulus_id,
                        "concept": s.concept,
                        "repetition": repetition,
                        "split": s.split,
                        "kept": True,
                        "reject_reason": "",
                    }
                )
                order += 1
    return pd.DataFrame(rows)


def _oracle(trials, rng):
    right = rng.random(len(trials)) < 0.8
    return pd.DataFrame(
        {
            "trial_id": trials["trial_id"],
            "factor": "concept",
            "predicted": np.where(right, trials["concept"], "nothing"),
            "actual": trials["concept"],
        }
    )


def _table(frame, schema):
    columns = {name: list(frame[name]) for name in schema.names}
    return pa.table(
        {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    )
