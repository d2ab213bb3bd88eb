"""One row per recording: what preprocessing found and did."""

import pyarrow as pa

from tasks.artifacts.contracts._field import contract, field

QUALITY = contract(
    field("recording_id", pa.string(), "key into `recordings`"),
    field("n_events", pa.int32(), "presentations"),
    field("n_kept", pa.int32(), "epochs kept, before repetitions are averaged"),
    field("rejections", pa.string(), "how many presentations were dropped, by reason"),
    field("bad_channels", pa.string(), "interpolated channels, comma-separated"),
    field("bad_channel_reasons", pa.string(), "why, in the same order"),
    field("n_ica_removed", pa.int32(), "independent components that were taken out"),
    field(
        "line_noise_ratio",
        pa.float64(),
        "power at the mains frequency over its neighbourhood, before filtering",
    ),
    field(
        "drift_uv",
        pa.float64(),
        "median over channels of the standard deviation below 0.5 Hz, before filtering",
        unit="uV",
    ),
    field(
        "peak_to_peak_uv",
        pa.float64(),
        "median over kept epochs of the largest channel's range",
        unit="uV",
    ),
    key="recording_id",
)
