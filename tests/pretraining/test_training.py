"""The training loop learns, anneals, averages and resumes exactly where it stopped."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tasks.pretraining.training import Plan, Progress, Trainer, half, read_progress, train


class Regression:
    """A line to be found from noisy points."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))

    def loss(self, step: int) -> Tensor:
        points = torch.randn(16, 2, generator=torch.Generator().manual_seed(step))
        wanted = points[:, :1] - 2 * points[:, 1:]
        error: Tensor = (self.module(points) - wanted).pow(2).mean()
        return error


def train_for(steps: int, checkpoint: Path, schedule_steps: int = 60) -> Regression:
    problem = Regression()
    trainer = Trainer(problem.module, Plan(schedule_steps, 0.1, warmup_steps=5), checkpoint)
    while trainer.progress.step < steps:
        trainer._step(problem.loss)
    trainer.save()
    return problem


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    train_for(60, tmp_path / "whole.safetensors")
    train_for(25, tmp_path / "broken.safetensors")
    train_for(60, tmp_path / "broken.safetensors")
    whole, broken = (load_file(tmp_path / f"{n}.safetensors") for n in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    for name, value in whole.items():
        torch.testing.assert_close(broken[name], value, rtol=0, atol=0)
    assert read_progress(tmp_path / "broken.safetensors").step == 60


def test_it_learns_and_keeps_the_average(tmp_path: Path) -> None:
    problem = Regression()
    before = problem.loss(999).item()
    train(problem.module, Plan(150, 0.1, warmup_steps=5), tmp_path / "m.safetensors", problem.loss)
    assert not problem.module.training
    assert problem.loss(999).item() < 0.3 * before
    saved = load_file(tmp_path / "m.safetensors")
    torch.testing.assert_close(saved["average/0.weight"], problem.module[0].weight.detach())
    assert not torch.equal(saved["weights/0.weight"], saved["average/0.weight"])


def test_a_finished_training_does_nothing(tmp_path: Path) -> None:
    train_for(60, tmp_path / "m.safetensors")
    problem = Regression()
    trainer = Trainer(problem.module, Plan(60, 0.1), tmp_path / "m.safetensors")
    trainer.run(lambda step: torch.tensor(float("nan")))
    assert trainer.progress.step == 60


def test_the_schedule_follows_the_clock_where_minutes_are_given() -> None:
    plan = Plan(steps=1000, learning_rate=1.0, minutes=2)
    assert Progress(step=10, seconds=60).share(plan) == 0.5
    assert Progress(step=900, seconds=60).share(plan) == 0.9
    assert Progress(step=10, seconds=500).share(plan) == 1.0


def test_half_keeps_counters() -> None:
    state = half(nn.BatchNorm1d(2))
    assert state["weight"].dtype == torch.float16
    assert state["num_batches_tracked"].dtype == torch.int64
