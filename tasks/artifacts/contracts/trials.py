"""One row per presentation, kept or not; the split is decided here, once."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

TRIALS = contract(
    field("trial_id", pa.string(), "sub-XX_ses-XX_trial-XXXX"),
    field("recording_id", pa.string(), "key into `recordings`"),
    field("subject", pa.string(), "sub-XX"),
    field("session", pa.string(), "ses-XX"),
    field("block", pa.int32(), "block of the design"),
    field("presentation_order", pa.int32(), "0 is the first of the recording"),
    field("onset_s", pa.float64(), "from the start of the raw file", unit="s"),
    field("stimulus_id", pa.string(), "key into `stimuli`"),
    field("concept", pa.string(), "object category"),
    field("repetition", pa.int32(), "how often this subject had seen the stimulus before"),
    field(
        "split",
        pa.string(),
        "train, validation, test (what the strategy holds out), zero_shot (held-out concepts) or "
        "none (too near in time to another part, or the other part of a subject that is left out: used nowhere)",
    ),
    field("kept", pa.bool_(), "whether an epoch exists"),
    field("reject_reason", pa.string(), "why not; empty if kept"),
    key="trial_id",
)
