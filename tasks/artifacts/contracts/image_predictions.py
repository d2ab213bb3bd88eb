"""One predicted image vector per held-out trial, where the encoder has an image head."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

IMAGE_PREDICTIONS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("vector", pa.list_(pa.float32()), "unit norm, in the space of `image_gallery`"),
    key="trial_id",
)
