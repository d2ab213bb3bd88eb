"""One predicted CLIP vector per held-out trial and projection head."""

import pyarrow as pa

from tasks.artifacts.contracts._field import VECTOR, contract, field

PREDICTIONS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("kind", pa.string(), "caption kind whose head predicted it"),
    field("vector", VECTOR, "unit norm"),
    key="trial_id,kind",
)
