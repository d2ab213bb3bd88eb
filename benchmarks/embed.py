"""Captions per second through a CLIP's text tower, beside the plain loop.

``python benchmarks/embed.py [n_captions] [architecture]`` ends with one line of JSON. The plain loop
tokenises and encodes batch by batch in the order of the captions, padded to 77 tokens, repeats among
them; ours is the whole path of the stage: keys, cache, batches of one length, reading back. Both use the
same random weights of the architecture. The captions are like those of ten kinds about a few objects:
tags of two words that come hundreds of times beside sentences of thirty that come once. ``pictures_per_s`` is
the rate of the image tower, in batches of ``BATCH_SIZE`` pictures that lie on the device.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH_SIZE = 256
OBJECTS = [
    "dog",
    "cat",
    "piano",
    "banana",
    "mug",
    "airliner",
    "mitten",
    "daisy",
    "pizza",
    "canoe",
    "parachute",
    "iron",
]
COLOURS = ["red", "green", "blue", "brown", "black", "white", "golden", "striped"]
THEMES = [
    "calm",
    "joy",
    "solitude",
    "a day at work",
    "nature",
    "childhood",
    "the city at night",
    "travel",
]
SCENES = ["a wooden table", "a street in the rain", "the seashore", "an empty room", "tall grass"]
WORDS = [
    "with",
    "soft",
    "light",
    "that",
    "falls",
    "from",
    "the",
    "left",
    "while",
    "another",
    "smaller",
    "one",
    "partly",
    "hidden",
    "behind",
    "it",
    "casts",
    "a",
    "long",
    "shadow",
    "across",
    "the",
    "floor",
    "towards",
    "whoever",
    "holds",
    "the",
    "camera",
    "and",
    "looks",
    "away",
]


def main() -> None:
    n_captions = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    architecture = sys.argv[2] if len(sys.argv) > 2 else "ViT-B-32"
    if len(sys.argv) > 3:
        measure(sys.argv[3], n_captions, Path(sys.argv[4]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_model(architecture, Path(folder) / "clip")
        ours = run("ours", n_captions, architecture, folder)
        theirs = run("theirs", n_captions, architecture, folder)
        vectors = [np.load(Path(folder) / f"{side}.npy") for side in ("ours", "theirs")]
    texts = captions(n_captions)
    line = {
        "name": f"embed.{architecture}",
        "ours": round(ours["s"], 2),
        "theirs": round(theirs["s"], 2),
        "ratio": round(theirs["s"] / ours["s"], 2),
        "unit": "s",
        "n": n_captions,
        "n_distinct": len(set(texts)),
        "captions_per_s": {
            "ours": round(n_captions / ours["s"]),
            "theirs": round(n_captions / theirs["s"]),
        },
        "peak_memory_mb": {"ours": round(ours["mb"]), "theirs": round(theirs["mb"])},
        "difference": float(np.abs(vectors[0] - vectors[1]).max()),
        "pictures_per_s": ours["pictures_per_s"],
        "device": ours["device"],
    }
    print(json.dumps(line))


def captions(n: int) -> list[str]:
    """Draw captions: of each ten, three tags, four short phrases, two sentences and one long one."""
    rng = np.random.default_rng(0)

    def sentence(low: int, high: int) -> str:
        start = f"a {rng.choice(COLOURS)} {rng.choice(OBJECTS)} beside {rng.choice(SCENES)}"
        return " ".join([start, *WORDS[: rng.integers(low, high)]])

    kinds = [
        lambda: str(rng.choice(OBJECTS)),
        lambda: str(rng.choice(THEMES)),
        lambda: f"a mood of {rng.choice(THEMES)}",
        lambda: f"a {rng.choice(COLOURS)} {rng.choice(OBJECTS)}",
        lambda: f"a {rng.choice(OBJECTS)} on {rng.choice(SCENES)}",
        lambda: f"the {rng.choice(COLOURS)} {rng.choice(OBJECTS)} fills half of the picture",
        lambda: f"a {rng.choice(OBJECTS)} left of {rng.choice(SCENES)}",
        lambda: sentence(0, 8),
        lambda: sentence(4, 14),
        lambda: sentence(10, len(WORDS)),
    ]
    return [kinds[number % 10]() for number in range(n)]


def write_model(architecture: str, folder: Path) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def run(side: str, n_captions: int, architecture: str, folder: str) -> dict[str, float]:
    command = [sys.executable, __file__, str(n_captions), architecture, side, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(side: str, n_captions: int, folder: Path) -> None:
    from tasks.clip.model import load_clip

    source, texts = f"local-dir:{folder / 'clip'}", captions(n_captions)
    load_clip(source).encode_texts(texts[:10])
    start = time.perf_counter()
    vectors = {"ours": ours, "theirs": theirs}[side](source, texts, folder)
    seconds = time.perf_counter() - start
    np.save(folder / f"{side}.npy", vectors)
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"s": seconds, "mb": mb}
    if side == "ours":
        found |= pictures(source)
    print(json.dumps(found))


def pictures(source: str) -> dict:
    """Return the rate of the image tower in float16 on a GPU, in float32 elsewhere, and the device."""
    import torch

    from tasks.clip.model import load_clip

    clip = load_clip(source, "float16")
    gpu = clip.device.type == "cuda"
    n_batches, size = (8, BATCH_SIZE) if gpu else (1, 8)
    sides = clip.model.visual.image_size
    sides = sides if isinstance(sides, tuple) else (sides, sides)
    batch = torch.randn(size, 3, *sides, device=clip.device)

    def rate() -> float:
        start = time.perf_counter()
        for _ in range(n_batches):
            clip._run(clip.model.encode_image, batch)
        return n_batches * size / (time.perf_counter() - start)

    with torch.inference_mode():
        rate()
        name = torch.cuda.get_device_name() if gpu else "CPU"
        return {"pictures_per_s": round(rate(), 1), "device": name}


def ours(source: str, texts: list[str], folder: Path) -> np.ndarray:
    from functools import partial

    from tasks.clip.cache import VectorCache
    from tasks.clip.embedding import Embedder, embed_missing, embed_texts
    from tasks.clip.vectors import text_key
    from tasks.runtime.map import serial_map

    embedder = Embedder(source, "float32", BATCH_SIZE, 4096)
    cache = VectorCache(folder / "cache")
    pieces = [(text_key(text), text) for text in texts]
    return embed_missing(pieces, partial(embed_texts, embedder, cache), cache, 4096, serial_map)


def theirs(source: str, texts: list[str], _: Path) -> np.ndarray:
    import torch

    from tasks.clip.model import load_clip

    clip, parts = load_clip(source), []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH_SIZE):
            tokens = clip.tokenizer(texts[start : start + BATCH_SIZE]).to(clip.device)
            parts.append(clip.model.encode_text(tokens, normalize=True))
    return torch.cat(parts).cpu().numpy()


if __name__ == "__main__":
    main()
