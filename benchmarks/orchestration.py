"""What orchestration costs: stages through `dvc repro`, against the same functions called in a process of their own.

``python benchmarks/orchestration.py`` reproduces the preset `tiny` in a temporary clone (or takes ``--workspace``, a
clone that is reproduced), then times a `dvc repro` that finds nothing to do, and three stages with and without DVC.
What a run costs once is the time of the one that finds nothing to do; what is left, over the plain functions, is spread
over the stages. Times are medians of alternating runs; both sides pay for their imports. No server is involved.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "caption", "retrieve")
PLAIN = (
    "import sys\n"
    "from tasks.wiring.contract import call, load_stage\n"
    "from tasks.artifacts.catalogue import Artifacts\n"
    "from pathlib import Path\n"
    "call(load_stage(sys.argv[1]), Artifacts(), Path('params.yaml'))\n"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = options.workspace or reproduce(Path(folder) / "percept")
        print(json.dumps(measure(workspace, options.repeats)))


def reproduce(clone: Path) -> Path:
    """Clone this repository, choose the tiny preset, and run every stage."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    run(clone, sys.executable, "-m", "tasks", "preset", "tiny")
    run(clone, sys.executable, "-m", "dvc", "repro")
    return clone


def measure(workspace: Path, repeats: int) -> dict[str, object]:
    """Return the line of JSON: medians over repeats, in seconds."""
    plain, through_dvc, nothing = [], [], []
    words = ("repro", "--single-item", "--force", *STAGES)
    for _ in range(repeats):
        plain.append(sum(seconds(workspace, sys.executable, "-c", PLAIN, s) for s in STAGES))
        through_dvc.append(seconds(workspace, sys.executable, "-m", "dvc", *words))
        run(workspace, sys.executable, "-m", "dvc", "repro")
        nothing.append(seconds(workspace, sys.executable, "-m", "dvc", "repro"))
    ours, theirs, idle = map(statistics.median, (through_dvc, plain, nothing))
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "name": "orchestration",
        "ours": round(ours, 3),
        "theirs": round(theirs, 3),
        "ratio": round(theirs / ours, 3),
        "unit": f"s for {len(STAGES)} stages",
        "n": repeats,
        "extra_per_stage_s": round((ours - idle - theirs) / len(STAGES), 3),
        "nothing_to_do_s": round(idle, 3),
        "peak_memory_mb": {"ours": round(peak_mb, 1), "theirs": round(peak_mb, 1)},
    }


def seconds(workspace: Path, *words: str) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    run(workspace, *words)
    return time.perf_counter() - start


def run(workspace: Path, *words: str) -> None:
    """Run a command there, with our programs on the path and no settings of Percept or Prefect."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERCEPT_", "PREFECT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    own = kept | {"PATH": path, "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run(words, cwd=workspace, env=own, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
