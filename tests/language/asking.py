"""Pictures, params and a captioner for tests that ask a server."""

import hashlib

from PIL import Image

from tasks.language.captioners.base import Stimulus

OPENAI = {
    "model": "test-model",
    "request_per": "picture",
    "max_concurrency": 2,
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "max_retries": 2,
    "max_answers": 1,
    "max_completion_tokens": 500,
    "max_cost_usd": None,
    "prices": {"input_usd_per_million": 1.0, "output_usd_per_million": 10.0, "batch_factor": 0.5},
    "timeout_s": 10.0,
    "max_side_px": 64,
}
PAID_USD = (90 * 1.0 + 10 * 10.0) / 1e6
"""What an answer of the test server costs."""


def picture(folder, name, *, colour=0, mode="RGB", size=(8, 8), suffix="png"):
    path = folder / f"{name}.{suffix}"
    Image.new(mode, size, colour).save(path)
    return Stimulus(name, path, hashlib.sha256(path.read_bytes()).hexdigest())
