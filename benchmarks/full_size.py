"""Time and memory that data sets of full size take in ``ingest`` and ``preprocess``.

``python benchmarks/full_size.py`` writes, in turn, one subject of THINGS-EEG2 in the arrays layout (16,540 x 4
training and 200 x 80 test epochs of 63 channels and 250 samples, 5.3 GB) and EEGCVPR (11,964 segments of 128
channels and about 500 samples, 3.1 GB) into a temporary folder, runs both stages in a process of their own, and
prints one line of JSON each. The numbers in the files are noise. Needs 25 GB of disk.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tasks.artifacts.catalogue import Artifacts
from tasks.ingest import IngestParams, ingest
from tasks.preprocess import PreprocessParams, preprocess
from tasks.runtime.map import serial_map
from tasks.wiring.presets import merged

PRESETS = Path(__file__).resolve().parents[1] / "presets"
N_SUBJECTS, N_CLASSES, N_IMAGES = 6, 40, 50  # EEGCVPR
N_SEGMENTS = 11_964
N_CONCEPTS, N_EXEMPLARS, N_REPETITIONS = 1654, 10, 4  # THINGS-EEG2, training
N_TEST, N_TEST_REPETITIONS = 200, 80


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    for study, write in (("things_eeg2", write_things), ("eegcvpr", write_eegcvpr)):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "data" / "raw" / study)
            command = [sys.executable, str(Path(__file__).resolve()), study, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(done.stdout.splitlines()[-1], flush=True)


def params_of(study: str) -> tuple[IngestParams, PreprocessParams]:
    """Return the params of the study's preset, fitted to stored epochs of noise."""
    preset = yaml.safe_load(merged(study, PRESETS))
    section = preset["preprocess"]
    if study == "things_eeg2":
        preset["ingest"]["source"] |= {"layout": "arrays", "eeg": "arrays"}
        section |= {
            "filters": {"method": "fir", "high_pass_hz": None, "low_pass_hz": None, "notch_hz": []},
            "window": section["window"] | {"tmin_s": 0.0},
            "baseline_s": None,
            "reject": section["reject"] | {"peak_to_peak_uv": None, "flat_uv": None},
            "whitening": None,
        }
        section["bad_channels"] |= {"flat_uv": None}
    section["bad_channels"] |= {"min_correlation": None}  # noise has none
    return IngestParams.model_validate(preset["ingest"]), PreprocessParams.model_validate(section)


def measure(study: str, root: Path) -> dict[str, Any]:
    ingest_params, preprocess_params = params_of(study)
    artifacts, seconds = Artifacts(root), {}
    start = time.perf_counter()
    ingest(
        artifacts.raw,
        **outs(artifacts, "recordings", "events", "stimuli", "oracle", "topographies"),
        params=ingest_params,
        map=serial_map,
    )
    seconds["ingest_s"] = round(time.perf_counter() - start, 1)
    start = time.perf_counter()
    preprocess(
        *outs(artifacts, "recordings", "events", "stimuli", "raw").values(),
        **outs(artifacts, "trials", "epochs", "quality", "averages"),
        params=preprocess_params,
        map=serial_map,
    )
    seconds["preprocess_s"] = round(time.perf_counter() - start, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"name": f"full_size.{study}", **seconds, "peak_memory_mb": round(peak)}


def outs(artifacts: Artifacts, *names: str) -> dict[str, Path]:
    return {name: getattr(artifacts, name) for name in names}


def write_things(folder: Path) -> None:
    table: dict[str, list[str]] = {}
    counts = {"train": (N_CONCEPTS, N_EXEMPLARS), "test": (N_TEST, 1)}
    for part, (n_concepts, n_exemplars) in counts.items():
        first = 0 if part == "train" else N_CONCEPTS
        pairs = [
            (f"{c + 1:05d}_concept{c}", f"concept{c}_{e:02d}.jpg")
            for c in range(first, first + n_concepts)
            for e in range(n_exemplars)
        ]
        table[f"{part}_img_concepts"] = [concept for concept, _ in pairs]
        table[f"{part}_img_files"] = [file for _, file in pairs]
        images = "training_images" if part == "train" else "test_images"
        for concept, file in pairs:
            write_picture(folder / "image_set" / images / concept / file)
    np.save(folder / "image_set" / "image_metadata.npy", np.array(table, dtype=object))
    write_noise(folder / "arrays" / "sub-01" / "train.npy", (*counts["train"], N_REPETITIONS))
    write_noise(folder / "arrays" / "sub-01" / "test.npy", (*counts["test"], N_TEST_REPETITIONS))


def write_noise(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    values = np.lib.format.open_memmap(path, "w+", np.float32, (*shape, 63, 250))
    for row in values:
        row[:] = rng.standard_normal(row.shape, np.float32)
    values.flush()


def write_eegcvpr(folder: Path) -> None:
    import torch

    from tasks.eeg.sources.eegcvpr import CONCEPTS

    wnids = list(CONCEPTS)
    images = [f"{wnid}_{i}" for wnid in wnids for i in range(N_IMAGES)]
    for name in images:
        write_picture(folder / "images" / name.split("_")[0] / f"{name}.JPEG")
    (folder / "image_order.txt").write_text("\n".join(images))
    dataset = [
        {
            "eeg": torch.randn(128, 490 + n % 20),
            "image": n % len(images),
            "label": n % len(images) // N_IMAGES,
            "subject": n // len(images) + 1,
        }
        for n in range(N_SEGMENTS)
    ]
    parts = {"train": [], "val": [], "test": []}
    for n in range(N_SEGMENTS):
        parts[("train", "train", "train", "val", "test")[n % len(images) % 5]].append(n)
    torch.save({"dataset": dataset, "labels": wnids, "images": images}, folder / "eeg_5_95_std.pth")
    torch.save({"splits": [parts]}, folder / "block_splits_by_image_all.pth")


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


if __name__ == "__main__":
    main()
