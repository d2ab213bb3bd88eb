"""The nearest captions of each held-out trial, per head and gallery."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

RETRIEVALS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field(
        "gallery",
        pa.string(),
        "train: captions of training pictures; test: captions of held-out pictures",
    ),
    field("kind", pa.string(), "projection head, and kind of the captions searched"),
    field("rank", pa.int32(), "1 is the nearest"),
    field("caption_id", pa.string(), "key into `captions`"),
    field("cosine", pa.float32(), "similarity, in [-1, 1]"),
    key="trial_id,gallery,kind,rank",
)
