"""One row per point of a curve: the mean epoch and the mean spectrum of each channel of each recording."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

ERP, SPECTRUM = "erp", "spectrum"

AVERAGES = contract(
    field("recording_id", pa.string(), "key into `recordings`"),
    field("channel", pa.string(), "name of the electrode"),
    field("curve", pa.string(), f"{ERP}: mean over kept epochs; {SPECTRUM}: their power"),
    field("at", pa.float32(), "s after picture onset, or Hz"),
    field("value", pa.float32(), "in the unit of the epochs, or dB of its square per Hz"),
    key="recording_id,channel,curve,at",
)
