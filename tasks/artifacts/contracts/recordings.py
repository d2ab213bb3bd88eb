"""One row per raw recording found by `ingest`."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

RECORDINGS = contract(
    field("recording_id", pa.string(), "sub-XX_ses-XX"),
    field("dataset", pa.string(), "name of the source that reads it"),
    field("source", pa.string(), "params of that source, as JSON"),
    field("subject", pa.string(), "sub-XX"),
    field("session", pa.string(), "ses-XX"),
    field("path", pa.string(), "raw file, relative to the repository"),
    field("timed", pa.bool_(), "whether order and onsets of its events are the experiment's"),
    field("sfreq_hz", pa.float64(), "sampling rate", unit="Hz"),
    field("n_channels", pa.int32(), "EEG channels"),
    field("duration_s", pa.float64(), "length of the recording", unit="s"),
    field("sha256", pa.string(), "of the raw file's bytes"),
    key="recording_id",
)
