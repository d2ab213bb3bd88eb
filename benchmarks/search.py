"""Exact nearest neighbours of a large gallery, beside faiss's exact index on the same cores.

``python benchmarks/search.py [n_gallery] [n_queries]`` ends with one line of JSON. Each side searches
the same gallery, a file of float32 vectors, in a process of its own; they take turns, and the fastest
of its runs counts. faiss copies the file into its index, which is not timed; ours maps the file. The
peak is of the whole process, imports and mapped file among it.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM, K, N_RUNS = 512, 10, 2
BLOCK = 50_000


def main() -> None:
    n_gallery = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    n_queries = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    if len(sys.argv) > 3:
        print(json.dumps(measure(sys.argv[3], Path(sys.argv[4]), n_queries)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gallery.npy"
        write_gallery(path, n_gallery)
        runs: dict[str, list[dict[str, float]]] = {"ours": [], "theirs": []}
        for _ in range(N_RUNS):
            for side, done in runs.items():
                done.append(run(side, path, n_gallery, n_queries))
        wrong = {side: n_wrong(side, path, n_queries) for side in runs}
    best = {side: min(done, key=lambda one: one["s"]) for side, done in runs.items()}
    ours, theirs = best["ours"], best["theirs"]
    line = {
        "name": "search",
        "ours": round(ours["s"], 2),
        "theirs": round(theirs["s"], 2),
        "ratio": round(theirs["s"] / ours["s"], 2),
        "unit": "s",
        "n": n_queries,
        "n_gallery": n_gallery,
        "gallery_mb": round(n_gallery * DIM * 4 / 2**20),
        "peak_memory_mb": {side: round(one["mb"]) for side, one in best.items()},
        "wrong_neighbours": wrong,
    }
    print(json.dumps(line))


def write_gallery(path: Path, n_gallery: int) -> None:
    gallery = np.lib.format.open_memmap(path, "w+", np.float32, (n_gallery, DIM))
    for start in range(0, n_gallery, BLOCK):
        gallery[start : start + BLOCK] = unit(min(BLOCK, n_gallery - start), start)
    gallery.flush()


def unit(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM), np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def run(side: str, path: Path, n_gallery: int, n_queries: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(n_gallery), str(n_queries), side, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(side: str, path: Path, n_queries: int) -> dict[str, float]:
    queries = unit(n_queries, 10**9)
    search = OURS_AND_THEIRS[side]
    seconds, peak, indices = search(path, queries)
    np.save(path.with_name(f"{side}.npy"), indices)
    return {"s": seconds, "mb": peak}


def n_wrong(side: str, path: Path, n_queries: int) -> int:
    """Count a side's neighbours that are further, in double precision, than what the other one found."""
    gallery, queries = np.load(path, mmap_mode="r"), unit(n_queries, 10**9).astype(np.float64)
    found = {name: np.load(path.with_name(f"{name}.npy")) for name in OURS_AND_THEIRS}
    (other,) = set(found) - {side}
    count = 0
    for query, own, others in zip(queries, found[side], found[other], strict=True):
        if set(own) != set(others):
            best = np.union1d(own, others)
            exact = best[np.argsort(-(gallery[best] @ query), kind="stable")[:K]]
            count += len(set(own) - set(exact))
    return count


def ours(path: Path, queries: np.ndarray) -> tuple[float, float, np.ndarray]:
    from tasks.clip.search import top_k

    start = time.perf_counter()
    indices, _ = top_k(queries, np.load(path, mmap_mode="r"), K)
    return time.perf_counter() - start, peak_mb(), indices


def theirs(path: Path, queries: np.ndarray) -> tuple[float, float, np.ndarray]:
    import faiss

    gallery = np.load(path, mmap_mode="r")
    index = faiss.IndexFlatIP(DIM)
    for start in range(0, len(gallery), BLOCK):
        index.add(gallery[start : start + BLOCK])
    start_s = time.perf_counter()
    _, indices = index.search(queries, K)
    return time.perf_counter() - start_s, peak_mb(), indices


OURS_AND_THEIRS = {"ours": ours, "theirs": theirs}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
