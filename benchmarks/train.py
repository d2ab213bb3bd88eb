"""Training beside the plain loop of a NICE-style decoder, on the same synthetic epochs.

``python benchmarks/train.py [n_epochs]`` ends with one line of JSON; without a number it takes some eight
minutes of two cores. For each shape of an epoch:

- ``to_accuracy``: seconds until the validation recall that the plain loop ends with is reached. The plain
  loop is the published one: a DataLoader of single samples, convolutions in the published order, float32,
  Adam, every epoch of its schedule (scaled from 200 epochs to ``n_epochs``, and its learning rate as the
  smaller number of steps wants it). Ours is the default encoder, closed-form fit included.
- ``step``: seconds of one step of the same model with the same batch, by the plain loop and by ours, in
  float32 and bfloat16. ``same`` is how far the two models' outputs lie apart with the same weights.
- ``data_share``: the share of our step that fetching and augmenting the batch take.
- ``peak_memory_mb`` of each process.

``python benchmarks/train.py published [n_trials]`` trains the published ATM on epochs of THINGS-EEG2's size
(66,160 x 63 x 250 unless told otherwise) where ``PERCEPT_DEVICE`` says, with 64 and with 1,024 trials per
step, and prints one line of JSON for each: seconds per step of the plain loop (a DataLoader of single
samples, pinned, with workers) and of ours, with the trials on the device and in main memory, in each
precision; and which share of a step ours waits for data, by comparison with steps on one and the same
batch.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHAPES = ((63, 250, 250.0), (128, 128, 128.0))
N_CONCEPTS, N_COLOURS, N_PRESENTATIONS, DIM = 20, 5, 8, 64
BATCH_SIZE, N_EPOCHS, LEARNING_RATE = 100, 15, 0.002
N_STEPS, N_WARM_UP = 12, 3
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def main() -> None:
    if sys.argv[1:2] == ["published"]:
        data = noise_study(int([*sys.argv, "66160"][2]))
        for batch_size in (64, 1024) if len(data.train.eeg) > 10_000 else (64,):
            print(json.dumps(published_size(data, batch_size)), flush=True)
        return
    n_epochs = int(sys.argv[1]) if len(sys.argv) > 1 else N_EPOCHS
    if len(sys.argv) > 2:
        shape, wanted = int(sys.argv[3]), float(sys.argv[4])
        print(json.dumps(SIDES[sys.argv[2]](shape, n_epochs, wanted) | {"mb": peak_memory_mb()}))
        return
    shapes = {}
    for number, (n_channels, n_times, _) in enumerate(SHAPES):
        theirs = run("theirs", n_epochs, number)
        ours = run("ours", n_epochs, number, theirs["recall"])
        steps = run("steps", n_epochs, number)
        shapes[f"{n_channels}x{n_times}"] = {
            "to_accuracy": {
                "theirs": round(theirs["s"], 2),
                "ours": round(ours["s"], 2),
                "ratio": round(theirs["s"] / ours["s"], 1),
                "recall": {"theirs": theirs["recall"], "ours": ours["recall"]},
                "reached": ours["recall"] >= theirs["recall"],
            },
            "step": steps["step"],
            "data_share": steps["data_share"] | {"st_transformer": ours["data_share"]},
            "peak_memory_mb": {
                "theirs": round(theirs["mb"]),
                "ours": round(ours["mb"]),
                "ours_same_model": round(steps["mb"]),
            },
        }
    first = next(iter(shapes.values()))
    line = {
        "name": "train",
        "ours": first["to_accuracy"]["ours"],
        "theirs": first["to_accuracy"]["theirs"],
        "ratio": first["to_accuracy"]["ratio"],
        "unit": "s",
        "n": n_trials(),
        "n_epochs": n_epochs,
        "shapes": shapes,
    }
    print(json.dumps(line))


def run(side: str, n_epochs: int, shape: int, wanted: float = 0.0) -> dict:
    command = [sys.executable, __file__, str(n_epochs), side, str(shape), str(wanted)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def n_trials() -> int:
    return N_CONCEPTS * N_COLOURS * N_PRESENTATIONS


def synthetic(shape: int):
    """Return data as the stage `train` reads it: evoked responses of concepts and colours in EEG-like noise."""
    from tasks.eeg.epochs import EpochsInfo
    from tasks.encoder.dataset import TrainingData, Trials

    n_channels, n_times, sfreq_hz = SHAPES[shape]
    rng = np.random.default_rng(0)
    time_s = np.arange(n_times) / sfreq_hz

    def evoked(n: int) -> np.ndarray:
        courses = np.exp(-0.5 * ((time_s - rng.uniform(0.1, 0.5, (n, 3, 1))) / 0.06) ** 2)
        return rng.normal(size=(n, n_channels, 3)) @ courses

    captions = [(c, k) for c in range(N_CONCEPTS) for k in range(N_COLOURS)] * 2
    concepts, colours = evoked(N_CONCEPTS), evoked(N_COLOURS)
    words = rng.normal(size=(N_CONCEPTS + N_COLOURS, DIM))
    vectors = np.stack([words[c] + words[N_CONCEPTS + k] for c, k in captions])[:, None]
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    mixing = rng.normal(size=(n_channels, n_channels)) / n_channels**0.5
    half = len(captions) // 2

    def trials(stimuli: np.ndarray) -> Trials:
        eeg = np.empty((len(stimuli), n_channels, n_times), np.float32)
        for row, stimulus in enumerate(stimuli):
            slow = np.cumsum(rng.normal(size=(n_channels, n_times)), axis=1) * 0.1
            concept, colour = captions[stimulus]
            eeg[row] = mixing @ (slow - slow.mean(axis=1, keepdims=True)) * 4
            eeg[row] += rng.normal(size=(n_channels, n_times)) + 0.4 * (
                concepts[concept] + colours[colour]
            )
        return Trials(eeg, np.zeros(len(stimuli), np.int64), stimuli.astype(np.int64))

    train = trials(rng.permutation(np.repeat(np.arange(half), N_PRESENTATIONS)))
    return TrainingData(
        train,
        trials(np.repeat(np.arange(half, 2 * half), 2)),
        vectors.astype(np.float32),
        [f"concept{c}" for c, _ in captions],
        ("ObjectSnap",),
        ("sub-01",),
        EpochsInfo(
            tuple(f"E{i}" for i in range(n_channels)), sfreq_hz, 0.0, "uV", "average", "none"
        ),
        "synthetic",
    )


def params(**changes):
    import yaml

    from tasks.encoder.params import TrainParams

    section = yaml.safe_load(PARAMS.read_text())["train"]
    return TrainParams.model_validate(section | {"batch_size": BATCH_SIZE} | changes)


def published(module):
    """Return NICE's convolutions in the published order, with the weights of ours."""
    import torch
    from torch import nn

    ours, n_channels = module.backbone, module.sizes.n_channels
    temporal, spatial = nn.Conv2d(1, 40, (1, ours.kernel)), nn.Conv2d(40, 40, (n_channels, 1))
    out = nn.Conv2d(40, 40, 1)
    with torch.no_grad():
        for conv, linear in ((temporal, ours.temporal), (out, ours.out)):
            conv.weight.copy_(linear.weight.view_as(conv.weight))
            conv.bias.copy_(linear.bias)
        by_channel = ours.spatial.weight.view(40, n_channels, 40).permute(0, 2, 1)
        spatial.weight.copy_(by_channel[..., None])
        spatial.bias.copy_(ours.spatial.bias)

    class NICE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = nn.Sequential(
                temporal,
                nn.AvgPool2d((1, ours.window), (1, ours.stride)),
                nn.BatchNorm2d(40),
                nn.ELU(),
                spatial,
                nn.BatchNorm2d(40),
                nn.ELU(),
                nn.Dropout(0.5),
                out,
            )
            self.heads = module.heads

        def forward(self, eeg):
            features = self.convolutions(eeg[:, None])[:, :, 0].transpose(1, 2).flatten(1)
            return self.heads(features).transpose(0, 1)

    return NICE()


