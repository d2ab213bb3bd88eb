"""One row per presentation of a stimulus, in the order of presentation."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

EVENTS = contract(
    field("recording_id", pa.string(), "key into `recordings`"),
    field("presentation_order", pa.int32(), "0 is the first of the recording"),
    field("onset_s", pa.float64(), "from the start of the raw file", unit="s"),
    field("duration_s", pa.float64(), "how long the picture was shown", unit="s"),
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("block", pa.int32(), "block of the design; 0 where there are none"),
    field("repetition", pa.int32(), "how often this subject had seen the stimulus before"),
    key="recording_id,presentation_order",
)
