"""How much the scores of one study depend on the processor that reckons them.

``python benchmarks/processors.py [preset [stage ...]]`` runs stages of a preset (all but the report
of ``simulated`` unless said otherwise) in copies of this repository, as this processor is and with its vector
instructions and threads capped as on others. For each setting beside the first it prints one line of JSON:
the artefacts whose bytes differ, and of each metrics file how many scores differ and the largest difference in units of
`tasks.artifacts.agreement.tolerance`: above 1 two processors do not agree.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tasks import STAGES
from tasks.artifacts.agreement import apart
from tasks.artifacts.metrics import read_scores
from tasks.wiring.presets import merged

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SETTINGS = {
    "this processor, two threads": dict.fromkeys(THREADS, "2"),
    "avx2, one thread": {"ATEN_CPU_CAPABILITY": "avx2"} | dict.fromkeys(THREADS, "1"),
    "no avx, one thread": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    }
    | dict.fromkeys(THREADS, "1"),
}


def main() -> None:
    preset = sys.argv[1] if len(sys.argv) > 1 else "simulated"
    stages = sys.argv[2:] or STAGES[:-1]
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Path(folder) / str(i) for i, name in enumerate(SETTINGS)}
        for name, workspace in runs.items():
            seconds = reckoned(workspace, preset, stages, SETTINGS[name])
            print(
                json.dumps({"name": "processors.run", "setting": name, "seconds": seconds}),
                flush=True,
            )
        first, *others = runs
        for name in others:
            found = compared(runs[first], runs[name])
            print(
                json.dumps({"name": "processors.compare", "setting": name, "with": first} | found)
            )


def reckoned(workspace: Path, preset: str, stages: Sequence[str], setting: dict[str, str]) -> float:
    """Run stages in a copy of the repository and return how long it took."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for file in listed.stdout.splitlines():
        (workspace / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, workspace / file)
    shutil.rmtree(workspace / "reports" / "metrics")
    (workspace / "params.yaml").write_text(merged(preset, ROOT / "presets"))
    start = time.perf_counter()
    for stage in stages:
        done = subprocess.run(
            [sys.executable, "-m", "tasks", "run", stage],
            cwd=workspace,
            env=os.environ | setting,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{stage} ended with {done.returncode}: {done.stderr[-2000:]}")
    return round(time.perf_counter() - start, 1)


def compared(one: Path, other: Path) -> dict[str, object]:
    """Return which artefacts of two runs differ, and how far their scores are apart."""
    files = [
        path.relative_to(one)
        for folder in ("data/raw", "data/interim", "data/processed", "reports/plots")
        for path in sorted((one / folder).rglob("*"))
        if path.is_file()
    ]
    differing = {f.as_posix() for f in files if (one / f).read_bytes() != (other / f).read_bytes()}
    scores: dict[str, object] = {}
    for path in sorted((one / "reports" / "metrics").glob("*.json")):
        here, there = read_scores(path), read_scores(other / path.relative_to(one))
        distances = {name: apart(here[name], there[name]) for name in here}
        worst = max(distances, key=lambda name: distances[name])
        scores[path.stem] = {
            "differ": sum(distance > 0 for distance in distances.values()),
            "of": len(distances),
            "beyond_tolerance": sum(distance > 1 for distance in distances.values()),
            "largest": round(distances[worst], 3),
            "score": worst,
        }
    return {
        "files_that_differ": len(differing),
        "of": len(files),
        "first": sorted(differing)[:6],
        "scores": scores,
    }


if __name__ == "__main__":
    main()
