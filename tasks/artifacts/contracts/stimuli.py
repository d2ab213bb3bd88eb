"""One row per picture that was shown."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

STIMULI = contract(
    field("stimulus_id", pa.string(), "identifies the picture across subjects and sessions"),
    field("concept", pa.string(), "object category"),
    field("image_path", pa.string(), "relative to the repository"),
    field("width_px", pa.int32(), "width", unit="px"),
    field("height_px", pa.int32(), "height", unit="px"),
    field("sha256", pa.string(), "of the image file's bytes"),
    field("official_split", pa.string(), "split by the publisher; empty where there is none"),
    key="stimulus_id",
)
