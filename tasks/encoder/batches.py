"""Batches of trials on the device that trains, fetched while the step before them is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Float, Int
from torch import Tensor

Signal = Float[Tensor, "n n_channels n_times"]


def batches(
    signal: Float[Tensor, "n_all n_channels n_times"],
    order: Int[Tensor, " n"],
    batch_size: int,
    device: torch.device,
) -> Iterator[Signal]:
    """Yield trials in an order, so many at a time, on a device.

    Trials that lie there are chosen there. Others are gathered in pinned memory by a thread and copied while
    the device computes, so that it waits for neither.

    Parameters
    ----------
    signal : torch.Tensor
        All trials, on the device or in main memory.
    order : torch.Tensor
        Indices of the trials, in main memory.
    """
    if signal.device == device:
        for rows in torch.split(order.to(device), batch_size):
            yield signal[rows]
        return
    carrier = _Carrier(signal, device, batch_size)
    with ThreadPoolExecutor(1) as thread:
        fetched: Future[Callable[[], Signal]] | None = None
        for part in torch.split(order, batch_size):
            following = thread.submit(carrier.fetch, part)
            if fetched is not None:
                yield fetched.result()()
            fetched = following
        if fetched is not None:
            yield fetched.result()()


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
