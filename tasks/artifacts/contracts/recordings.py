"""One row per raw recording found by `ingest`."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

RECORDINGS = contract(
    field("recording_id", pa.string(), "sub-XX_ses-XX"),
    field("dataset", pa.string(), "name of the source that reads it"),
    field("subject", pa.string(), "sub-XX"),
    field("session", pa.string(), "ses-XX"),
    field("path", pa.string(), "raw file, relative to the repository"),
    field("sfreq_hz", pa.float64(), "sampling rate", unit="Hz"),
    field("n_channels", pa.int32(), "EEG channels"),
    field("duration_s", pa.float64(), "length of the recording", unit="s"),
    field("sha256", pa.string(), "of the raw file's bytes"),
    key="recording_id",
)
