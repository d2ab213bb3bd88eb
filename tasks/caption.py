"""Describe every stimulus in ten caption kinds of three semantic tiers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.artifacts.contracts.captions import CAPTIONS
from tasks.artifacts.contracts.stimuli import STIMULI
from tasks.artifacts.metrics import COUNTED, Score, write_scores
from tasks.artifacts.tables import read_table, write_table
from tasks.language.cache import CAPTION_CACHE, CaptionCache
from tasks.language.captioners.base import Caption, Captioner, Stimulus
from tasks.language.captioners.batch import OpenAIBatchCaptioner
from tasks.language.captioners.concept import ConceptCaptioner
from tasks.language.captioners.file import FileCaptioner
from tasks.language.captioners.human import HumanCaptioner
from tasks.language.captioners.ledger import Ledger, distinct
from tasks.language.captioners.openai import OpenAICaptioner
from tasks.language.captioners.params import OpenAIParams
from tasks.language.captioners.scene_reader import SidecarCaptioner
from tasks.language.checks import N_MARKS
from tasks.language.quality import OnFailure, Status, usable
from tasks.language.rows import captions_to_table
from tasks.runtime.map import Map
from tasks.runtime.params import Params

logger = logging.getLogger(__name__)


class CaptionParams(Params):
    """Who describes the stimuli, and what to do about captions that cannot be used."""

    backend: Literal["scene", "openai", "openai_batch", "file", "human", "concept"]
    on_failure: OnFailure
    max_tokens: Annotated[int, Field(gt=N_MARKS)]
    human_file: str
    openai: OpenAIParams


def caption(
    stimuli: Path,
    raw: Path,
    *,
    captions: Path,
    caption_metrics: Path,
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
    caption_metrics : Path
        Scores to write: the share of captions with each status, and what the answers cost.
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
    captioner = make_captioner(params, raw)
    shards = map(captioner.describe, captioner.shards(pictures))
    described = [caption for shard in shards for caption in shard]
    written = usable(described, params.on_failure)
    logger.info("%d captions of %d stimuli.", len(written), len(pictures))
    write_table(captions_to_table(written), captions, CAPTIONS)
    write_scores(caption_metrics, status_scores(described) | cost_scores(captioner, pictures))


def read_stimuli(stimuli: Path) -> list[Stimulus]:
    """Return the pictures that were shown, in the order of the table."""
    columns = ["stimulus_id", "image_path", "sha256", "concept"]
    return [
        Stimulus(row["stimulus_id"], Path(row["image_path"]), row["sha256"], row["concept"])
        for row in read_table(stimuli, STIMULI, columns).to_pylist()
    ]


def make_captioner(params: CaptionParams, raw: Path) -> Captioner:
    """Return the captioner that the params name.

    Parameters
    ----------
    params : CaptionParams
        Captioner and its limits.
    raw : Path
        Folder of all studies.
    """
    if params.backend == "scene":
        return SidecarCaptioner()
    if params.backend == "file":
        return FileCaptioner(raw, params.max_tokens)
    if params.backend == "concept":
        return ConceptCaptioner(params.max_tokens)
    if params.backend == "human":
        return HumanCaptioner(raw, params.human_file, params.max_tokens)
    asking = OpenAICaptioner if params.backend == "openai" else OpenAIBatchCaptioner
    return asking(Ledger(params.openai, params.max_tokens, CaptionCache(CAPTION_CACHE)))


def status_scores(captions: Sequence[Caption]) -> dict[str, Score]:
    """Return the share of captions with each status, before any is dropped."""
    found = Counter(str(caption.status) for caption in captions)
    n = len(captions)
    return {
        f"captions_{status}": Score(
            value=found[status] / n if n else 0.0,
            n=n,
            resampled=COUNTED,
            lower_is_better=status != Status.OK,
        )
        for status in Status
    }


def cost_scores(captioner: Captioner, stimuli: Sequence[Stimulus]) -> dict[str, Score]:
    """Return what the answers of a language model took; nothing where none was asked."""
    if not isinstance(captioner, OpenAICaptioner | OpenAIBatchCaptioner):
        return {}
    ledger = captioner.ledger
    usages = [
        answer.usage
        for stimulus in distinct(stimuli)
        for answer in ledger.account(stimulus).answers
    ]
    n_tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in usages)
    cost_usd = sum(ledger.cost_usd(usage) for usage in usages)
    lower: dict[str, Any] = {"n": len(usages), "resampled": COUNTED, "lower_is_better": True}
    return {
        "caption_tokens": Score(value=n_tokens, unit="tokens", **lower),
        "caption_cost_usd": Score(value=cost_usd, unit="USD", **lower),
    }
