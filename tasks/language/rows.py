"""Captions as rows of the table that the later stages read."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tasks.language.captioners.base import Caption
from tasks.language.prompts import TIER_OF


def captions_to_table(captions: Sequence[Caption]) -> pa.Table:
    """Return captions as a table sorted by caption_id."""
    columns = {
        "caption_id": [f"{caption.stimulus_id}_{caption.kind}" for caption in captions],
        "stimulus_id": [caption.stimulus_id for caption in captions],
        "tier": [str(TIER_OF[caption.kind]) for caption in captions],
        "kind": [caption.kind for caption in captions],
        "text": [caption.text for caption in captions],
        "source": [caption.source for caption in captions],
        "model": [caption.model for caption in captions],
        "prompt_sha256": [caption.prompt_sha256 for caption in captions],
        "status": [str(caption.status) for caption in captions],
    }
    return pa.table(columns).sort_by("caption_id")
