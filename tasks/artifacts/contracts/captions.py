"""One row per stimulus and caption kind."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

CAPTIONS = contract(
    field("caption_id", pa.string(), "stimulus_id and kind, joined by an underscore"),
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("tier", pa.string(), "object, spatial or thematic"),
    field("kind", pa.string(), "one of the ten caption kinds"),
    field("text", pa.string(), "the caption"),
    field("source", pa.string(), "backend that wrote it"),
    field("model", pa.string(), "model of that backend"),
    field("prompt_sha256", pa.string(), "of the instruction that asked for it"),
    field(
        "status", pa.string(), "ok; shortened: cut at a word; else why a placeholder stands for it"
    ),
    key="caption_id",
)
