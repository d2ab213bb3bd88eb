"""One CLIP vector per stimulus."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

IMAGE_VECTORS = contract(
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("vector", VECTOR, "unit norm, in the space of `text_vectors`"),
    key="stimulus_id",
)