class PlainLoop:
    """The published training: one sample at a time from a Dataset, float32, Adam."""

    def __init__(self, network, prepared, batch_size=BATCH_SIZE, device="cpu", n_workers=0) -> None:
        import torch
        from torch.utils.data import DataLoader, Dataset

        signal, stimuli, targets = prepared.train.virtual, prepared.train.stimuli, prepared.targets

        class Samples(Dataset):
            def __len__(self) -> int:
                return len(signal)

            def __getitem__(self, index: int):
                return signal[index], targets[0, stimuli[index]], stimuli[index]

        self.network, self.prepared, self.device = network, prepared, device
        self.loader = DataLoader(
            Samples(),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=n_workers,
            pin_memory=n_workers > 0,
            persistent_workers=n_workers > 0,
        )
        scale = torch.tensor([-np.log(0.07)], dtype=torch.float32, device=device)
        self.log_scale = torch.nn.Parameter(scale)
        self.optimiser = torch.optim.Adam(
            [*network.parameters(), self.log_scale], lr=LEARNING_RATE, betas=(0.5, 0.999)
        )

    def step(self, eeg, wanted, stimuli) -> None:
        """Learn from one batch."""
        import torch

        from tasks.encoder.losses import same_captions, symmetric_info_nce

        same = same_captions(wanted[None], stimuli, 0.999)
        loss = symmetric_info_nce(self.network(eeg), wanted[None], same, self.log_scale)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()

    def recall(self) -> float:
        """Return how often the nearest caption is the validation trial's own."""
        import torch

        from tasks.encoder.losses import recall_at_1

        shown = self.prepared.validation
        self.network.eval()
        with torch.no_grad():
            predicted = torch.cat(
                [self.network(part) for part in shown.virtual.split(BATCH_SIZE)], 1
            )
        return float(recall_at_1(predicted, self.prepared.targets, shown.stimuli, 0.999).mean())


