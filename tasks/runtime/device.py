"""Where this process computes, and how precisely it multiplies matrices there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Literal

import torch
from torch import nn

from tasks.runtime.environment import EnvironmentVariableError

Precision = Literal["float32", "tf32", "bfloat16"]


def named_device() -> torch.device | None:
    """Return the device that ``PERCEPT_DEVICE`` names; None where it is unset or empty.

    Raises
    ------
    EnvironmentVariableError
        If it names neither ``cpu`` nor a GPU that this machine has.
    """
    given = os.environ.get("PERCEPT_DEVICE")
    if not given:
        return None
    n_gpus = torch.cuda.device_count()
    known = ["cpu", *["cuda"] * bool(n_gpus), *(f"cuda:{k}" for k in range(n_gpus))]
    if given not in known:
        raise EnvironmentVariableError(
            f"PERCEPT_DEVICE must be one of {', '.join(known)} on this machine; it is {given!r}. "
            "Set it to one of these, or unset it to use a GPU where there is one."
        )
    return torch.device(given)


def compute_device() -> torch.device:
    """Return where this process computes: ``PERCEPT_DEVICE``, a GPU where there is one, or the CPU.

    Processes that share the GPUs of a machine, those of ``torchrun`` and those of a pool, take one each
    in turn.
    """
    named = named_device()
    if named is None:
        named = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if named.type == "cuda" and named.index is None:
        return torch.device("cuda", _worker() % torch.cuda.device_count())
    return named


def device_of(module: nn.Module) -> torch.device:
    """Return where a module computes."""
    return next(chain(module.parameters(), module.buffers()), torch.zeros(())).device


def _worker() -> int:
    """Return the number of this process among those that share the GPUs, from 0."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    identity = multiprocessing.current_process()._identity
    return int(identity[-1]) - 1 if identity else 0


@contextmanager
def multiplying(precision: Precision, device: torch.device) -> Iterator[None]:
    """Multiply matrices as precisely as `precision` says, and as before afterwards.

    Parameters
    ----------
    precision : {"float32", "tf32", "bfloat16"}
        `tf32` rounds the factors to 10 bits where a GPU does so in hardware, and is `float32` elsewhere;
        `bfloat16` rounds them to 7 bits, wherever torch considers it safe.
    """
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before
