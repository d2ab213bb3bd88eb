"""What image heads learn: the vectors of each stimulus at one or more levels."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

IMAGE_TARGETS = contract(
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("level", pa.string(), "layer and degree of blur, in the order of the params"),
    field("vector", VECTOR, "unit norm; all levels are of one length"),
    key="stimulus_id,level",
)
