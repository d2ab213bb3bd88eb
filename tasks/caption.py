"""Describe every stimulus in ten caption kinds of three semantic tiers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import PositiveInt

from tasks._map import Map
from tasks._params import Params
from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.tables import read_table, write_table
from tasks.language.cache import CAPTION_CACHE, CaptionCache
from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.captioners.file import FileCaptioner
from tasks.language.captioners.openai import OpenAICaptioner, OpenAIParams
from tasks.language.captioners.sidecar import SidecarCaptioner
from tasks.language.prompts import TIER_OF
from tasks.language.quality import OnFailure, usable

logger = logging.getLogger(__name__)


class CaptionParams(Params):
    """Who describes the stimuli, and what to do about captions that cannot be used."""

    backend: Literal["scene", "openai", "file"]
    on_failure: OnFailure
    max_words: PositiveInt
    openai: OpenAIParams


def caption(
    stimuli: Path,
    raw: Path,
    *,
    captions: Path,
    params: CaptionParams,
    map: Map,
) -> None:
    """Describe every stimulus in every caption kind.

    Parameters
    ----------
    stimuli : Path
        Table of the pictures.
    raw : Path
        Folder that the pictures, and the scenes or captions beside them, lie in.
    captions : Path
        Table to write, sorted by caption_id.
    params : CaptionParams
        Captioner and its limits.
    map : Map
        Runs the shards.

    Raises
    ------
    CaptionError
        If captions cannot be used and ``on_failure`` is ``raise``; what was paid for is kept.
    """
    pictures = read_stimuli(stimuli)
    captioner = _captioner(params, raw)
    shards = map(captioner.describe, captioner.shards(pictures))
    written = usable([caption for shard in shards for caption in shard], params.on_failure)
    logger.info("%d captions of %d stimuli.", len(written), len(pictures))
    write_table(captions_to_table(written), captions, CAPTIONS)


def read_stimuli(stimuli: Path) -> list[Stimulus]:
    """Return the pictures that were shown, in the order of the table."""
    columns = ["stimulus_id", "image_path", "sha256"]
    return [
        Stimulus(row["stimulus_id"], Path(row["image_path"]), row["sha256"])
        for row in read_table(stimuli, STIMULI, columns).to_pylist()
    ]


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


def _captioner(params: CaptionParams, raw: Path) -> Captioner:
    if params.backend == "scene":
        return SidecarCaptioner()
    if params.backend == "file":
        return FileCaptioner(raw, params.max_words)
    return OpenAICaptioner(params.openai, params.max_words, CaptionCache(CAPTION_CACHE))
