"""What predicted image vectors are compared with: the picture's vector as the encoder's image head mixes it."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

IMAGE_GALLERY = contract(
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("vector", VECTOR, "unit norm"),
    key="stimulus_id",
)
