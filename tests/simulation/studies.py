"""Small simulated studies."""

from tasks.simulation.design import StudyParams

STRENGTH_UV = {"concept": 1.03, "colour": 0.98, "size": 0.5, "relation": 0.6, "theme": 0.7}


def make_params(schedule=None, brain=None, noise=None, factor=1.0, **changes):
    """Make the params of a study of 80 pictures and one subject; `factor` scales the responses."""
    sections = {
        "schedule": {
            "design": "randomised",
            "soa_s": 0.7,
            "rsvp_soa_s": 0.2,
            "soa_jitter_s": 0.05,
            "duration_s": 0.5,
            "rsvp_duration_s": 0.1,
            "gap_s": 2.0,
            **(schedule or {}),
        },
        "brain": {
            "kind": "factors",
            "strength_uv": {name: factor * uv for name, uv in STRENGTH_UV.items()},
            "n_shape_features": 8,
            "common_uv": 2.0,
            "gain_sd": 0.03,
            "strength_sd": 0.03,
            "latency_sd_s": 0.005,
            "rotation_deg": 7.0,
            **(brain or {}),
        },
        "noise": {
            "background_uv": 5.0,
            "n_background_sources": 20,
            "alpha_uv": 4.0,
            "alpha_hz": 10.0,
            "blink_uv": 100.0,
            "blinks_per_minute": 6.0,
            "line_uv": 2.0,
            "line_hz": 50.0,
            "sensor_uv": 8.0,
            "block_drift_uv": 0.0,
            "n_bad_channels": 2,
            "bad_channel_uv": 60.0,
            **(noise or {}),
        },
    }
    size = {
        "seed": 7,
        "n_subjects": 1,
        "n_stimuli": 80,
        "n_presentations": 1,
        "n_sessions": 1,
        "sfreq_hz": 250.0,
        "pictures": "glyphs",
        "picture_px": 64,
        "oracle_bin_s": 0.06,
    }
    return StudyParams(**size | sections | changes)
