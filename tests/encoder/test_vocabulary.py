"""Training must not grow with what captions are written in."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.text_vectors import TEXT_VECTORS
from tasks.artifacts.tables import write_table
from tasks.clip.vectors import vectors_to_table
from tasks.encoder.caption_memory import fit_memory
from tasks.encoder.caption_scores import caption_scores
from tasks.encoder.dataset import read_text_targets

N_PICTURES, N_KINDS, N_CONCEPTS, DIM = 16_540, 10, 1_654, 32


@pytest.mark.slow
def test_memory_does_not_grow_with_the_vocabulary(tmp_path):
    """As many captions as THINGS-EEG2 has, of 20 words and of 190,000."""
    rng = np.random.default_rng(0)
    stimuli = [f"stim-{i:05d}" for i in range(N_PICTURES)]
    names = [f"kind{k}" for k in range(N_KINDS)]
    shown = np.repeat(stimuli, N_KINDS)
    ids = [f"{s}_{k}" for s in stimuli for k in names]
    vectors = rng.normal(size=(len(ids), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_table(vectors_to_table({"caption_id": ids}, vectors), tmp_path / "vectors", TEXT_VECTORS)
    concepts = np.arange(N_PICTURES) % N_CONCEPTS
    peaks = []
    for n_words in (20, 190_000):
        words = rng.permutation(np.arange(len(ids) * 2) % n_words).reshape(-1, 2)
        table = pd.DataFrame(dict.fromkeys(CAPTIONS.names, ""), index=range(len(ids)))
        table = table.assign(caption_id=ids, stimulus_id=shown, kind=names * N_PICTURES)
        table["text"] = [f"w{a} w{b}" for a, b in words]
        captions = tmp_path / f"captions-{n_words}"
        write_table(pa.Table.from_pandas(table, preserve_index=False), captions, CAPTIONS)
        del table, words
        tracemalloc.start()
        _, targets = read_text_targets(captions, tmp_path / "vectors", stimuli, None)
        scores, _ = caption_scores(targets[:, :2], concepts, 100)
        fit_memory(scores, np.eye(scores.shape[1], 8), targets[:, 0], concepts, 1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 1e9
