"""The training loop of all small models: annealed AdamW, averaged weights, resumable checkpoints."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes
    ----------
    steps : int
        Optimiser steps; with `minutes`, an upper bound.
    learning_rate : float
        Peak of the schedule: linear warm-up, then a cosine down to zero.
    warmup_steps : int
        Steps of the warm-up.
    weight_decay : float
        Decoupled weight decay.
    averaging : float
        Decay per step of the exponential moving average of the weights, which is what is exported.
    minutes : float or None
        Training time over all resumptions; the schedule then follows the clock, not the steps.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    averaging: float = 0.999
    minutes: float | None = None


@dataclass
class Progress:
    """Where a training stands."""

    step: int = 0
    seconds: float = 0.0

    def share(self, plan: Plan) -> float:
        """Share of the plan that is done, in 0..1."""
        by_steps = self.step / plan.steps
        if plan.minutes is None:
            return by_steps
        return min(1.0, max(by_steps, self.seconds / (60 * plan.minutes)))


class Trainer:
    """Trains one module and keeps its averaged weights.

    Parameters
    ----------
    module : torch.nn.Module
        What is trained, in place.
    plan : Plan
        How long and how fast.
    checkpoint : pathlib.Path
        Safetensors file to resume from and to save to.
    """

    def __init__(self, module: nn.Module, plan: Plan, checkpoint: Path) -> None:
        self.module = module
        self.plan = plan
        self.checkpoint = checkpoint
        self.progress = Progress()
        self.clock = time.monotonic()
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.state = {n: v for n, v in module.state_dict().items() if v.is_floating_point()}
        self.counters = {n: v for n, v in module.state_dict().items() if n not in self.state}
        self.average = {name: value.clone() for name, value in self.state.items()}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), plan.learning_rate, weight_decay=plan.weight_decay, fused=True
        )
        if checkpoint.exists():
            self._restore()

    def run(self, loss_of_step: Callable[[int], Tensor]) -> None:
        """Train until the plan is fulfilled.

        Parameters
        ----------
        loss_of_step : callable
            Step to the loss; its batch must depend on the step alone, so that training can resume.
        """
        self.clock = time.monotonic()
        while self.progress.share(self.plan) < 1:
            loss = self._step(loss_of_step)
            step = self.progress.step
            if step % 25 == 0:
                logger.info(
                    "%s step %d loss %.4f, %.0f s, %.0f %% done",
                    self.checkpoint.stem,
                    step,
                    loss,
                    self.progress.seconds,
                    100 * self.progress.share(self.plan),
                )
            if step % 100 == 0:
                self.save()
        self.save()

    def _step(self, loss_of_step: Callable[[int], Tensor]) -> float:
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of_step(self.progress.step)
        torch.autograd.backward(loss)
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now
        nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.progress.step += 1
        decay = min(self.plan.averaging, (1 + self.progress.step) / (10 + self.progress.step))
        torch._foreach_lerp_(
            list(self.average.values()),
            list(self.state.values()),
            1 - decay,
        )
        return loss.item()

    def _learning_rate(self) -> float:
        warmup = min(1.0, (self.progress.step + 1) / self.plan.warmup_steps)
        share = self.progress.share(self.plan)
        return self.plan.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * share))

    def keep_average(self) -> None:
        """Put the averaged weights in place for good: training is over."""
        for name, value in self.state.items():
            value.copy_(self.average[name])
        self.module.eval()

    def save(self) -> None:
        """Write everything needed to resume, atomically."""
        tensors = {f"weights/{name}": value for name, value in self.counters.items()}
        for name, value in self.state.items():
            tensors[f"weights/{name}"] = value.contiguous()
            tensors[f"average/{name}"] = self.average[name].contiguous()
        for name, value in self.parameters.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                state = self.optimizer.state[value]
                if moment in state:
                    tensors[f"{moment}/{name}"] = state[moment].contiguous()
        progress = json.dumps({"step": self.progress.step, "seconds": self.progress.seconds})
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        save_file(tensors, partial, metadata={"progress": progress})
        partial.replace(self.checkpoint)

    def _restore(self) -> None:
        self.progress = read_progress(self.checkpoint)
        with safe_open(self.checkpoint, framework="pt") as file:
            for name, value in (self.state | self.counters).items():
                value.copy_(file.get_tensor(f"weights/{name}"))
            for name in self.state:
                self.average[name].copy_(file.get_tensor(f"average/{name}"))
            for name, value in self.parameters.items():
                moments = {
                    moment: file.get_tensor(f"{moment}/{name}").to(value.device)
                    for moment in ("exp_avg", "exp_avg_sq")
                }
                step = torch.tensor(float(self.progress.step), device=value.device)
                self.optimizer.state[value] = {"step": step, **moments}
        logger.info("%s resumes at step %d", self.checkpoint.stem, self.progress.step)


def train(
    module: nn.Module, plan: Plan, checkpoint: Path, loss_of_step: Callable[[int], Tensor]
) -> None:
    """Train a module in place, or resume, and leave it with its averaged weights.

    Parameters
    ----------
    module : torch.nn.Module
        What is trained: its parameters that ask for a gradient.
    plan : Plan
        How long and how fast.
    checkpoint : pathlib.Path
        Safetensors file to resume from and to save to.
    loss_of_step : callable
        As `Trainer.run` takes it.
    """
    trainer = Trainer(module, plan, checkpoint)
    trainer.run(loss_of_step)
    trainer.keep_average()


def read_progress(checkpoint: Path) -> Progress:
    """Tell where the training that wrote a checkpoint stands."""
    with safe_open(checkpoint, framework="pt") as file:
        return Progress(**json.loads(file.metadata()["progress"]))


def half(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module as it is shipped: floating-point values in half precision."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in module.state_dict().items()
    }
