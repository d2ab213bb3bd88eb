"""Pictures per second of the stage's generator, beside one ``pipe(prompt)`` per picture.

``python benchmarks/render.py [model] [n_pictures] [n_steps] [guidance]`` draws the same pictures from the
same seeds with the same scheduler and steps on both sides, each in a process of its own: ours as the
stage draws them (each prompt encoded once, batches, decoding and encoding to PNG beside denoising),
theirs as a plain loop. Both load in half precision on a GPU and in float32 on a CPU; loading and the first
picture are not counted. The model is a folder or a name in the local hub cache; without one the shipped
model is drawn with. On a GPU the line also says what share of its bfloat16 peak the denoiser reaches.
``cpu_ratio`` compares seconds of CPU, which other work on the machine does not change as it does the clock:
set ``OMP_NUM_THREADS=1`` where there is some, since threads that wait for each other count as working.
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
import torch
from diffusers import AutoPipelineForText2Image
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from tasks.diffusion.composition import Conditioning
from tasks.diffusion.drawing import Picture, draw_shard, load_renderer
from tasks.diffusion.folder import find_pipeline
from tasks.diffusion.hardware import dtype_of
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tasks.language.captioners.scene import describe
from tasks.pretraining.scores import fresh_scenes
from tasks.runtime.device import compute_device

SHIPPED = Path(__file__).resolve().parents[1] / "data/models/diffusion"
BATCH_SIZE = 32
BF16_PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "RTX 4090": 165.0}


def main() -> None:
    model, n_pictures, n_steps, guidance = (
        *sys.argv[1:5],
        *("shipped", "192", "12", "2.0")[len(sys.argv[1:5]) :],
    )
    if len(sys.argv) > 5:
        measure = {"ours": measure_ours, "theirs": measure_theirs}[sys.argv[5]]
        folder = find_pipeline(model, SHIPPED)
        with tempfile.TemporaryDirectory() as out:
            found = measure(
                folder, requests(int(n_pictures), float(guidance)), int(n_steps), Path(out)
            )
        print(json.dumps(found))
        return
    arguments = [model, n_pictures, n_steps, guidance]
    ours, theirs = (run([*arguments, side]) for side in ("ours", "theirs"))
    line = {
        "name": "render",
        "ours": round(int(n_pictures) / ours["s"], 3),
        "theirs": round(int(n_pictures) / theirs["s"], 3),
        "ratio": round(theirs["s"] / ours["s"], 2),
        "cpu_ratio": round(theirs["cpu_s"] / ours["cpu_s"], 2),
        "unit": "pictures/s",
        "n": int(n_pictures),
        "n_steps": int(n_steps),
        "guidance_scale": float(guidance),
        "device": ours["device"],
        "peak_memory_mb": {"ours": ours["mb"], "theirs": theirs["mb"]},
        "largest_difference": difference(ours["pixels"], theirs["pixels"]),
        "share_of_bf16_peak": ours["share_of_bf16_peak"],
    }
    print(json.dumps(line))


def run(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def requests(n_pictures: int, guidance: float) -> list[Request]:
    """Ask for pictures of prompts of which each occurs twice, as samples of one trial do."""
    texts = [", ".join(list(describe(scene).values())[:4:3]) for scene in fresh_scenes(n_pictures)]
    return [
        Request(Conditioning(((texts[i // 2], 1.0),), guidance), seed=i) for i in range(n_pictures)
    ]


def measure_ours(folder: Path, asked: list[Request], n_steps: int, out: Path) -> dict[str, Any]:
    settings = Settings(n_steps)
    renderer = load_renderer(folder, settings)
    renderer.render(asked[:1])
    renderer.prompts.known.clear()
    pictures = [Picture(r, out / f"{i}.png") for i, r in enumerate(asked)]
    starts = range(0, len(pictures), BATCH_SIZE)
    start, cpu_start = time.perf_counter(), time.process_time()
    draw_shard(folder, settings, [pictures[first : first + BATCH_SIZE] for first in starts])
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return summary(out, len(asked), seconds, cpu_s) | {
        "share_of_bf16_peak": peak_share(renderer, asked, seconds)
    }


def measure_theirs(folder: Path, asked: list[Request], n_steps: int, out: Path) -> dict[str, Any]:
    device = compute_device()
    pipeline = AutoPipelineForText2Image.from_pretrained(
        str(folder), local_files_only=True, dtype=dtype_of("auto", device), safety_checker=None
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def draw(request: Request) -> Image.Image:
        images = pipeline(
            request.conditioning.prompt,
            num_inference_steps=n_steps,
            guidance_scale=request.conditioning.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(request.seed),
        ).images
        return images[0]

    draw(asked[0])
    start, cpu_start = time.perf_counter(), time.process_time()
    for index, request in enumerate(asked):
        draw(request).save(out / f"{index}.png")
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return summary(out, len(asked), seconds, cpu_s)


def summary(out: Path, n_pictures: int, seconds: float, cpu_s: float) -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() / 1e6 if gpu else peak_rss_mb()
    arrays = [np.asarray(Image.open(out / f"{index}.png")) for index in range(n_pictures)]
    return {
        "s": seconds,
        "cpu_s": cpu_s,
        "mb": round(peak),
        "device": torch.cuda.get_device_name() if gpu else "CPU",
        "pixels": [a[:: max(1, len(a) // 16), :: max(1, len(a) // 16)].tolist() for a in arrays],
    }


def peak_share(renderer: Renderer, asked: list[Request], seconds: float) -> float | None:
    """Return the share of the GPU's peak, from the operations of one picture; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    peak = next((p for n, p in BF16_PEAK_TFLOPS.items() if n in torch.cuda.get_device_name()), None)
    with FlopCounterMode(display=False) as counter:
        renderer.render(asked[:1])
    return peak and round(counter.get_total_flops() * len(asked) / seconds / 1e12 / peak, 3)


def difference(ours: list[Any], theirs: list[Any]) -> int:
    return int(np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max())


def peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
