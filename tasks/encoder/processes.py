"""Training by several processes, as ``torchrun`` starts them: each computes its share of every batch.

All processes draw the same batch and the same augmentation, compute the latents of their own share, tell
one another, and take the loss over the whole batch: contrastive learning wants its negatives. Gradients
are averaged, so that weights stay equal everywhere; the first process alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from tasks.runtime.device import compute_device
from tasks.runtime.errors import PerceptError

LONGEST_WAIT = timedelta(minutes=10)  # for a process that lives and does not answer


class ProcessLostError(PerceptError):
    """A process of the training is gone."""


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that ``torchrun`` started, if it started this one."""
    if "TORCHELASTIC_RUN_ID" not in os.environ and "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "nccl" if compute_device().type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """Return which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_share(n: int) -> slice:
    """Return which of n trials this process computes.

    Parameters
    ----------
    n : int
        A multiple of the number of processes.
    """
    share = n // count()
    return slice(number() * share, (number() + 1) * share)


def of_all(own: Tensor) -> Tensor:
    """Return the rows of all processes, in their order; gradients reach the own ones."""
    if count() == 1:
        return own
    gathered: Tensor = _Gathered.apply(own)
    return gathered


def average(tensors: Iterable[Tensor]) -> None:
    """Put the mean over processes into every tensor.

    Parameters
    ----------
    tensors : iterable of torch.Tensor
        The same shapes in every process.
    """
    parts = list(tensors)
    if count() == 1 or not parts:
        return
    flat = torch.cat([part.reshape(-1) for part in parts])
    distributed.all_reduce(flat)
    flat /= count()
    for part, mean in zip(parts, torch.split(flat, [p.numel() for p in parts]), strict=True):
        part.copy_(mean.view_as(part))


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Return what batch norms have seen of their own shares."""
    found = (b for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var")))
    return list(found)


@contextmanager
def losses_explained(where: str) -> Iterator[None]:
    """Say in words that another process is gone.

    Parameters
    ----------
    where : str
        Where the state of the training is kept.

    Raises
    ------
    ProcessLostError
        If another process cannot be reached.
    """
    try:
        yield
    except distributed.DistBackendError as error:
        raise _lost(where, error) from error
    except RuntimeError as error:
        if count() == 1 or not any(word in str(error) for word in _SIGNS):
            raise
        raise _lost(where, error) from error


_SIGNS = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "Timed out")


def _lost(where: str, error: RuntimeError) -> ProcessLostError:
    return ProcessLostError(
        f"All {count()} processes of a training must live until it ends; one cannot be reached any "
        f"more ({str(error).splitlines()[0]}). What the finished epochs taught is kept in {where}: "
        "start the training again, with as many processes as you like, and it goes on from there."
    )


class _Gathered(torch.autograd.Function):
    """Rows of all processes; the loss is the same in all of them, so no gradient need travel."""

    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor) -> Tensor:  # noqa: ARG004
        parts = [torch.empty_like(own) for _ in range(count())]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Return the own rows' share, as often as it will be divided by in the mean over processes."""
        return gradient[own_share(len(gradient))] * count()
