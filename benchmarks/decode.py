"""Time one trial from epoch to captions: encoder and retrieval, after loading, on the CPU.

``python benchmarks/decode.py [n_trials]`` takes the encoder of the study in the current folder and ends with one line of
JSON: median and 99th percentile over trials that are decoded one by one.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import percept
from tasks import PARAMS_FILE
from tasks.artifacts.catalogue import Artifacts
from tasks.decoding.bundle import export_bundle
from tasks.wiring.contract import read_params


def main() -> None:
    n_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        export_bundle(Artifacts(), read_params(Path(PARAMS_FILE))["preprocess"], Path(folder))
        encoder = percept.load_encoder(folder)
    description = encoder.bundle.encoder.description
    rng = np.random.default_rng(0)
    shape = (n_trials, len(encoder.channels), description["n_times"])
    eeg = rng.normal(0, 10, shape).astype(np.float32)
    subject = encoder.subjects[0]
    encoder.decode(eeg[:1], subject=subject)
    times_ms = []
    for trial in range(n_trials):
        start = time.perf_counter()
        encoder.decode(eeg[trial : trial + 1], subject=subject)
        times_ms.append(1e3 * (time.perf_counter() - start))
    p50, p99 = np.percentile(times_ms, [50, 99])
    line = {
        "name": "decode",
        "n_trials": n_trials,
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
