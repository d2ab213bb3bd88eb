"""Batches of trials on the device that trains, fetched while the step before them is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.runtime.stored import StoredRows

Signal = Float[Tensor, "n n_channels n_times"]


@dataclass(frozen=True)
class Unread:
    """Trials on disk; where they are indexed, they are read and turned into what a network is given.

    Attributes
    ----------
    eeg : StoredRows
        Epochs.
    groups : numpy.ndarray
        Whose filters each trial shares.
    signal_of : callable
        What epochs and their groups are turned into, each trial by itself.
    """

    eeg: StoredRows
    groups: Int[np.ndarray, " n_all"]
    signal_of: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.eeg)

    def __getitem__(self, rows: Int[Tensor, " n"]) -> Signal:
        chosen = rows.numpy()
        signal = self.signal_of(self.eeg[chosen], self.groups[chosen])
        return torch.from_numpy(signal.astype(np.float32, copy=False))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all trials together."""
        return (len(self), *self[torch.zeros(1, dtype=torch.int64)].shape[1:])

    @property
    def nbytes(self) -> int:
        """Memory that all trials would take together."""
        return 4 * math.prod(self.shape)


def batches(
    signal: Float[Tensor, "n_all n_channels n_times"] | Unread,
    order: Int[Tensor, " n"],
    batch_size: int,
    device: torch.device,
) -> Iterator[Signal]:
    """Yield trials in an order, so many at a time, on a device.

    Trials that lie there are chosen there. Others are gathered in pinned memory by a thread and copied while
    the device computes, so that it waits for neither; those that are unread are read by it.

    Parameters
    ----------
    signal : torch.Tensor or Unread
        All trials, on the device, in main memory or on disk.
    order : torch.Tensor
        Indices of the trials, in main memory.
    """
    if isinstance(signal, Tensor) and signal.device == device:
        for rows in torch.split(order.to(device), batch_size):
            yield signal[rows]
        return
    carrier = (
        _Carrier(signal, device, batch_size)
        if isinstance(signal, Tensor)
        else _Reader(signal, device)
    )
    with ThreadPoolExecutor(1) as thread:
        fetched: Future[Callable[[], Signal]] | None = None
        for part in torch.split(order, batch_size):
            following = thread.submit(carrier.fetch, part)
            if fetched is not None:
                yield fetched.result()()
            fetched = following
        if fetched is not None:
            yield fetched.result()()


@dataclass(frozen=True)
class _Reader:
    """Reads trials from disk."""

    signal: Unread
    device: torch.device

    def fetch(self, rows: Int[Tensor, " n"]) -> Callable[[], Signal]:
        """Read the trials; the answer, called where they are wanted, brings them to the device."""
        return partial(self.signal[rows].to, self.device)


class _Carrier:
    """Brings trials to a GPU by two pinned buffers in turn, of `n_most` trials each."""

    def __init__(self, signal: Signal, device: torch.device, n_most: int) -> None:
        self.signal, self.device = signal, device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        shape = (n_most, *signal.shape[1:])
        self.free: list[tuple[Tensor, torch.cuda.Event]] = []
        for _ in range(2):
            pinned = torch.empty(shape, dtype=signal.dtype, pin_memory=True)
            self.free.append((pinned, torch.cuda.Event()))  # type: ignore[no-untyped-call]

    def fetch(self, rows: Int[Tensor, " n"]) -> Callable[[], Signal]:
        """Start copying the trials; the answer, called where they are wanted, makes that stream wait."""
        pinned, copied = self.free.pop(0)
        copied.synchronize()
        buffer = pinned[: len(rows)]
        torch.index_select(self.signal, 0, rows, out=buffer)
        with torch.cuda.stream(self.stream):
            batch = buffer.to(self.device, non_blocking=True)
            copied.record(self.stream)
        self.free.append((pinned, copied))

        def wanted() -> Signal:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            batch.record_stream(current)
            return batch

        return wanted
