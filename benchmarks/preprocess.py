"""Time and memory of filtering, cutting and resampling, beside MNE's own.

``python benchmarks/preprocess.py [seconds]`` prints one line of JSON per order of the steps. Each
side runs in a process of its own on the same noise: 63 channels at 1 kHz, a window of 1.2 s each
0.2 s. ``ours`` and ``theirs`` are the fastest of three runs; the peak is of the whole process, with
the recording and the imports, less what the process held before the first run. The last line sets
our order (the continuous signal is decimated, then cut) against the published one (cut, then
resample every epoch).
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import mne
import numpy as np

from tasks.eeg.resampling import make_cut_grid, resampling_matrix
from tasks.eeg.signal import FilterParams, WindowParams, cut_epochs, make_grid

N_CHANNELS, SFREQ_HZ, NEW_SFREQ_HZ, EACH_S, N_RUNS = 63, 1000.0, 250.0, 0.2, 3
WINDOW = WindowParams(tmin_s=-0.2, tmax_s=1.0, sfreq_hz=NEW_SFREQ_HZ, onset_step_s=0.001)
NONE = FilterParams(method="fir", high_pass_hz=None, low_pass_hz=None, notch_hz=())
BAND = FilterParams(method="fir", high_pass_hz=0.5, low_pass_hz=100.0, notch_hz=())
CASES = {"cut_then_resample": NONE, "filter_then_cut_then_resample": BAND, "continuous": BAND}


def main() -> None:
    duration_s = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    if len(sys.argv) > 3:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], duration_s)))
        return
    pairs = {case: (case, case) for case in CASES}
    pairs["continuous_against_published"] = ("continuous", "filter_then_cut_then_resample")
    for name, (our_case, their_case) in pairs.items():
        ours = run(duration_s, our_case, "ours")
        theirs = run(duration_s, their_case, "theirs")
        line = {
            "name": f"preprocess.{name}",
            "ours": round(ours["s"], 3),
            "theirs": round(theirs["s"], 3),
            "ratio": round(theirs["s"] / ours["s"], 2),
            "unit": "s",
            "n": ours["n"],
            "duration_s": duration_s,
            "peak_memory_mb": {"ours": ours["mb"], "theirs": theirs["mb"]},
            "difference": abs(ours["checksum"] - theirs["checksum"]) / theirs["checksum"],
        }
        print(json.dumps(line))


def run(duration_s: float, case: str, side: str) -> dict[str, float]:
    command = [sys.executable, __file__, str(duration_s), case, side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(case: str, side: str, duration_s: float) -> dict[str, float]:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((N_CHANNELS, round(duration_s * SFREQ_HZ)), np.float32)
    onsets_s = np.arange(1.0, duration_s - 2, EACH_S)
    work = prepare_ours(case, signal) if side == "ours" else prepare_theirs(case, signal)
    before = peak_mb()
    seconds = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        epochs = work(onsets_s)
        seconds.append(time.perf_counter() - start)
    peak = round(peak_mb() - before)
    checksum = float(np.square(epochs, dtype=np.float64).mean())
    return {"s": min(seconds), "n": len(epochs), "mb": peak, "checksum": checksum}


def prepare_ours(case: str, signal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def work(onsets_s: np.ndarray) -> np.ndarray:
        if case == "continuous":
            grid = make_grid(SFREQ_HZ, WINDOW)
            return cut_epochs(signal, SFREQ_HZ, onsets_s, grid, CASES[case])[0]
        grids = make_cut_grid(SFREQ_HZ, WINDOW)
        after = resampling_matrix(grids.cut.n_times, grids.out.up, grids.out.down)
        return cut_epochs(signal, SFREQ_HZ, onsets_s, grids.cut, CASES[case], after)[0]

    return work


def prepare_theirs(case: str, signal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    info = mne.create_info(N_CHANNELS, SFREQ_HZ, "eeg")
    recording = mne.io.RawArray(signal, info, verbose="ERROR")

    def work(onsets_s: np.ndarray) -> np.ndarray:
        raw, filters = recording, CASES[case]
        if filters != NONE:
            raw = raw.copy().filter(filters.high_pass_hz, filters.low_pass_hz, verbose="ERROR")
        if case == "continuous":
            raw.resample(NEW_SFREQ_HZ, verbose="ERROR")
        samples = np.rint(onsets_s * raw.info["sfreq"]).astype(int)
        events = np.stack([samples, np.zeros_like(samples), np.ones_like(samples)], axis=1)
        last_s = WINDOW.tmax_s - 1 / raw.info["sfreq"]
        epochs = mne.Epochs(
            raw, events, None, WINDOW.tmin_s, last_s, baseline=None, preload=True, verbose="ERROR"
        )
        if case != "continuous":
            epochs.resample(NEW_SFREQ_HZ, verbose="ERROR")
        return np.asarray(epochs.get_data(copy=False))

    return work


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
