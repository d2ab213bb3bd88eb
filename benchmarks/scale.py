"""What every stage takes of time, memory and disk as a study grows, and how fast each of these grows.

``python benchmarks/scale.py OUT.jsonl --trials 2000 8000 32000`` writes studies of noise (one subject, 63 channels x 250
samples, arrays beside a table) into a temporary folder, runs one stage after the other in a process of its own, and
appends a line of JSON per stage and size: seconds of wall and CPU, peak memory of all its processes together, disk and
number of files that it left. The pictures stay the same 240 unless ``--pictures-per-trial`` says that they grow with the
study. ``--stages`` runs some stages and those before them, ``--set NAME=VALUE`` changes params. ``--table OUT.jsonl``
runs nothing and prints the Markdown table of what was measured.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import psutil
import yaml
from PIL import Image

from tasks import STAGES
from tasks.language.prompts import TIER_OF
from tasks.wiring.presets import merged, override

ROOT = Path(__file__).resolve().parents[1]
N_CHANNELS, N_TIMES, SFREQ_HZ = 63, 250, 250.0
N_CONCEPTS, N_PICTURES = 40, 240
PARTS = (
    "train",
    "train",
    "train",
    "train",
    "validation",
    "test",
)  # of a concept's pictures, in turn
TRIALS_AT_ONCE = 1024
POLL_S = 0.1
GB = 1e9
CHANGES: dict[str, Any] = {
    "ingest.source.files": r"sub-(?P<subject>\w+)_ses-(?P<session>\w+)-epo\.npy",
    "ingest.source.split_column": "split",
    "preprocess.window.tmax_s": 0.9,
    "preprocess.bad_channels.min_correlation": None,  # noise has none
    "preprocess.reject.peak_to_peak_uv": None,
    "preprocess.split": {"strategy": "official", "seed": 0, "validation_fraction": 0.05},
    "caption.backend": "file",
    "caption.max_tokens": 48,
    "embed.model": "shipped",
    "train.schedule.max_epochs": 2,
    "train.architecture.start.n_starts": 1,  # of a search whose time does not depend on trials
    "train.schedule.warmup_epochs": 1,
    "render.model": "shipped",
    "render.max_trials": 16,
    "render.n_steps": 2,
    "report.max_trials": 24,
}
"""What differs from the preset `epochs`."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--trials", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--pictures-per-trial", type=float)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return
    changes = dict(pair.split("=", 1) for pair in options.set)
    for n_trials in options.trials:
        n_pictures = N_PICTURES
        if options.pictures_per_trial:
            per_concept = round(n_trials * options.pictures_per_trial / N_CONCEPTS)
            n_pictures = N_CONCEPTS * max(len(PARTS), per_concept)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            write_study(root, n_trials, n_pictures)
            write_params(root, {name: yaml.safe_load(value) for name, value in changes.items()})
            for stage in needed(options.stages):
                row = {"stage": stage, "trials": n_trials, "pictures": n_pictures}
                row |= measure(root, stage)
                if stage in options.stages:
                    with options.out.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)


def needed(stages: list[str]) -> list[str]:
    """Return these stages and those before them, without the simulation."""
    last = max(STAGES.index(stage) for stage in stages)
    return [stage for stage in STAGES[: last + 1] if stage != "simulate"]


