"""How much each channel contributes to each head, per subject."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

SALIENCY = contract(
    field("subject", pa.string(), "sub-XX"),
    field("kind", pa.string(), "caption kind of the head"),
    field("channel", pa.string(), "electrode"),
    field("tier", pa.string(), "object, spatial or thematic"),
    field(
        "weight",
        pa.float64(),
        "strength of the attribution; 1 at the strongest channel of the head",
    ),
    key="subject,kind,channel",
)