def nice(shape: int, **changes):
    import torch

    from tasks.encoder.baselines.network import prepare_network

    torch.manual_seed(0)
    chosen = params(architecture="nice", learning_rate=LEARNING_RATE, **changes)
    return *prepare_network(synthetic(shape), chosen), chosen


def theirs(shape: int, n_epochs: int, _: float) -> dict:
    module, prepared, _chosen = nice(shape)
    loop = PlainLoop(published(module), prepared)
    start = time.perf_counter()
    for _epoch in range(n_epochs):
        loop.network.train()
        for batch in loop.loader:
            loop.step(*batch)
        recall = loop.recall()
    return {"s": time.perf_counter() - start, "recall": recall}


def ours(shape: int, n_epochs: int, wanted: float) -> dict:
    from tasks.encoder.preparation import fit_closed_form
    from tasks.encoder.training import Run, seeded

    data, chosen = synthetic(shape), params(max_epochs=n_epochs, patience=n_epochs)
    start = time.perf_counter()
    with seeded(0):
        run = Run(*fit_closed_form(data, chosen), chosen)
        while run.log[-1]["validation_recall_at_1"] < wanted and not run.finished:
            run.train_epoch()
        seconds = time.perf_counter() - start
        recall = run.log[-1]["validation_recall_at_1"]
        _, share = step_and_data_share(run)
    return {"s": seconds, "recall": recall, "data_share": share}


def step_and_data_share(run) -> tuple[float, float]:
    """Return the median seconds of our step, and the share of it that data take."""
    import torch

    from tasks.encoder.augmentation import vary

    rows, augmentation = torch.arange(BATCH_SIZE), run.params.augmentation
    run.module.train()

    def batch():
        return next(run._fetched(rows))

    step = median_s(lambda: run._step(*batch(), 0))
    data = median_s(lambda: vary(*batch()[:2], augmentation))
    return step, round(data / step, 4)


def published_size(data, batch_size: int) -> dict:
    """Return seconds per step of the published ATM on trials of THINGS-EEG2's size."""
    import torch

    from tasks.encoder.baselines.network import prepare_network
    from tasks.encoder.preparation import Prepared
    from tasks.encoder.training import Run, seeded
    from tasks.runtime.device import compute_device

    device = compute_device()
    gpu = device.type == "cuda"
    n_steps = 200 if gpu else 3
    augmentation = {
        "synthetic_share": 0.0,
        "repetition_mix": 0.0,
        "channel_dropout": 0.0,
        "time_shift_samples": 0,
        "noise": 0.0,
    }
    found: dict[str, float] = {}
    waiting: dict[str, float] = {}

    def built(precision: str, compiled: bool = False) -> tuple:
        chosen = params(
            architecture="atm",
            batch_size=batch_size,
            precision=precision,
            compile=compiled,
            augmentation=augmentation,
            learning_rate=3e-4,
        )
        return *prepare_network(data, chosen), chosen

    with seeded(0, device):
        module, prepared, _ = built("float32")
        n_workers = 8 if gpu else 0
        loop = PlainLoop(plain(module.to(device)), prepared, batch_size, device, n_workers)
        found["theirs"] = seconds_per_step(plain_steps(loop, n_steps), n_steps, device)
        del loop
        cases = [("float32", True, False), ("tf32", True, False), ("bfloat16", True, False)]
        cases += [("tf32", False, False), ("tf32", True, True)] if gpu else []
        for precision, on_device, compiled in cases:
            module, prepared, chosen = built(precision, compiled)
            placed = prepared.to(device)
            if not on_device:
                placed = Prepared(
                    prepared.train.to(device, signal=False),
                    placed.validation,
                    placed.mates,
                    None,
                    placed.targets,
                )
            run = Run(module.to(device), placed, chosen)
            run.module.train()
            name = f"{precision}{'' if on_device else ', trials in main memory'}"
            name += ", compiled" if compiled else ""
            found[name] = seconds_per_step(our_steps(run, n_steps), n_steps, device)
            still = seconds_per_step(our_steps(run, n_steps, same_batch=True), n_steps, device)
            waiting[name] = round(1 - still / found[name], 4)
            del run, placed
    return {
        "name": "train.published_size",
        "device": torch.cuda.get_device_name(device) if gpu else "CPU",
        "n_trials": len(data.train.eeg),
        "batch_size": batch_size,
        "s_per_step": {name: round(s, 5) for name, s in found.items()},
        "ratio": {n: round(found["theirs"] / s, 2) for n, s in found.items() if n != "theirs"},
        "waiting_for_data": waiting,
    }


