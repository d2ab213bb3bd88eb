"""The captions that a trial is compared with, by name.

The gallery ``train`` holds captions of training stimuli, so captions of other pictures than the one
that was seen: what is found there is decoded. The gallery ``test`` holds captions of the held-out
stimuli, the seen one's own among them: a search there measures identification. The gallery ``all``
holds the captions of every stimulus, whatever its split: a search there is the hardest identification,
among distractors that were trained on.

Where trials are held out and not pictures (splits ``subject`` and ``time_chunk``), the seen picture may
be a training stimulus too. Then both galleries measure identification among known pictures, and
whatever is scored on them is named so (`known_stimuli`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32

from tasks.artifacts.splits import HELD_OUT, SPLITS, TRAIN
from tasks.clip.search import top_k
from tasks.clip.vectors import Vectors, table_to_vectors
from tasks.runtime.errors import PerceptError

GALLERY_SPLITS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "train": (TRAIN,),
        "test": HELD_OUT,
        "all": SPLITS,
    }
)
"""Gallery to the splits of the stimuli whose captions it holds."""


class GalleryError(PerceptError):
    """A gallery cannot be made of these trials and captions, or is too small."""


@dataclass(frozen=True)
class Gallery:
    """Captions of one kind to search.

    Attributes
    ----------
    name : str
        One of `GALLERY_SPLITS`.
    kind : str
        Caption kind.
    caption_ids : pyarrow.Array
        Ascending.
    vectors : Vectors
        Shape (n_captions, dim), unit norm.
    """

    name: str
    kind: str
    caption_ids: pa.Array
    vectors: Vectors

    def nearest(
        self, queries: Vectors, k: int
    ) -> tuple[pa.Array, Float32[np.ndarray, "n_queries k"]]:
        """Return the nearest captions of each query, nearest first, ties by caption_id.

        Parameters
        ----------
        queries : Vectors
            Shape (n_queries, dim), unit norm. Each is ranked by itself.
        k : int
            Captions per query.

        Returns
        -------
        caption_ids : pyarrow.Array
            Query by query, `k` each.
        cosines : Float32[np.ndarray, "n_queries k"]
            Their similarities.

        Raises
        ------
        GalleryError
            If the gallery holds fewer than `k` captions.
        """
        if len(self.caption_ids) < k:
            raise GalleryError(
                f"The gallery {self.name} must hold at least k = {k} captions of {self.kind}; "
                f"it holds {len(self.caption_ids)}. Lower retrieve.k."
            )
        rows, cosines = top_k(queries, self.vectors, k)
        return self.caption_ids.take(pa.array(rows.ravel())), cosines


def build_galleries(
    trials: pa.Table,
    captions: pa.Table,
    text_vectors: pa.Table,
    kinds: Sequence[str],
    names: Sequence[str] = ("train", "test"),
) -> list[Gallery]:
    """Make the galleries of every kind.

    Parameters
    ----------
    names : Sequence[str]
        Of `GALLERY_SPLITS`.

    Raises
    ------
    GalleryError
        If a caption has no vector.
    """
    captions = captions.sort_by("caption_id")
    vectors = _vectors_of(captions, text_vectors)
    galleries = []
    for name in names:
        shown = _shown_in(captions, trials, GALLERY_SPLITS[name])
        for kind in kinds:
            rows = np.flatnonzero(shown & np.asarray(pc.equal(captions["kind"], kind)))
            caption_ids = captions["caption_id"].take(pa.array(rows)).combine_chunks()
            galleries.append(Gallery(name, kind, caption_ids, vectors[rows]))
    return galleries


def known_stimuli(trials: pa.Table) -> list[str]:
    """Return the held-out stimuli that are training stimuli too, by name; none where pictures are held out."""
    names = {
        gallery: set(
            trials["stimulus_id"]
            .filter(pc.is_in(trials["split"], pa.array(GALLERY_SPLITS[gallery])))
            .to_pylist()
        )
        for gallery in ("train", "test")
    }
    return sorted(names["train"] & names["test"])


def _vectors_of(captions: pa.Table, text_vectors: pa.Table) -> Vectors:
    """Return the vector of each caption, joined on caption_id."""
    rows = pc.index_in(captions["caption_id"], value_set=text_vectors["caption_id"])
    if rows.null_count:
        raise GalleryError(
            f"Every caption must have a vector; {rows.null_count} of {len(captions)} have none. "
            "Run `dvc repro embed`."
        )
    vectors: Vectors = table_to_vectors(text_vectors)[rows.to_numpy()]
    return vectors


def _shown_in(
    captions: pa.Table, trials: pa.Table, splits: Sequence[str]
) -> Bool[np.ndarray, " n_captions"]:
    """Tell which captions are of stimuli of some splits."""
    inside = pc.is_in(trials["split"], pa.array(splits))
    stimuli = pc.unique(trials["stimulus_id"].filter(inside))
    return np.asarray(pc.is_in(captions["stimulus_id"], stimuli))
