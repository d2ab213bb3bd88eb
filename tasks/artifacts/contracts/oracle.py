"""What the Bayes-optimal decoder answers on each simulated trial; no rows where the truth is unknown."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

CONCEPT_BOUND = "concept_bound"
"""The factor of answers that bound the naming of concepts from above, where no exact decoder is known."""

ORACLE = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("factor", pa.string(), "concept, colour, relation, size or theme"),
    field("predicted", pa.string(), "the oracle's answer"),
    field("actual", pa.string(), "what was shown"),
    key="trial_id,factor",
)
