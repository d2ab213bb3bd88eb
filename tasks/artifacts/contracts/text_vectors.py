"""One CLIP vector per caption."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

TEXT_VECTORS = contract(
    field("caption_id", pa.string(), "key into `captions`"),
    field("vector", VECTOR, "unit norm"),
    key="caption_id",
)
