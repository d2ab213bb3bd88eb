"""How a pipeline is laid out on the device that draws: precision, memory, batches, several devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from diffusers import DiffusionPipeline

from tasks.diffusion.settings import Precision
from tasks.runtime.memory import available_bytes

Shard = TypeVar("Shard")
SMALL_MEMORY_GB = 12.0
"""With less, the autoencoder decodes one picture, and one tile of it, at a time."""
MEMORY_SHARE = 0.8
"""Of the free memory, for a batch."""


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the numbers to draw with; ``auto`` is half precision on a GPU."""
    if precision != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def free_memory_gb(device: torch.device) -> float:
    """Return the free memory of a device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] / 1e9)
    return available_bytes() / 1e9


def lay_out(pipeline: DiffusionPipeline, device: torch.device, *, compiled: bool) -> None:
    """Move a pipeline to its device, in the memory layout and the steps that it is fastest in.

    Parameters
    ----------
    compiled : bool
        Whether the denoiser is compiled.
    """
    pipeline.to(device)
    if pipeline.vae.dtype == torch.float16 and getattr(pipeline.vae.config, "force_upcast", False):
        pipeline.vae.to(torch.float32)  # overflows in half precision
    for name in ("unet", "vae"):
        if getattr(pipeline, name, None) is not None:
            getattr(pipeline, name).to(memory_format=torch.channels_last)
    if free_memory_gb(device) < SMALL_MEMORY_GB:
        pipeline.vae.enable_slicing()
        pipeline.vae.enable_tiling()
    if compiled:
        denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
        blocks = getattr(denoiser, "_repeated_blocks", None)
        denoiser.compile_repeated_blocks(fullgraph=True) if blocks else denoiser.compile()


def largest_batch(draw: Callable[[int], object], device: torch.device) -> int:
    """Find out how many pictures fit into the memory of a GPU at once, from what one and two take.

    Parameters
    ----------
    device : torch.device
        Where; on a CPU nothing is probed, and any number is said to fit.
    """
    if device.type != "cuda":
        return sys.maxsize
    peaks = []
    for n_pictures in (1, 2):
        torch.cuda.reset_peak_memory_stats(device)
        draw(n_pictures)
        peaks.append(torch.cuda.max_memory_allocated(device))
    torch.cuda.empty_cache()
    each = max(1, peaks[1] - peaks[0])
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(MEMORY_SHARE * free // each))


def in_shards(batches: Sequence[Shard], per_shard: int) -> list[list[Shard]]:
    """Deal batches to shards of a few: other machines may have more GPUs than this one, or lose their work.

    Parameters
    ----------
    batches : Sequence
        In order. Where there are few, each GPU of this machine still gets a share.
    per_shard : int
        Batches that are worth a shard.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    n_shards = max(-(-len(batches) // per_shard), min(n_gpus, len(batches)))
    return [list(batches[first::n_shards]) for first in range(n_shards)]


def own_share(shards: Sequence[Shard]) -> list[Shard]:
    """Return the shards of this process: all of them, or its part under ``accelerate launch``."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return list(shards)
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return list(shards[state.process_index :: state.num_processes])


def wait_for_others() -> None:
    """Wait until every process of ``accelerate launch`` is here."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
