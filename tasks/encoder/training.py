"""Contrastive training on virtual channels, resumable after every epoch to the same bits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.encoder import processes
from tasks.encoder.augmentation import vary
from tasks.encoder.batches import batches
from tasks.encoder.dataset import TrainingData, TrainingDataError
from tasks.encoder.losses import (
    info_nce_of_many,
    logit_scale,
    mean_discrepancy,
    recall_at_1,
    same_captions,
    symmetric_info_nce,
)
from tasks.encoder.params import BestParams, CosineParams, EpochParams, TrainParams
from tasks.encoder.preparation import Prepared, Rows, group_index
from tasks.encoder.readouts import ImageHead
from tasks.encoder.resumption import SavedRun
from tasks.runtime.device import compute_device, multiplying
from tasks.runtime.errors import PerceptError

logger = logging.getLogger(__name__)

TRIALS_AT_ONCE = 256  # in validation
CPU = torch.device("cpu")
Row = dict[str, float]
Batch = tuple[Tensor, Tensor | None, Int[Tensor, " n"]]
Answers = tuple[Tensor, Tensor | None, Tensor | None]


class TrainingStoppedError(PerceptError):
    """Training cannot go on: its loss is no number any more, or the GPU is too small."""


class ContrastiveModule(Protocol):
    """What can be trained: latents from what its trials are reduced to once, vectors from latents."""

    sizes: Any
    heads: nn.Module
    image_head: ImageHead | None
    classifier: nn.Linear | None

    def latents(
        self, virtual: Float[Tensor, "n n_virtual n_times"], group_index: Int[Tensor, " n"], /
    ) -> Float[Tensor, "n n_latents"]:
        """Return what the heads read."""
        ...

    def undecayed(self) -> set[nn.Parameter]:
        """Return matrices that weight decay must leave alone."""
        ...


@dataclass(frozen=True)
class Trained:
    """The outcome of training.

    Attributes
    ----------
    module : torch.nn.Module
        With the weights of the best epoch, ready for prediction.
    sizes : dict of str to float
        All that decides its shapes.
    log : list of dict
        One row per epoch.
    best_epoch : int
        0 is the closed form, before the first step.
    """

    module: nn.Module
    sizes: dict[str, float]
    log: list[Row]
    best_epoch: int


def train_contrastive(
    data: TrainingData,
    params: TrainParams,
    saved: SavedRun,
    build: Callable[[TrainingData, TrainParams], tuple[Any, Prepared]],
) -> Trained:
    """Train an encoder, going on from a saved state if there is one.

    Parameters
    ----------
    saved : SavedRun
        Where the state is kept after every epoch.
    build : callable
        Returns the module and what it is trained on.

    Raises
    ------
    TrainingDataError
        If several processes train and cannot share a batch evenly.
    ProcessLostError
        If one of several processes is gone.
    TrainingStoppedError
        If the loss is not finite, or the memory of the GPU too small.
    """
    device = compute_device()
    if params.batch_size % processes.count():
        raise TrainingDataError(
            f"train.batch_size must be a multiple of the {processes.count()} processes that train; it "
            f"is {params.batch_size}. Change one of them."
        )
    with (
        seeded(params.seed, device),
        processes.losses_explained(str(saved.path)),
        memory_explained(device, params),
    ):
        module, prepared = build(data, params)
        run = Run(module.to(device), prepared.to(device), params)
        state = saved.load()
        if state is not None:
            run.load_state_dict(state)
            logger.info("Going on after epoch %d, from %s.", run.epoch, saved.path)
        while not run.finished:
            run.train_epoch()
            if processes.number() == 0:
                saved.save(run.state_dict())
                if params.keep_epochs:
                    saved.keep(run.epoch, run.weights)
            logger.info(
                "Epoch %d of %d: %s",
                run.epoch,
                params.schedule.max_epochs,
                ", ".join(f"{name} {value:.4g}" for name, value in run.log[-1].items()),
            )
    module.load_state_dict(run.best_weights)
    return Trained(module.eval(), asdict(module.sizes), run.log, run.best_epoch)


@torch.no_grad()
def closed_form_log(module: nn.Module, data: TrainingData, params: TrainParams) -> list[Row]:
    """Return the log of an encoder that is fitted, not trained: its recall on validation trials."""
    shown = data.validation
    groups = group_index(shown, per_subject=params.per_subject)
    predicted = torch.cat(
        [
            module(torch.from_numpy(shown.eeg[rows]), torch.from_numpy(groups[rows]))
            for rows in np.array_split(np.arange(len(groups)), -(-len(groups) // TRIALS_AT_ONCE))
        ]
    )
    recall = recall_at_1(
        predicted.transpose(0, 1),
        torch.from_numpy(data.targets).transpose(0, 1),
        torch.from_numpy(shown.stimulus_index),
        params.objective.duplicate_cosine,
    )
    return [{"epoch": 0.0, "validation_recall_at_1": float(recall.mean())}]


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Draw all random numbers from `seed`, and leave the generators outside as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def memory_explained(device: torch.device, params: TrainParams) -> Iterator[None]:
    """Say in words that the GPU is too small.

    Raises
    ------
    TrainingStoppedError
        If memory runs out on it.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingStoppedError(
            f"A step of train.batch_size ({params.batch_size}) trials must fit into the memory of "
            f"{device}; it does not ({str(error).splitlines()[0]}). Lower train.batch_size, set "
            "train.precision: bfloat16, or train on the CPU with PERCEPT_DEVICE=cpu. What the finished "
            "epochs taught is kept."
        ) from error


