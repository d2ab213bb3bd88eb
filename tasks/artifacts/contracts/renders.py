"""One row per rendered picture."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

RENDERS = contract(
    field("trial_id", pa.string(), "key into `trials`"),
    field(
        "condition",
        pa.string(),
        "decoded, true_captions, shuffled_eeg, noise_eeg, class_name, predicted_class, random_caption "
        "or mean_embedding",
    ),
    field("sample", pa.int32(), "0 is the first picture of this trial and condition"),
    field("prompt", pa.string(), "what the diffusion model was given"),
    field("guidance_scale", pa.float32(), "classifier-free guidance; 1 is none"),
    field("seed", pa.int64(), "of the picture's own noise generator"),
    field("image_path", pa.string(), "relative to the repository"),
    field(
        "flagged", pa.bool_(), "the safety checker withheld the picture: it is black, count it not"
    ),
    key="trial_id,condition,sample",
)
