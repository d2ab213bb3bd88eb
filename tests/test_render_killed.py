"""Rendering that is killed at random moments ends with the bytes of a run that was not.

``PERCEPT_TEST_KILLED_PICTURES=500`` kills a run of 500 pictures at ten moments.
"""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from tests.test_render import run, workplace

__all__ = ["workplace"]

N_PICTURES = int(os.environ.get("PERCEPT_TEST_KILLED_PICTURES", "40"))
N_KILLS = 10 if N_PICTURES >= 500 else 3
MOST_BEFORE_A_KILL = N_PICTURES // (N_KILLS + 1) - 4
DRAWN = ("decoded", "true_captions", "shuffled_eeg", "class_name", "random_caption")
SHIPPED = Path(__file__).resolve().parents[1] / "data/models/diffusion"
CACHE = Path("data/cache/render")


def render_here(folder, n_samples):
    """Render in a process of its own."""
    os.chdir(folder)
    torch.set_num_threads(1)
    run(
        folder,
        model=f"local-dir:{SHIPPED}",
        conditions=DRAWN,
        max_trials=N_PICTURES // len(DRAWN) // n_samples,
        n_samples=n_samples,
        n_steps=3,
        batch_size=8,
    )


def n_drawn(folder):
    return len(list((folder / CACHE).glob("[!.]*.png")))


def start(folder):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.render", "diffusers"])
    process = context.Process(target=render_here, args=(folder, 4 if N_PICTURES >= 500 else 1))
    process.start()
    return process


def finish(folder):
    process = start(folder)
    process.join()
    assert process.exitcode == 0


def kill_after(folder, n_more, delay_s):
    """Kill a run some time after it has drawn so many pictures more."""
    process, wanted = start(folder), n_drawn(folder) + n_more
    while process.is_alive() and n_drawn(folder) < wanted:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.kill()
    process.join()
    assert process.exitcode == -9, "the run ended before it was killed"


def files(folder):
    paths = sorted((folder / "images").rglob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_complete_with_the_same_bytes(workplace):
    finish(workplace)
    expected = files(workplace)
    manifest = (workplace / "renders.parquet").read_bytes()
    assert len(expected) == N_PICTURES
    for path in ("data", "images"):
        (workplace / path).rename(workplace / f"undisturbed_{path}")
    (workplace / "renders.parquet").unlink()
    lots = random.Random(0)
    counts = []
    for _ in range(N_KILLS):
        kill_after(workplace, lots.randint(1, MOST_BEFORE_A_KILL), lots.uniform(0, 0.05))
        counts.append(n_drawn(workplace))
    assert counts == sorted(set(counts))
    assert counts[-1] < N_PICTURES
    finish(workplace)
    found = files(workplace)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert (workplace / "renders.parquet").read_bytes() == manifest
