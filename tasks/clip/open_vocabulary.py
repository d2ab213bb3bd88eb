"""What was decoded, in the words of an external gallery: every head's nearest captions, and all heads'."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.artifacts.contracts.predictions import PREDICTIONS
from tasks.artifacts.tables import read_table
from tasks.clip.corpora import Corpus
from tasks.clip.embedding import Embedder
from tasks.clip.faiss_index import faiss_top_k
from tasks.clip.model import load_clip
from tasks.clip.search import top_k
from tasks.clip.vectors import Vectors, table_to_vectors
from tasks.runtime.map import Map

logger = logging.getLogger(__name__)

FUSED = "fused"
"""All heads: a caption's mean cosine over them, which is its cosine with their mean but for a factor."""


def search_corpus(
    corpus: Corpus,
    predictions: Path,
    embedder: Embedder,
    k: int,
    map: Map,
    faiss_from: int | None = None,
) -> pa.Table:
    """Return the nearest captions of a gallery for each trial, by head and fused.

    Every caption is a candidate for every head: the gallery knows no kinds, and nobody wrote its captions
    about the pictures that were shown.

    Parameters
    ----------
    corpus : Corpus
        The gallery; its captions are embedded if they were not.
    embedder : Embedder
        The CLIP in whose space they were predicted.
    k : int
        Captions per trial and head.
    map : Map
        Runs the shards of the embedding.
    faiss_from : int or None
        Captions from which on faiss searches, with the same answers; None: it never does.

    Returns
    -------
    pyarrow.Table
        Columns trial_id, gallery, kind, rank, caption_id, cosine, text.

    Raises
    ------
    SearchError
        If the gallery holds fewer than `k` captions, or predictions are of another space.
    """
    captions = corpus.read()
    vectors = _vectors(corpus, captions, embedder, map)
    rows = read_table(predictions, PREDICTIONS)
    found = []
    for kind in [*dict.fromkeys(rows["kind"].to_pylist()), FUSED]:
        trial_ids, queries = _queries(rows, kind)
        if faiss_from is not None and len(captions) >= faiss_from:
            indices, cosines = faiss_top_k(queries, vectors, k)
        else:
            device = load_clip(embedder.source).device
            indices, cosines = top_k(queries, vectors, k, device=device)
        found.append(_answers(corpus, captions, kind, trial_ids, indices, cosines))
    return pa.concat_tables(found)


def _vectors(corpus: Corpus, captions: pa.Table, embedder: Embedder, map: Map) -> Vectors:
    """Map the vectors of a gallery from disk; make them first where there are none."""
    fingerprint = load_clip(embedder.source, embedder.precision).fingerprint
    path = corpus.vectors_path(fingerprint)
    if not path.exists():
        logger.info("Embedding the %d captions of %s.", len(captions), corpus.folder.name)
        corpus.keep_vectors(embedder.texts(captions["text"].to_pylist(), map), fingerprint)
    vectors: Vectors = np.load(path, mmap_mode="r")
    return vectors


def _queries(rows: pa.Table, kind: str) -> tuple[list[str], Vectors]:
    """Return the trials and a unit vector of each: that of a head, or of all heads together."""
    if kind != FUSED:
        chosen = rows.filter(pc.equal(rows["kind"], kind))
        return chosen["trial_id"].to_pylist(), table_to_vectors(chosen)
    trial_ids, trial = np.unique(np.asarray(rows["trial_id"].to_pylist()), return_inverse=True)
    vectors = table_to_vectors(rows)
    total = np.zeros((len(trial_ids), vectors.shape[1]), np.float32)
    np.add.at(total, trial, vectors)
    return trial_ids.tolist(), total / np.linalg.norm(total, axis=1, keepdims=True)


def _answers(
    corpus: Corpus,
    captions: pa.Table,
    kind: str,
    trial_ids: list[str],
    indices: np.ndarray,
    cosines: np.ndarray,
) -> pa.Table:
    n_trials, k = indices.shape
    chosen = captions.take(pa.array(indices.ravel()))
    return pa.table(
        {
            "trial_id": pa.array(trial_ids).take(pa.array(np.repeat(np.arange(n_trials), k))),
            "gallery": pa.repeat(corpus.folder.name, n_trials * k),
            "kind": pa.repeat(kind, n_trials * k),
            "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n_trials),
            "caption_id": chosen["caption_id"].combine_chunks(),
            "cosine": cosines.ravel(),
            "text": chosen["text"].combine_chunks(),
        }
    )
