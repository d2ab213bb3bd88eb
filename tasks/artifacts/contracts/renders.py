"""One row per rendered picture."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

RENDERS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field("condition", pa.string(), "decoded, true_captions or shuffled_eeg"),
    field("sample", pa.int32(), "0 is the first picture of this trial and condition"),
    field("prompt", pa.string(), "what the diffusion model was given"),
    field("seed", pa.int64(), "of the picture's own noise generator"),
    field("image_path", pa.string(), "relative to the repository"),
    key="trial_id,condition,sample",
)