class Run:
    """One run of training: everything that changes from step to step.

    Parameters
    ----------
    module : torch.nn.Module
        What is trained; see `ContrastiveModule`.
    prepared : Prepared
        What it is trained on.
    """

    def __init__(self, module: Any, prepared: Prepared, params: TrainParams) -> None:
        self.module, self.data, self.params = module, prepared, params
        self.device = prepared.targets.device
        scale, optimiser = params.objective.scale, params.optimiser
        n_heads = len(prepared.targets) + (module.image_head is not None)
        self.log_scale = nn.Parameter(
            torch.full(
                (1 if scale.one_for_all else n_heads,),
                -math.log(scale.temperature),
                device=self.device,
            ),
            requires_grad=scale.learned,
        )
        self.latents: Callable[[Tensor, Tensor], Tensor] = module.latents
        if params.compile:
            self.latents = torch.compile(module.latents)
        apart = module.undecayed()
        decayed = [p for p in module.parameters() if p.ndim > 1 and p not in apart]
        others = [p for p in module.parameters() if p.ndim <= 1 or p in apart]
        others += [self.log_scale] if scale.learned else []
        self.trained = [*decayed, *others]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": optimiser.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=optimiser.learning_rate,
            betas=optimiser.betas,
            fused=True,
        )
        self.averaged = {n: p.detach().clone() for n, p in module.named_parameters()}
        self.best_weights = self.weights
        self.n_steps = max(1, len(prepared.train.stimuli) // params.batch_size)
        self.epoch, self.best_epoch = 0, 0
        self.log: list[Row] = [self._closed_form_row()]

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, the wanted one is, or no better one came for long."""
        selection, last = self.params.selection, self.epoch >= self.params.schedule.max_epochs
        if isinstance(selection, BestParams):
            return last or self.epoch - self.best_epoch >= selection.patience
        return last or (isinstance(selection, EpochParams) and self.epoch >= selection.epoch)

    def train_epoch(self) -> None:
        """See every training trial once, then validate the averaged weights."""
        self.module.train()
        order = torch.randperm(len(self.data.train.stimuli))
        fetched = self._fetched(order[: self.n_steps * self.params.batch_size])
        losses = torch.stack([self._step(*batch, step) for step, batch in enumerate(fetched)])
        self._require_finite(losses)
        processes.average(processes.running_statistics(self.module))
        self.epoch += 1
        weights = self.weights
        row = {"epoch": float(self.epoch), "train_loss": float(losses.mean())}
        row |= self._validate(weights) | {"learning_rate": self.optimiser.param_groups[0]["lr"]}
        self.log.append(row)
        if self._is_chosen(row):
            self.best_epoch, self.best_weights = self.epoch, weights

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on: tensors and plain values."""
        return {
            "module": self.module.state_dict(),
            "log_scale": self.log_scale.detach(),
            "averaged": self.averaged,
            "best_weights": self.best_weights,
            "optimiser": self.optimiser.state_dict(),
            "random": self._random_states(),
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "log": self.log,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.module.load_state_dict(state["module"])
        self.log_scale.data.copy_(state["log_scale"])
        for name, weights in (("averaged", self.averaged), ("best_weights", self.best_weights)):
            for part, value in weights.items():
                value.copy_(state[name][part])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"][0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"][1], self.device)
        self.epoch, self.best_epoch, self.log = state["epoch"], state["best_epoch"], state["log"]

    @torch.no_grad()
    def _closed_form_row(self) -> Row:
        """Score the module before the first step."""
        self.module.eval()
        row = {"epoch": 0.0, "train_loss": float(self._loss_of_a_batch())}
        return row | self._validate(self.best_weights) | {"learning_rate": 0.0}

    def _loss_of_a_batch(self) -> Float[Tensor, ""]:
        rows = torch.randperm(len(self.data.train.stimuli))[: self.params.batch_size]
        (batch,) = self._fetched(rows)
        with multiplying("float32", self.device):
            latents, stimuli = self._varied_latents(*batch)
            return self._loss(*self._heads(latents), stimuli, 0.0)

    def _random_states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return states

    def _require_finite(self, losses: Float[Tensor, " n_steps"]) -> None:
        finite = losses.isfinite()
        if not finite.all():
            step = int((~finite).nonzero()[0])
            raise TrainingStoppedError(
                f"The loss must stay finite; in epoch {self.epoch + 1}, step {step + 1} of "
                f"{self.n_steps}, it was {float(losses[step])}, at a learning rate of "
                f"{self._learning_rate(self.epoch * self.n_steps + step):.3g}. Lower "
                "train.optimiser.learning_rate, or look for channels that stand still in data/processed. What "
                "the epochs before it taught is kept."
            )

    def _fetched(self, order: Int[Tensor, " n"]) -> Iterator[Batch]:
        """Yield batches: trials, a repetition of each where trials are mixed, and their indices."""
        signal, size = self.data.train.virtual, self.params.batch_size
        chosen = batches(signal, order, size, self.device)
        mates: Iterator[Tensor | None] = repeat(None)
        if self.params.augmentation.repetition_mix:
            mates = batches(signal, self.data.mates[order], size, self.device)
        rows = torch.split(order.to(self.device), size)
        return zip(chosen, mates, rows)  # noqa: B905  (mates may repeat for ever)

    def _step(
        self, signal: Tensor, mates: Tensor | None, rows: Int[Tensor, " n"], step: int
    ) -> Float[Tensor, ""]:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(self.epoch * self.n_steps + step)
        with multiplying(self.params.precision, self.device):
            latents, stimuli = self._varied_latents(signal, mates, rows)
            answers = self._heads(latents)
        loss = self._loss(*answers, stimuli, self.params.objective.soft_targets)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        processes.average(p.grad for p in self.trained if p.grad is not None)
        if self.params.optimiser.gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.trained, self.params.optimiser.gradient_norm)
        self.optimiser.step()
        self._average(self.epoch * self.n_steps + step)
        return loss.detach()

    def _varied_latents(
        self, signal: Tensor, mates: Tensor | None, rows: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m n_latents"], Int[Tensor, " m"]]:
        """Return latents of varied trials and of synthetic ones, and their stimuli."""
        augmentation, train = self.params.augmentation, self.data.train
        virtual = vary(signal, mates, augmentation)
        own = processes.own_share(len(rows))
        latents = processes.of_all(self.latents(virtual[own], train.groups[rows[own]]))
        if self.data.encoding is None:
            return latents, train.stimuli[rows]
        n_synthetic = round(augmentation.synthetic_share * len(rows))
        synthetic, stimuli = self.data.encoding.draw(n_synthetic)
        return torch.cat([latents, synthetic]), torch.cat([train.stimuli[rows], stimuli])

    def _heads(self, latents: Float[Tensor, "n n_latents"]) -> Answers:
        """Return what the heads for captions, for pictures and for concepts make of latents.

        Where captions have no weight, their heads read the latents without a gradient into them.
        """
        module, read = self.module, latents if self.params.target.text else latents.detach()
        return (
            module.heads(read).transpose(0, 1).float(),
            None if module.image_head is None else module.image_head(latents)[None].float(),
            None if module.classifier is None else module.classifier(latents).float(),
        )

    def _loss(
        self,
        captions: Float[Tensor, "n_kinds n dim"],
        images: Float[Tensor, "1 n image_dim"] | None,
        concepts: Float[Tensor, "n n_concepts"] | None,
        stimuli: Int[Tensor, " n"],
        softness: float,
    ) -> Float[Tensor, ""]:
        """Return the weighted sum of the terms that `ObjectiveParams` names."""
        objective, target = self.params.objective, self.params.target
        scale = self._scale()
        loss = (target.text or 1.0) * self._terms(
            captions, self.data.targets[:, stimuli], stimuli, scale[: len(captions)], softness
        )
        if images is not None:
            gallery = self._gallery(stimuli)[None]
            own = self._terms(images, gallery, stimuli, scale[len(captions) :], 0.0)
            loss = loss + target.image * own
        if concepts is not None:
            wanted = self.data.concepts[stimuli]
            loss = loss + objective.cross_entropy * F.cross_entropy(concepts, wanted)
        return loss

    def _terms(
        self,
        predicted: Float[Tensor, "n_kinds n dim"],
        targets: Float[Tensor, "n_kinds n dim"],
        stimuli: Int[Tensor, " n"],
        scale: Float[Tensor, " n_kinds"],
        softness: float,
    ) -> Float[Tensor, ""]:
        objective = self.params.objective
        if objective.normalise_eeg:
            predicted = F.normalize(predicted, dim=2)
        terms = []
        if objective.infonce and self.module.training:
            same = same_captions(targets, stimuli, objective.duplicate_cosine)
            terms.append(
                objective.infonce * symmetric_info_nce(predicted, targets, same, scale, softness)
            )
        elif objective.infonce:
            of_many = info_nce_of_many(
                predicted, targets, stimuli, scale, objective.duplicate_cosine
            )
            terms.append(objective.infonce * of_many)
        if objective.mse:
            terms.append(objective.mse * F.mse_loss(predicted, targets))
        if objective.mmd:
            terms.append(objective.mmd * mean_discrepancy(predicted, targets))
        return torch.stack(terms).sum() if len(terms) != 1 else terms[0]

    def _gallery(self, stimuli: Int[Tensor, " n"]) -> Float[Tensor, "n image_dim"]:
        """Return the vector that stands for each picture."""
        levels = self.data.images
        assert levels is not None  # there is an image head
        vectors: Tensor = self.module.image_head.pictures(levels[stimuli])
        return vectors

    def _scale(self) -> Float[Tensor, " n_heads"]:
        n_heads = len(self.data.targets) + (self.module.image_head is not None)
        return logit_scale(self.log_scale, self.params.objective.scale.map).expand(n_heads)

    def _learning_rate(self, step: int) -> float:
        """Return the peak; of a cosine, what rises to it in a line and then falls in a half cosine."""
        peak, schedule = self.params.optimiser.learning_rate, self.params.schedule
        if not isinstance(schedule, CosineParams):
            return peak
        warmup = schedule.warmup_epochs * self.n_steps
        if step < warmup:
            return peak * (step + 1) / warmup
        rest = max(1, schedule.max_epochs * self.n_steps - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / rest))

    @torch.no_grad()
    def _average(self, step: int) -> None:
        decay = min(self.params.selection.ema_decay, (step + 1) / (step + 10))
        names, current = zip(*self.module.named_parameters(), strict=True)
        torch._foreach_lerp_([self.averaged[n] for n in names], list(current), 1 - decay)

    @property
    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, and of what is no weight."""
        return {n: v.clone() for n, v in (self.module.state_dict() | self.averaged).items()}

    @torch.no_grad()
    def _validate(self, weights: dict[str, Tensor]) -> Row:
        """Score weights on validation trials."""
        rows, current = self.data.validation, self.module.state_dict()
        current = {name: value.clone() for name, value in current.items()}
        self.module.load_state_dict(weights)
        self.module.eval()
        target, duplicate = self.params.target, self.params.objective.duplicate_cosine
        with multiplying("float32", self.device):
            captions, images, concepts = self._predict(rows)
            loss = self._loss(captions, images, concepts, rows.stimuli, 0.0)
            recall = torch.zeros((), device=self.device)
            if target.text:
                found = recall_at_1(
                    F.normalize(captions, dim=2), self.data.targets, rows.stimuli, duplicate
                )
                recall = recall + target.text * found.mean()
            if images is not None:
                gallery = self._gallery(
                    torch.arange(self.data.targets.shape[1], device=self.device)
                )
                found = recall_at_1(images, gallery[None], rows.stimuli, duplicate)
                recall = recall + target.image * found.mean()
        self.module.load_state_dict(current)
        recall = recall / (target.text + target.image)
        return {"validation_loss": float(loss), "validation_recall_at_1": float(recall)}

    def _predict(self, rows: Rows) -> Answers:
        order = torch.arange(len(rows.stimuli))
        fetched = zip(
            batches(rows.virtual, order, TRIALS_AT_ONCE, self.device),
            torch.split(rows.groups, TRIALS_AT_ONCE),
            strict=True,
        )
        parts = [self._heads(self.module.latents(*batch)) for batch in fetched]
        captions, images, concepts = zip(*parts, strict=True)
        return (
            torch.cat(captions, dim=1),
            None if images[0] is None else torch.cat(images, dim=1),
            None if concepts[0] is None else torch.cat(concepts),
        )

    def _is_chosen(self, row: Row) -> bool:
        """Tell whether the weights of the epoch of this row take the place of those chosen so far."""
        selection = self.params.selection
        if not isinstance(selection, BestParams):
            return True
        best = self.log[self.best_epoch]
        if selection.by == "loss":
            return row["validation_loss"] < best["validation_loss"]
        return row["validation_recall_at_1"] > best["validation_recall_at_1"]
