"""One predicted image vector per held-out trial, where the encoder has an image head."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

IMAGE_PREDICTIONS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("vector", VECTOR, "unit norm, in the space of `image_gallery`"),
    key="trial_id",
)