def plain(module):
    """Return a network of ours as one that is given standardised epochs, of nobody in particular."""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, eeg):
            nobody = torch.zeros(len(eeg), dtype=torch.int64, device=eeg.device)
            return module.heads(module.latents(eeg, nobody)).transpose(0, 1)

    return Plain()


def noise_study(n_trials: int):
    """Return trials of noise, 63 x 250, of pictures that were each shown four times, with 1,024 targets."""
    from tasks.eeg.epochs import EpochsInfo
    from tasks.encoder.dataset import TrainingData, Trials

    rng = np.random.default_rng(0)
    n_stimuli, n_channels, n_times = n_trials // 4 + 100, 63, 250

    def trials(stimuli: np.ndarray) -> Trials:
        eeg = rng.standard_normal((len(stimuli), n_channels, n_times), np.float32)
        return Trials(eeg, np.zeros(len(stimuli), np.int64), stimuli.astype(np.int64))

    targets = rng.standard_normal((n_stimuli, 1, 1024), np.float32)
    targets /= np.linalg.norm(targets, axis=2, keepdims=True)
    names = tuple(f"E{i}" for i in range(n_channels))
    return TrainingData(
        trials(rng.permutation(np.repeat(np.arange(n_stimuli - 100), 4))),
        trials(np.arange(n_stimuli - 100, n_stimuli)),
        targets,
        ["picture"] * n_stimuli,
        ("ObjectSnap",),
        ("sub-01",),
        EpochsInfo(names, 250.0, 0.0, "uV", "recorded", "none"),
        "noise",
    )


def plain_steps(loop, n_steps: int):
    """Yield after every step of the plain loop, over and over its epochs."""
    n_done = 0
    while n_done < n_steps + N_WARM_UP:
        for batch in loop.loader:
            loop.step(*(part.to(loop.device, non_blocking=True) for part in batch))
            yield
            n_done += 1


def our_steps(run, n_steps: int, *, same_batch: bool = False):
    """Yield after every step of ours; on one and the same batch, nothing has to be fetched."""
    import torch

    n_done, first = 0, None
    while n_done < n_steps + N_WARM_UP:
        order = torch.randperm(len(run.data.train.stimuli))
        fetched = run._fetched(order[: run.n_steps * run.params.batch_size])
        for batch in fetched:
            first = first or batch
            while same_batch and n_done < n_steps + N_WARM_UP:
                run._step(*first, 0)
                yield
                n_done += 1
            run._step(*batch, 0)
            yield
            n_done += 1


def seconds_per_step(steps, n_steps: int, device) -> float:
    """Return the mean seconds of a step, after a few to warm up."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(N_WARM_UP):
        next(steps)
    wait()
    start = time.perf_counter()
    for _ in range(n_steps):
        next(steps)
    wait()
    return (time.perf_counter() - start) / n_steps


def steps(shape: int, _epochs: int, _wanted: float) -> dict:
    import torch

    from tasks.encoder.training import Run, seeded

    module, prepared, chosen = nice(shape)
    network = published(module)
    eeg, groups = prepared.train.virtual[:BATCH_SIZE], prepared.train.groups[:BATCH_SIZE]
    module.eval(), network.eval()
    with torch.no_grad():
        mine = module.heads(module.latents(eeg, groups)).transpose(0, 1)
        same = float((mine - network(eeg)).abs().max())
    network.train()
    loop = PlainLoop(network, prepared)
    batches = iter(loop.loader)

    def plain() -> None:
        nonlocal batches
        try:
            batch = next(batches)
        except StopIteration:
            batches = iter(loop.loader)
            batch = next(batches)
        loop.step(*batch)

    found, shares = {"theirs": median_s(plain)}, {}
    for precision in ("float32", "bfloat16"):
        with seeded(0):
            module, prepared, chosen = nice(shape, precision=precision)
            run = Run(module, prepared, chosen)
            found[precision], shares[f"nice_{precision}"] = step_and_data_share(run)
    fastest = min(found["float32"], found["bfloat16"])
    step = {name: round(seconds, 4) for name, seconds in found.items()}
    step |= {"ratio": round(found["theirs"] / fastest, 2), "same": same}
    step["samples_per_s"] = {n: round(BATCH_SIZE / seconds) for n, seconds in found.items()}
    return {"step": step, "data_share": shares}


def median_s(work) -> float:
    seconds = []
    for _ in range(N_WARM_UP + N_STEPS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[N_WARM_UP:])


SIDES = {"theirs": theirs, "ours": ours, "steps": steps}

if __name__ == "__main__":
    main()