def write_study(root: Path, n_trials: int, n_pictures: int) -> None:
    """Write pictures of one colour, their captions, and noise that says nothing of them."""
    folder = root / "data" / "raw" / "epochs"
    rng = np.random.default_rng(0)
    captions = {}
    for number in range(n_pictures):
        concept = f"concept{number % N_CONCEPTS:02d}"
        path = folder / "images" / concept / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), tuple(rng.integers(0, 256, 3).tolist())).save(path)
        words = f"thing {number % N_CONCEPTS} number {number // N_CONCEPTS}"
        name = path.relative_to(folder / "images").as_posix()
        captions[name] = {kind: f"{kind} of {words}" for kind in TIER_OF}
    (folder / "captions.json").write_text(json.dumps(captions))
    names = np.array(list(captions))
    shown = rng.permutation(np.arange(n_trials) % n_pictures)
    rows = {
        "picture": names[shown],
        "concept": [f"concept{i % N_CONCEPTS:02d}" for i in shown],
        "split": [PARTS[i // N_CONCEPTS % len(PARTS)] for i in shown],
    }
    stem = folder / "sub-01_ses-01-epo"
    pd.DataFrame(rows).to_csv(stem.with_suffix(".csv"), index=False)
    shape = (n_trials, N_CHANNELS, N_TIMES)
    eeg = np.lib.format.open_memmap(stem.with_suffix(".npy"), "w+", np.float32, shape)
    for start in range(0, n_trials, TRIALS_AT_ONCE):
        block = eeg[start : start + TRIALS_AT_ONCE]
        block[:] = 10 * rng.standard_normal(block.shape, np.float32)
    eeg.flush()


def write_params(root: Path, changes: dict[str, Any]) -> None:
    montage = mne.channels.make_standard_montage("colin27_1005")
    arrays = {
        "channels": montage.ch_names[:: len(montage.ch_names) // N_CHANNELS][:N_CHANNELS],
        "sfreq_hz": SFREQ_HZ,
        "tmin_s": -0.1,
        "unit": "uV",
    }
    text = merged("epochs", ROOT / "presets")
    changed = CHANGES | {"ingest.source.arrays": arrays} | changes
    (root / "params.yaml").write_text(override(text, changed, ROOT / "presets" / "epochs.yaml"))
    (root / "data" / "models").symlink_to(ROOT / "data" / "models")


def measure(root: Path, stage: str) -> dict[str, Any]:
    """Run a stage in a process of its own and return what it took."""
    before = disk(root)
    start = time.perf_counter()
    with (root / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tasks", "run", stage],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    watch = Watch(process.pid)
    watch.start()
    _, status, usage = os.wait4(process.pid, 0)
    watch.ended.set()
    watch.join()
    if status:
        sys.exit(f"{stage} failed:\n{(root / 'log').read_text()[-3000:]}")
    after = disk(root)
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "memory_gb": round(watch.peak / GB, 3),
        "disk_gb": round((after[0] - before[0]) / GB, 3),
        "files": after[1] - before[1],
    }


class Watch(threading.Thread):
    """Looks at the memory of a process and of those that it started, shared pages counted once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        """Look until the process has ended."""
        while not self.ended.wait(POLL_S):
            self.peak = max(self.peak, sum(self._sizes()))

    def _sizes(self) -> Iterator[int]:
        try:
            process = psutil.Process(self.pid)
            for one in (process, *process.children(recursive=True)):
                yield one.memory_full_info().pss
        except psutil.Error:
            return  # it has just ended


def disk(root: Path) -> tuple[int, int]:
    """Return the bytes and the number of all files, of which hard links are one."""
    inodes = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            inodes[found.st_ino] = 512 * found.st_blocks
    return sum(inodes.values()), len(inodes)


def table(path: Path) -> str:
    """Return what was measured in Markdown: a row per stage, and how fast it grows between the two largest sizes."""
    rows = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    sizes = sorted(rows["trials"].unique())
    lines = [
        "| stage | " + " | ".join(f"{n:,} trials" for n in sizes) + " | grows like |",
        "|---|" + "---|" * (len(sizes) + 1),
    ]
    for stage, own in rows.groupby("stage", sort=False):
        found = {row["trials"]: row for row in own.to_dict("records")}
        cells = [_cell(found.get(n)) for n in sizes]
        lines.append(f"| `{stage}` | " + " | ".join(cells) + f" | {_growth(found)} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{row['cpu_s']:.0f} s, {row['memory_gb']:.1f} GB, {row['disk_gb']:.2f} GB in {row['files']} files"


def _growth(found: dict[int, dict[str, Any]]) -> str:
    if len(found) < 2:
        return "–"
    less, more = (found[n] for n in sorted(found)[-2:])
    ratio = math.log(more["trials"] / less["trials"])
    powers = {
        name: math.log(max(more[key], 0.01) / max(less[key], 0.01)) / ratio
        for name, key in (("time", "cpu_s"), ("memory", "memory_gb"))
    }
    return ", ".join(f"{name} n^{power:.2f}" for name, power in powers.items())


if __name__ == "__main__":
    main()
