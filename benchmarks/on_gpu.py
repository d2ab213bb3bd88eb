"""Everything that wants a GPU, in one go: tests, and benchmarks of models in their published sizes.

``python benchmarks/on_gpu.py OUT [tiny]`` runs, one after the other and each in a process of its own, the tests
of tests/encoder/test_gpu.py, ``train.py published``, ``render.py`` with Stable Diffusion 1.5 and SDXL-Turbo and
``embed.py`` with ViT-L-14, the last three with random weights of the published configurations, so that
their speed is meant and nothing else. The lines of JSON go to OUT/lines.jsonl, everything that was printed
to OUT/log.txt. A part that fails leaves the others alone; the exit status is the number of parts that
failed. On one H100 it takes some eight minutes. ``tiny`` takes the smallest sizes, to try the script on a CPU.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = {"sd15": ("32", "25", "7.5"), "sdxl_turbo": ("64", "1", "0.0")}


def main() -> int:
    out, tiny = Path(sys.argv[1]), sys.argv[2:] == ["tiny"]
    if sys.argv[2:3] == ["make"]:
        make(sys.argv[3], out, full=sys.argv[4] == "full")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    here = [sys.executable, "-W", "ignore"]
    pytest = ["-m", "pytest", "-q", "--noconftest", "-c", os.devnull, f"--rootdir={ROOT}"]
    parts = {
        "tests": [*pytest, "-p", "no:cacheprovider", "tests/encoder/test_gpu.py"],
        "train": ["benchmarks/train.py", "published", "1200" if tiny else "66160"],
    }
    for name, (n_pictures, n_steps, guidance) in PIPELINES.items():
        folder, size = out.parent / f"{name}_random", "tiny" if tiny else "full"
        parts[f"make {name}"] = ["benchmarks/on_gpu.py", str(folder), "make", name, size]
        asked = ["2" if tiny else n_pictures, n_steps, guidance]
        parts[name] = ["benchmarks/render.py", f"local-dir:{folder}", *asked]
    parts["embed"] = ["benchmarks/embed.py", *(("40", "RN50") if tiny else ("20000", "ViT-L-14"))]
    return sum(not run(name, [*here, *command], out) for name, command in parts.items())


def run(name: str, command: list[str], out: Path) -> bool:
    """Run one part, and keep what it prints."""
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - start
    with (out / "log.txt").open("a") as log:
        log.write(f"== {name}: {seconds:.0f} s, exit status {done.returncode}\n{done.stdout}\n")
    with (out / "lines.jsonl").open("a") as lines:
        found = [line for line in done.stdout.splitlines() if line.startswith("{")]
        lines.writelines(f"{line}\n" for line in found)
    tail = "\n".join(done.stdout.splitlines()[-3:])
    print(f"== {name}: {seconds:.0f} s, exit status {done.returncode}\n{tail}", flush=True)
    return done.returncode == 0


def make(name: str, folder: Path, *, full: bool) -> None:
    """Write a pipeline of the published configuration with random weights, in half precision."""
    import torch
    from diffusers import EulerAncestralDiscreteScheduler

    from tests.diffusion.architectures import (
        make_stable_diffusion,
        make_stable_diffusion_xl,
        seeded,
    )

    maker = {"sd15": make_stable_diffusion, "sdxl_turbo": make_stable_diffusion_xl}[name]
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        pipeline = seeded(maker, full=full)
    if name == "sdxl_turbo":  # distilled from SDXL: the same networks, one step, pictures of 512 px
        pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(
            pipeline.scheduler.config, timestep_spacing="trailing"
        )
        if full:
            pipeline.unet.register_to_config(sample_size=64)
    pipeline.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
