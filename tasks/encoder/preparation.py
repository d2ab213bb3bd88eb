"""Before the first step: closed-form filters, and all trials on virtual channels, in memory where they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.encoder.augmentation import EncodingModel, find_mates
from tasks.encoder.batches import Unread
from tasks.encoder.blocks import blocks
from tasks.encoder.caption_memory import Memory, fit_memory
from tasks.encoder.caption_scores import caption_scores
from tasks.encoder.dataset import TrainingData, Trials
from tasks.encoder.filters import Filters, cosines, fit_filters, n_cosines
from tasks.encoder.latents import Latents, fit_latents
from tasks.encoder.params import NetworkParams, StartParams, STTransformerParams, TrainParams
from tasks.encoder.st_transformer import Sizes, STTransformer
from tasks.runtime.memory import available_bytes

NEVER = -1e4  # energy of an empty slot
MEMORY_SHARE = 0.3
"""Of the memory that is free, for the trials of a split; more trials stay on disk and are read batch by batch."""


@dataclass(frozen=True)
class Rows:
    """Trials as the training loop uses them.

    Attributes
    ----------
    virtual : torch.Tensor or Unread
        Virtual channels; of a network that has none, standardised channels.
    groups, stimuli : torch.Tensor
        Whose filters a trial shares, and its stimulus.
    """

    virtual: Float[Tensor, "n n_virtual n_times"] | Unread
    groups: Int[Tensor, " n"]
    stimuli: Int[Tensor, " n"]

    def to(self, device: torch.device, *, signal: bool) -> Rows:
        """Return the same on a device; the signal stays where it is unless asked for."""
        virtual = self.virtual
        if signal and isinstance(virtual, Tensor):
            virtual = virtual.to(device)
        return Rows(virtual, self.groups.to(device), self.stimuli.to(device))


@dataclass(frozen=True)
class Prepared:
    """All that the training loop needs.

    Attributes
    ----------
    train, validation : Rows
        Trials of the two splits.
    mates : torch.Tensor
        Another presentation of each training trial's stimulus.
    encoding : EncodingModel or None
        For synthetic latents, where there are any.
    targets : torch.Tensor
        Caption vectors.
    images : torch.Tensor or None
        The levels of the image target.
    concepts : torch.Tensor
        The concept of each stimulus, by number.
    """

    train: Rows
    validation: Rows
    mates: Int[Tensor, " n_train"]
    encoding: EncodingModel | None
    targets: Float[Tensor, "n_kinds n_stimuli dim"]
    images: Float[Tensor, "n_stimuli n_levels image_dim"] | None
    concepts: Int[Tensor, " n_stimuli"]

    def to(self, device: torch.device) -> Prepared:
        """Return the same on a device; trials that do not fit into half of its free memory stay behind."""
        needed = self.train.virtual.nbytes + self.validation.virtual.nbytes
        fits = device.type == "cpu" or 2 * needed <= torch.cuda.mem_get_info(device)[0]
        return Prepared(
            self.train.to(device, signal=fits),
            self.validation.to(device, signal=fits),
            self.mates,
            self.encoding and self.encoding.to(device),
            self.targets.to(device),
            None if self.images is None else self.images.to(device),
            self.concepts.to(device),
        )


def group_index(trials: Trials, *, per_subject: bool) -> Int[np.ndarray, " n_trials"]:
    """Return whose filters each trial shares: its subject's, or everybody's."""
    return trials.subject_index if per_subject else np.zeros_like(trials.subject_index)


def readout_sizes(data: TrainingData, params: TrainParams) -> dict[str, int]:
    """Return the sizes of `tasks.encoder.readouts` that the params ask for."""
    sizes = {}
    if data.images is not None:
        _, n_levels, dim = data.images.shape
        mixed = params.target.image_levels == "learned_mix"
        sizes = {"image_dim": dim, "n_image_levels": n_levels if mixed else 1}
        sizes["image_projection"] = params.target.image_projection or 0
    if params.objective.cross_entropy:
        sizes["n_concepts"] = int(data.concept_index.max()) + 1
    return sizes


def image_levels(data: TrainingData) -> Float[Tensor, "n_stimuli n_levels image_dim"] | None:
    """Return the image targets as a tensor; None where there are none."""
    return None if data.images is None else torch.from_numpy(data.images)


def fit_closed_form(data: TrainingData, params: TrainParams) -> tuple[STTransformer, Prepared]:
    """Fit filters, latents and memories on training trials, and build the module around them.

    Parameters
    ----------
    params : TrainParams
        With the architecture `st_transformer`.

    Returns
    -------
    module : STTransformer
        With the closed-form decoder and random attention that does not yet count.
    prepared : Prepared
        For the training loop.
    """
    chosen, per_subject = params.architecture_as(STTransformerParams), params.per_subject
    groups = group_index(data.train, per_subject=per_subject)
    shown = np.unique(data.train.stimulus_index)
    scores, parts = caption_scores(
        data.targets[shown], data.concept_index[shown], chosen.start.n_scores
    )
    of_trials = scores[np.searchsorted(shown, data.train.stimulus_index)]
    filters, latents = _fit_filters(data, groups, of_trials, parts, chosen.start, params.seed)
    signal_of = partial(_virtual, filters)
    train = rows_of(data.train, groups, signal_of)
    validation = rows_of(
        data.validation, group_index(data.validation, per_subject=per_subject), signal_of
    )
    _, concepts = np.unique(data.concept_index[shown], return_inverse=True)
    memories = [
        fit_memory(
            scores,
            latents.keys,
            data.targets[shown, kind],
            concepts,
            chosen.network.max_slots,
        )
        for kind in range(len(data.kinds))
    ]
    module = STTransformer(
        _sizes(data, train, latents, memories, chosen.network, readout_sizes(data, params))
    )
    _set_buffers(module, filters, latents)
    _set_memories(module, memories)
    targets = torch.from_numpy(data.targets)
    prepared = Prepared(
        train,
        validation,
        find_mates(torch.from_numpy(data.train.subject_index), train.stimuli),
        EncodingModel(
            torch.from_numpy(scores.astype(np.float32)),
            torch.from_numpy(shown),
            torch.from_numpy(latents.templates.astype(np.float32)),
        ),
        targets.transpose(0, 1).contiguous(),
        image_levels(data),
        torch.from_numpy(data.concept_index),
    )
    return module, prepared


def _fit_filters(
    data: TrainingData,
    groups: Int[np.ndarray, " n_trials"],
    scores: Float[np.ndarray, "n_trials n_scores"],
    parts: Int[np.ndarray, " n_scores"],
    fitted: StartParams,
    seed: int,
) -> tuple[list[Filters], Latents]:
    n_times = data.train.eeg.shape[2]
    waves = cosines(n_times, n_cosines(n_times, data.info.sfreq_hz, fitted.low_pass_hz))
    filters = fit_filters(
        data.train.eeg,
        scores,
        groups,
        n_virtual=fitted.n_virtual,
        n_sources=fitted.n_latents,
        ridge=fitted.prior_trials,
        share_of_group=fitted.share_of_group,
        noise_floor=fitted.noise_floor,
        waves=waves,
    )
    latents = fit_latents(
        lambda rows: _virtual(filters, data.train.eeg[rows], groups[rows]),
        np.stack([own.temporal for own in filters]),
        scores,
        [
            blocks(np.flatnonzero(groups == group), data.train.eeg.shape[1:])
            for group in range(len(filters))
        ],
        parts=parts,
        waves=waves,
        params=fitted,
        seed=seed,
    )
    return filters, latents


def _sizes(
    data: TrainingData,
    train: Rows,
    latents: Latents,
    memories: list[Memory],
    network: NetworkParams,
    readouts: dict[str, int],
) -> Sizes:
    """Return the shapes that were found; fewer latents than asked for where captions vary in fewer ways."""
    n_groups, _, n_latents = latents.projections.shape
    return Sizes(
        n_groups=n_groups,
        n_channels=data.train.eeg.shape[1],
        n_times=data.train.eeg.shape[2],
        n_kinds=data.targets.shape[1],
        dim=data.targets.shape[2],
        n_virtual=train.virtual.shape[1],
        n_latents=n_latents,
        n_slots=max(len(memory.values) for memory in memories),
        **network.model_dump(exclude={"max_slots"}),
        **readouts,
    )


@torch.no_grad()
def _set_memories(module: STTransformer, memories: list[Memory]) -> None:
    """Fill the slots of every head; slots beyond its own are never attended to."""
    heads = module.heads
    heads.key_bias.fill_(NEVER)
    for kind, memory in enumerate(memories):
        filled = slice(len(memory.values))
        heads.keys[kind, :, filled] = torch.from_numpy(memory.keys)
        heads.key_bias[kind, 0, filled] = torch.from_numpy(memory.bias)
        heads.values[kind, filled] = torch.from_numpy(memory.values)
        heads.linear[kind] = torch.from_numpy(memory.gain)


def _virtual(
    filters: list[Filters],
    eeg: Float[np.ndarray, "n_trials n_channels n_times"],
    groups: Int[np.ndarray, " n_trials"],
) -> Float[np.ndarray, "n_trials n_virtual n_times"]:
    virtual = np.empty((len(eeg), filters[0].spatial.shape[1], eeg.shape[2]))
    for group in np.unique(groups):
        rows = groups == group
        virtual[rows] = filters[group].apply(eeg[rows])
    return virtual


def rows_of(
    trials: Trials,
    groups: Int[np.ndarray, " n_trials"],
    signal_of: Callable[
        [Float[np.ndarray, "n n_channels n_times"], Int[np.ndarray, " n"]],
        Float[np.ndarray, "n n_virtual n_times"],
    ],
) -> Rows:
    """Return trials as the training loop uses them: in memory if `MEMORY_SHARE` of it is enough, else unread.

    The numbers are the same either way.

    Parameters
    ----------
    signal_of : callable
        What epochs and their groups are turned into, each trial by itself.
    """
    unread = Unread(trials.eeg, groups, signal_of)
    signal: Tensor | Unread = unread
    if unread.nbytes <= MEMORY_SHARE * available_bytes():
        signal = torch.empty(unread.shape)
        for rows in blocks(np.arange(len(groups)), trials.eeg.shape[1:]):
            signal[torch.from_numpy(rows)] = unread[torch.from_numpy(rows)]
    return Rows(signal, torch.from_numpy(groups), torch.from_numpy(trials.stimulus_index))


def _set_buffers(
    module: STTransformer,
    filters: list[Filters],
    latents: Latents,
) -> None:
    for group, own in enumerate(filters):
        module.spatial[group] = torch.from_numpy(own.spatial)
        module.temporal[group] = torch.from_numpy(own.temporal)
        module.offset[group] = torch.from_numpy(own.spatial.T @ own.mean @ own.temporal)
    module.projection.copy_(torch.from_numpy(latents.projections))
