"""What an independent classifier sees in each rendered picture."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

JUDGEMENTS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("condition", pa.string(), "as in `renders`"),
    field("sample", pa.int32(), "as in `renders`"),
    field("factor", pa.string(), "concept, colour, relation, size or theme"),
    field("judged", pa.string(), "what the judge sees"),
    field("actual", pa.string(), "what the stimulus showed"),
    field("probability", pa.float32(), "the judge's probability of what it sees"),
    key="trial_id,condition,sample,factor",
)
