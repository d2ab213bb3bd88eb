"""Planted scalp strength of each semantic factor; no rows where the truth is unknown."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

TOPOGRAPHIES = contract(
    field("factor", pa.string(), "concept, colour, relation, size or theme"),
    field("channel", pa.string(), "electrode"),
    field("tier", pa.string(), "tier of the captions that speak of the factor"),
    field(
        "weight",
        pa.float64(),
        "root mean square of the evoked response; 1 at the strongest channel",
    ),
    key="factor,channel",
)
